"""DDIM-InPO (Lu et al. 2025, arXiv 2503.18454): trains preferences at inverted latents; win rates against the base.

    python -m pipelines.ddim_inpo [--preset background|emoji|sd15|sdxl] [--output FOLDER] [--seed N] [--set K=V ...]

The paper reports, per scorer, the share of prompts for which the aligned image scores higher, on HPDv2's test prompts
and PartiPrompts. It sees a tenth of Diffusion-DPO's pairs, each of which costs about two and a half times as much; the
lines below the table have the cost of this training. For Stable Diffusion 1.5 it starts from a checkpoint fine-tuned on
winners, which was not released; the presets start from the base.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import paper

TABLE = paper.Table(
    columns=("win rate", "95 % interval"),
    published={
        "sd15": (
            "published against the base, HPDv2 prompts (authors' poster): PickScore 85.84 %, HPS 90.22 %, CLIP 66.44 %,"
            " aesthetic 80.19 %",
            "published against the base, PartiPrompts (authors' poster): PickScore 73.16 %, HPS 81.86 %, CLIP 61.89 %,"
            " aesthetic 74.63 %",
        ),
        "sdxl": (
            "published against the base, HPDv2 prompts (authors' poster): PickScore 79.25 %, HPS 85.38 %, CLIP 53.37 %,"
            " aesthetic 56.37 %",
            "published against the base, PartiPrompts (authors' poster): PickScore 72.89 %, HPS 78.31 %, CLIP 50.55 %,"
            " aesthetic 61.70 %",
        ),
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, compares, and prints the table."""
    paper.main("ddim_inpo", TABLE, __doc__, arguments)


if __name__ == "__main__":
    main()
