"""Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908): trains on preference pairs; win rates against the base.

    python -m pipelines.diffusion_dpo [--preset background|emoji|sd15|sdxl] [--output FOLDER] [--seed N] [--set K=V]

The paper trains Stable Diffusion 1.5 and XL on Pick-a-Pic v2 with 2,048 pairs per step. Five people per comparison
choose between base and aligned image, on PartiPrompts and the HPSv2 prompts. Here scorers judge, and the table has the
share of fresh prompts for which each prefers the aligned image. The embedded model is aligned with its own pairs; the
presets for Stable Diffusion train an adapter on one GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import paper

TABLE = paper.Table(
    columns=("win rate", "95 % interval"),
    published={
        "sdxl": (
            "published, human raters, PartiPrompts: preferred to the base in 70.0 % (section 5.1)",
            "published, human raters, HPSv2 prompts: preferred to the base in 64.7 % (section 5.1)",
        ),
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, compares, and prints the table."""
    paper.main("diffusion_dpo", TABLE, __doc__, arguments)


if __name__ == "__main__":
    main()
