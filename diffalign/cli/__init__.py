"""The command `diffalign`. Modules of commands import the library inside each command, so that ``--help`` is fast."""

from diffalign.cli import (  # noqa: F401  (each module registers its commands)
    commands_adapters,
    commands_doctor,
    commands_evaluate,
    commands_methods,
    commands_samples,
    commands_score,
    commands_stats,
    commands_train,
)
from diffalign.cli.app import app, run
from diffalign.cli.data import (  # noqa: F401
    check,
    curriculum,
    generate,
    labels,
    measure,
    prompts,
    rarity,
    segments,
)

__all__ = ["app", "main"]


def main() -> None:
    """Runs the `diffalign` command, also as ``python -m diffalign``."""
    run()
