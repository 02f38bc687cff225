"""Writes the result of a run: the file that users share, with everything that describes how it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign import __version__
from diffalign.methods import METHODS
from diffalign.training.state import Run
from diffalign.training.storage.stored_recipe import dump


def export(run: Run) -> Path:
    """Writes the policy through :meth:`Policy.save` into ``output/result`` and returns the path."""
    recipe, records, loss = run.recipe, run.metrics_file.records(), run.gradient_computer.loss
    method = METHODS.get(recipe.method or "")
    about = {
        "made_by": f"diffalign {__version__}",
        "method": recipe.method or loss.name,
        "method_source": method.source if method else loss.source,
        "loss": loss.name,
        "loss_formula": loss.formula,
        "beta": loss.beta,
        "loss_settings": loss.settings,
        "labels": dump(recipe)["labels"],
        "dataset": public(recipe.data.train),
        "pairs": len(run.source),
        **({"data_changes": list(run.trained_on.changes)} if run.trained_on.changes else {}),
        "steps": run.step,
        "batch_size": recipe.train.batch_size,
        "learning_rate": recipe.train.learning_rate,
        "seed": recipe.train.seed,
        "averaged": run.ema is not None,
        "rollbacks": run.rollbacks,
        # without times, so that a killed and resumed run ends in the same file
        "metrics": {key: value for key, value in (records or [{}])[-1].items() if not key.startswith("time/")},
        "health": run.health.summary(),
        "recipe": public(dump(recipe)),
    }
    return run.policy.save(run.output.result, about)


def public(value: Any) -> Any:
    """Returns the same values, of an absolute path only its last part: the rest describes a machine, not a run."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, list):
        return [public(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
