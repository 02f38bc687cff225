"""SePPO (Zhang et al. 2024, arXiv 2410.05255): winners against samples of earlier checkpoints, to mean scores.

    python -m pipelines.seppo [--preset background|emoji|sd15] [--output FOLDER] [--seed N] [--set K=V ...]

Only the winners of the pairs are used: what they are compared with is drawn by an earlier checkpoint, anew every 30
updates. The paper's table gives the mean score of each scorer on Pick-a-Pic's validation prompts. No training code was
released, and beta, learning rate and sampler are not published; the recipes say which values are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import paper

TABLE = paper.Table(
    columns=("base, mean", "aligned, mean", "win rate"),
    published={
        "sd15": (
            "reported of the paper at second hand, means, Pick-a-Pic validation prompts: PickScore 21.57, HPSv2 27.20, "
            "ImageReward 0.615",
        ),
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, samples in between, compares and prints the table."""
    paper.main("seppo", TABLE, __doc__, arguments)


if __name__ == "__main__":
    main()
