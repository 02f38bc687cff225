"""Families of denoisers: one row for each, which holds everything that differs between them.

To add a family, write one file with its row, add one name to the table here, and add one tiny model to the battery of
the tests.
"""

from diffalign.policies.diffusion.families.animatediff import ANIMATEDIFF, ANIMATEDIFF_XL
from diffalign.policies.diffusion.families.family import Family, table
from diffalign.policies.diffusion.families.modelscope import MODELSCOPE
from diffalign.policies.diffusion.families.sd import STABLE_DIFFUSION
from diffalign.policies.diffusion.families.sdxl import STABLE_DIFFUSION_XL

FAMILIES: dict[str, Family] = table(STABLE_DIFFUSION, STABLE_DIFFUSION_XL, ANIMATEDIFF, ANIMATEDIFF_XL, MODELSCOPE)
"""Every family by its pipeline class, as ``model_index.json`` names it."""

__all__ = ["FAMILIES", "Family"]
