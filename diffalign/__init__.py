"""diffalign aligns generative models with preferences.

The names below are the Python interface; each is imported from its room when it is first used, so that importing the
package costs nothing. Type checkers and editors read the imports, which never run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffalign.data.readers import Reader, read_pairs, register_reader
    from diffalign.errors import UserError
    from diffalign.evaluation.compare.run import compare
    from diffalign.labels import Label, register_label
    from diffalign.losses import Loss, register_loss
    from diffalign.methods import Method, register_method
    from diffalign.policies.diffusion.load import load_policy
    from diffalign.scorers import ScorerEntry, load_scorer, register_scorer
    from diffalign.training.align import align
    from diffalign.training.loop import train
    from diffalign.training.recipe.load import Recipe, load_recipe, make_recipe

__version__ = "0.1.0"

_ROOMS = {
    "Reader": "diffalign.data.readers",
    "read_pairs": "diffalign.data.readers",
    "register_reader": "diffalign.data.readers",
    "UserError": "diffalign.errors",
    "compare": "diffalign.evaluation.compare.run",
    "Label": "diffalign.labels",
    "register_label": "diffalign.labels",
    "Loss": "diffalign.losses",
    "register_loss": "diffalign.losses",
    "Method": "diffalign.methods",
    "register_method": "diffalign.methods",
    "load_policy": "diffalign.policies.diffusion.load",
    "ScorerEntry": "diffalign.scorers",
    "load_scorer": "diffalign.scorers",
    "register_scorer": "diffalign.scorers",
    "align": "diffalign.training.align",
    "train": "diffalign.training.loop",
    "Recipe": "diffalign.training.recipe.load",
    "load_recipe": "diffalign.training.recipe.load",
    "make_recipe": "diffalign.training.recipe.load",
}
__all__ = [
    "Label",
    "Loss",
    "Method",
    "Reader",
    "Recipe",
    "ScorerEntry",
    "UserError",
    "__version__",
    "align",
    "compare",
    "load_policy",
    "load_recipe",
    "load_scorer",
    "make_recipe",
    "read_pairs",
    "register_label",
    "register_loss",
    "register_method",
    "register_reader",
    "register_scorer",
    "train",
]


if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that this returns

    def __getattr__(name: str) -> Any:
        if name not in _ROOMS:
            raise AttributeError(f"module 'diffalign' has no attribute '{name}'; it has {', '.join(__all__)}")
        return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return __all__
