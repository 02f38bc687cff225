"""Published methods, one file each; a recipe names one and may override each of its values."""

from diffalign.methods.baselines import DIFFUSION_IPO, MAPO, SFT
from diffalign.methods.ddim_inpo import DDIM_INPO
from diffalign.methods.diffusion_dpo import DIFFUSION_DPO, DIFFUSION_DPO_PAPER
from diffalign.methods.language import LANGUAGE
from diffalign.methods.method import Method
from diffalign.methods.seppo import SEPPO
from diffalign.methods.smpo import SMPO

_ROWS = (DIFFUSION_DPO, DIFFUSION_DPO_PAPER, DDIM_INPO, SMPO, SEPPO, SFT, MAPO, DIFFUSION_IPO, *LANGUAGE)
METHODS: dict[str, Method] = {method.name: method for method in _ROWS}
"""Every preset by name."""

__all__ = ["METHODS", "Method"]
