"""The command `diffalign`. Each command is one file, and imports the library inside, when it is run."""

from diffalign.cli import (  # noqa: F401  (they register themselves)
    commands_data,
    commands_diagnose,
    commands_info,
    commands_logic,
    commands_merge,
    commands_model,
    commands_pairs,
    commands_train,
    commands_transforms,
    commands_weights,
)
from diffalign.cli.app import app, run

__all__ = ["app", "main"]


def main() -> None:
    """The entry point of the `diffalign` command and of ``python -m diffalign``."""
    run()
