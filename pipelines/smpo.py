"""SmPO-Diffusion (Lu et al. 2025, arXiv 2506.02698): trains with a judge's scores as smooth labels; median scores.

    python -m pipelines.smpo [--preset background|emoji|sd15|sdxl] [--output FOLDER] [--seed N] [--set K=V ...]

First a judge scores both images of every pair once, into the file that the recipe names under `data.scores`. Then each
pair is weighted by its reward gap, at latents from ReNoise inversion. The paper's judge is PickScore, and its table has
the median score of each scorer on HPDv2's test prompts; here the table also has win rates. For the embedded model the
judge is the one that made the pairs. For Stable Diffusion 1.5 the paper starts from a checkpoint fine-tuned on winners,
which was not released; the presets start from the base.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import paper

TABLE = paper.Table(
    columns=("base, median", "aligned, median", "win rate", "95 % interval"),
    published={
        "sd15": (
            "reported by others for the paper, medians, HPDv2 prompts: PickScore 20.83 to 22.08, HPSv2.1 23.61 to "
            "29.31, ImageReward -0.078 to 0.885, aesthetic 5.390 to 5.831",
        ),
        "sdxl": (
            "reported by others for the paper, medians, HPDv2 prompts: PickScore 22.75 to 23.62, HPSv2.1 28.45 to "
            "32.53, ImageReward 0.881 to 1.331, aesthetic 6.114 to 6.264",
        ),
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores the pairs, trains, compares, and prints the table."""
    paper.main("smpo", TABLE, __doc__, arguments)


if __name__ == "__main__":
    main()
