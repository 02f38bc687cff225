"""SePPO (Zhang et al. 2024, arXiv 2410.05255): trains winners against samples of earlier checkpoints; mean scores.

    python -m pipelines.seppo [--preset background|emoji|sd15] [--output FOLDER] [--seed N] [--set K=V ...]

Only the winners of the pairs are used. They are compared with samples of an earlier checkpoint, drawn again every 30
updates. The paper's table has the mean score of each scorer on Pick-a-Pic's validation prompts. No training code was
released, and beta, learning rate and sampler are not published; the recipes mark the values that are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import paper

TABLE = paper.Table(
    columns=("base, mean", "aligned, mean", "win rate"),
    published={
        "sd15": (
            "reported by others for the paper, means, Pick-a-Pic validation prompts: PickScore 21.57, HPSv2 27.20, "
            "ImageReward 0.615",
        ),
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains with samples of earlier checkpoints, compares, and prints the table."""
    paper.main("seppo", TABLE, __doc__, arguments)


if __name__ == "__main__":
    main()
