"""Difficulty of pairs: worked examples of thresholds, the classes, and numbers of a language model."""

import json

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.evaluation.diagnosis.difficulty import difficulty, ref_logps, summary_lines, with_difficulty
from diffalign.losses.pairs.logistic import logistic
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_policy
from tests.policies.conftest import draw_for
from tests.tiny_text import text_pairs, tiny_llm


def test_worked_example_thresholds_are_reproduced():
    loss, kinds = difficulty(torch.tensor([-1.5, 5.5, 50.0, 1.0], dtype=torch.float64), beta=0.1)
    assert loss.tolist() == pytest.approx([0.770957, 0.455492, 0.006715, 0.644397], abs=1e-6)
    assert kinds.tolist() == [0, 2, 2, 1]


def test_a_pair_is_ranked_right_exactly_where_its_loss_is_below_the_threshold():
    generator = torch.Generator().manual_seed(0)
    wrong_by, margin = torch.randn(2, 500, generator=generator, dtype=torch.float64) * 5
    loss, kinds = difficulty(wrong_by, beta=0.3)
    assert torch.equal(margin >= wrong_by, logistic(margin, beta=0.3) <= loss)
    assert torch.equal(kinds == 0, wrong_by <= 0)


def test_log_probabilities_of_a_model_become_columns(tmp_path):
    folder = tiny_llm(tmp_path / "model")
    policy = load_policy(LanguageConfig(path=str(folder), adapter={"rank": 2}))
    pairs = text_pairs(6)
    with torch.no_grad():
        chosen, rejected = (s.logps for s in policy.logps(policy.encode(pairs), draw_for(pairs)).candidates)
    target = tmp_path / "out.jsonl"
    progress_file, result = ref_logps(policy, pairs, target=target, batch=2)
    assert [result[p.id]["chosen"] for p in pairs] == pytest.approx(chosen.tolist(), rel=1e-4)
    assert [result[p.id]["rejected"] for p in pairs] == pytest.approx(rejected.tolist(), rel=1e-4)
    assert len((tmp_path / "out.jsonl.part").read_text().splitlines()) == 7
    marked = [with_difficulty(pair, result[pair.id], beta=0.1) for pair in pairs]
    for pair, won, lost in zip(marked, chosen.tolist(), rejected.tolist(), strict=True):
        assert pair.scores["pair"]["difficulty"] == pytest.approx(lost - won, abs=1e-2)
        assert pair.scores["chosen"]["ref_logp"] - pair.scores["rejected"]["ref_logp"] == pytest.approx(
            won - lost, abs=1e-2
        )
        assert (pair.scores["pair"]["difficulty_class"] == 0) == (won >= lost)
    assert sum(int(line.split()[-2].replace(",", "")) for line in summary_lines(marked)) == 6
    json.dumps([dict(p.scores) for p in marked])


def test_single_examples_have_no_difficulty():
    with pytest.raises(DataError, match="no rejected candidate"):
        ref_logps(None, [Pair("a", "p", "x", None)])
