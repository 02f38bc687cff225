"""diffalign aligns generative models with preferences.

The names below are the Python interface; each is imported from its room when it is first used, so that importing the
package costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = {
    "Recipe": "diffalign.training.recipe.load",
    "load_recipe": "diffalign.training.recipe.load",
    "train": "diffalign.training.loop",
    "align": "diffalign.training.align",
    "load_policy": "diffalign.policies.diffusion.load",
    "load_scorer": "diffalign.scorers",
    "compare": "diffalign.evaluation.compare.run",
    "read_pairs": "diffalign.data.readers",
}
__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'diffalign' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return __all__
