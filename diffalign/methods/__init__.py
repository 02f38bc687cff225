"""Published methods, one file each; a recipe names one and may override each of its values."""

from diffalign.errors import ConfigError
from diffalign.methods.baselines import DIFFUSION_IPO, MAPO, SFT
from diffalign.methods.ddim_inpo import DDIM_INPO, DDIM_INPO_SDXL, DDIM_INPO_UNIT_NOISE
from diffalign.methods.diffusion_dpo import DIFFUSION_DPO, DIFFUSION_DPO_PAPER, DIFFUSION_DPO_SDXL
from diffalign.methods.language import LANGUAGE
from diffalign.methods.method import Method
from diffalign.methods.rounds import ROUNDS
from diffalign.methods.seppo import SEPPO
from diffalign.methods.smpo import SMPO, SMPO_SDXL, SMPO_UNIT_NOISE
from diffalign.methods.video_dpo import VIDEO_DPO
from diffalign.register_row import register_row

_SDXL = (DIFFUSION_DPO_SDXL, DDIM_INPO_SDXL, SMPO_SDXL)
_INVERTING = (DDIM_INPO, DDIM_INPO_UNIT_NOISE, SMPO, SMPO_UNIT_NOISE)
_DENOISERS = (DIFFUSION_DPO, DIFFUSION_DPO_PAPER, *_INVERTING, *_SDXL, SEPPO, VIDEO_DPO, SFT, MAPO, DIFFUSION_IPO)
_ROWS = (*_DENOISERS, *LANGUAGE, *ROUNDS)
METHODS: dict[str, Method] = {method.name: method for method in _ROWS}
"""Every preset by name."""

_BUILT_IN = frozenset(METHODS)


def register_method(method: Method, *, replace: bool = False) -> Method:
    """Adds a preset from outside the package: ``method`` in a recipe may name it.

    Args:
        method: Its name and defaults.
        replace: Whether it takes the place of a method of that name that was registered before.

    Returns:
        The method.

    Raises:
        ConfigError: The name is taken, or the method is none.
    """
    if not isinstance(method, Method):
        raise ConfigError(f"a method is registered as a preset, diffalign.Method(name=..., ...); got {method!r}.")
    register_row("method", METHODS, method.name, method, built_in=_BUILT_IN, replace=replace)
    return method


__all__ = ["METHODS", "Method", "register_method"]
