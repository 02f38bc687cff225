"""Train, then compare with the base where the recipe asks for it: what `diffalign train` runs."""

from __future__ import annotations

from pathlib import Path

from diffalign.errors import ConfigError
from diffalign.training.loop import Result, train
from diffalign.training.recipe import Evaluate, Recipe


def align(recipe: Recipe, *, resume: bool = False, check_only: bool = False) -> Result:
    """Trains as :func:`~diffalign.training.loop.train` does, and writes ``output/report`` when ``evaluate`` has prompts."""
    prompts = read_prompts(recipe.evaluate)  # before hours of training, not after them
    result = train(recipe, resume=resume, check_only=check_only)
    if prompts and result.artifact is not None:
        _report(recipe, result, prompts)
    return result


def _report(recipe: Recipe, result: Result, prompts: list[str]) -> None:
    from diffalign.evaluation.compare import compare
    from diffalign.evaluation.report import write_report
    from diffalign.scorers import load_scorer

    config, folder = recipe.evaluate, result.output / "report"
    roles = {**dict.fromkeys(config.scorers, "held-out"), **dict.fromkeys(config.trained_on, "trained-on")}
    judges = {spec: (load_scorer(spec), role) for spec, role in roles.items()}
    seeds = range(config.seeds_per_prompt)
    settings = {"steps": config.steps, "guidance": config.guidance}
    comparison = compare(result.policy, prompts, seeds, judges, folder=folder, **settings)  # type: ignore[arg-type]
    write_report(folder, comparison=comparison)


def read_prompts(config: Evaluate) -> list[str]:
    """The prompts of the comparison; ``@FILE`` stands for the lines of a file."""
    prompts: list[str] = []
    for text in config.prompts:
        if not text.startswith("@"):
            prompts.append(text)
            continue
        path = Path(text[1:])
        if not path.is_file():
            raise ConfigError(
                f"evaluate.prompts names '{path}', which is not a file. Give @FILE with one prompt a line."
            )
        prompts += [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return prompts
