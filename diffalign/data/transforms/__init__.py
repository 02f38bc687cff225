"""Transforms of a data set into another one, before training. Each is one file, from rows to a
:class:`TransformResult` or to stages.

`data.writing.jsonl` writes the results, which are read like any other data; `diffalign data NAME` runs a transform.
"""

from diffalign.data.transforms.curriculum import Curriculum, build_curriculum
from diffalign.data.transforms.flip import flip, flip_disputed, flip_named, flip_share
from diffalign.data.transforms.judge_score_gaps import Votes, collect_votes
from diffalign.data.transforms.prompt_pairs import between, within
from diffalign.data.transforms.result import TransformResult
from diffalign.data.transforms.treat_by_strength import Cuts, treat_by_strength
from diffalign.data.transforms.user_fewshot_prompts import fewshot, split_users
from diffalign.data.transforms.verifiable_instructions import RULES, Rule, attribute

__all__ = [
    "RULES",
    "Curriculum",
    "Cuts",
    "TransformResult",
    "Rule",
    "Votes",
    "split_users",
    "attribute",
    "between",
    "build_curriculum",
    "fewshot",
    "flip",
    "flip_disputed",
    "flip_named",
    "flip_share",
    "treat_by_strength",
    "collect_votes",
    "within",
]
