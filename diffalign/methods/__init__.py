"""Published methods, one file each; a recipe names one and may override each of its values."""

from diffalign.methods.diffusion_dpo import DIFFUSION_DPO, DIFFUSION_DPO_PAPER
from diffalign.methods.method import Method

METHODS: dict[str, Method] = {method.name: method for method in (DIFFUSION_DPO, DIFFUSION_DPO_PAPER)}

__all__ = ["METHODS", "Method"]
