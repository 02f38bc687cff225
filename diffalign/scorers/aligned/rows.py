"""The scorers that aligned policies are, one row each."""

from __future__ import annotations

from diffalign.scorers.aligned.aligned_source import medium_of
from diffalign.scorers.aligned.implicit_reward import ImplicitReward
from diffalign.scorers.scorer import ScorerEntry

ALIGNED_SCORERS: dict[str, ScorerEntry] = {
    "implicit_reward": ScorerEntry(
        ImplicitReward.load,
        "folder of a run, or an adapter, after a colon its base where the adapter does not name it, as in ADAPTER:BASE",
        "what an aligned model learnt to prefer: beta times its logratio to the model that it started from",
        medium="",
        medium_of=medium_of,
    ),
}
