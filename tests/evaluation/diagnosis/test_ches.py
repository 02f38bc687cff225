"""CHES by its definition, with worked examples, and on pairs of a language model."""

import math

import pytest
import torch

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import Pair
from diffalign.data.transforms.filter_by_score import filter_by_score, lowest_indices, quantiles, share_to_keep
from diffalign.errors import DataError, UserError
from diffalign.evaluation.diagnosis.ches import (
    COLUMNS,
    ches,
    ches_scores,
    edit_distance,
    ln_ches,
    summed_states,
)
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_policy
from tests.tiny_text import chat_pairs, text_pairs, tiny_llm

CHOSEN = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])  # at the prompt's last token, and at both tokens
REJECTED = torch.tensor([[[1.0, 0.0], [0.5, 0.25], [3.0, 3.0]]])
DEFINED = torch.tensor([[True, True, False]])  # the state at the last token predicts nothing


def both(chosen, rejected, mask):
    (one, count), (other, others) = summed_states(chosen, mask), summed_states(rejected, mask)
    return ches(one, other).item(), ln_ches(one, other, count, others).item()


def test_worked_example_numbers_are_reproduced():
    assert both(CHOSEN, REJECTED, DEFINED) == pytest.approx((-0.25, -0.0625), abs=1e-6)
    whole = torch.ones_like(DEFINED)
    one, other = summed_states(CHOSEN, whole)[0], summed_states(REJECTED, whole)[0]
    two = torch.tensor([2.0])
    # With the last row, as the released script has it: far away.
    assert ches(one, other).item() == pytest.approx(7.5)
    assert both(CHOSEN, REJECTED, whole)[1] == pytest.approx(7.5 / 9, abs=1e-6)
    assert ln_ches(one, other, two, two).item() == pytest.approx(7.5 / 4)


def test_ches_is_zero_for_equal_answers_quadratic_in_scale_and_asymmetric():
    assert both(CHOSEN, CHOSEN, DEFINED) == (0.0, 0.0)
    assert both(3 * CHOSEN, 3 * REJECTED, DEFINED)[0] == pytest.approx(9 * -0.25)
    assert both(REJECTED, CHOSEN, DEFINED)[0] != pytest.approx(-0.25)
    padded = torch.cat([CHOSEN, torch.full((1, 2, 2), 9.0)], 1), torch.cat([REJECTED, torch.full((1, 2, 2), 9.0)], 1)
    mask = torch.tensor([[True, True, False, False, False]])
    assert both(*padded, mask) == both(CHOSEN, REJECTED, DEFINED)


def test_one_token_each_from_the_same_prompt_is_zero():
    first = torch.tensor([[True, False, False]])
    assert both(CHOSEN, REJECTED, first) == (0.0, 0.0)


def test_a_step_that_raises_the_margin_can_lower_the_chosen_token():
    """The motivation: three unembeddings, one state, and a step along the difference of two of them."""
    heads = torch.tensor([[1.0, 0.0], [0.9, 0.2], [2.0, -2.0]], dtype=torch.float64)
    state = torch.tensor([1.0, 0.5], dtype=torch.float64)
    before = (heads @ state).log_softmax(0)
    after = (heads @ (state + torch.tensor([0.1, -0.2], dtype=torch.float64))).log_softmax(0)
    assert before.tolist() == pytest.approx([-math.log(3)] * 3)
    assert after.tolist() == pytest.approx([-1.280920, -1.330920, -0.780920], abs=1e-6)
    assert (after[0] - after[1] - before[0] + before[1]).item() == pytest.approx(0.05, abs=1e-6)
    assert (after[0] - before[0]).item() == pytest.approx(-0.182308, abs=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("abc", "abc", 0),
        ("", "ab", 2),
        ("abcdef", "azced", 3),
        ("a", "", 1),
    ],
)
def test_edit_distance_counts_the_fewest_edits(one, other, edits):
    result = edit_distance([ord(x) for x in one], [ord(x) for x in other])
    assert result == pytest.approx(edits / max(len(one), len(other)))


def test_lowest_and_quantiles():
    assert lowest_indices([3.0, 1.0, 2.0, 1.0], 0.5) == [1, 3]
    assert lowest_indices([3.0, 1.0, 2.0], 0.05) == [1]
    assert list(quantiles([0.0, 1.0, 2.0]).values()) == pytest.approx([0.0, 0.1, 0.5, 1.0, 1.5, 1.9, 2.0])


def test_filtered_rows_carry_their_numbers_and_dropped_rows_are_listed():
    lines = [PairRow(Pair(name, "p", name, "x", source=f"t:{name}"), {"note": name}) for name in "abcd"]
    rows = {name: {"ln_ches": value, "ches": 0.0} for name, value in zip("abcd", (3.0, 1.0, 2.0, 4.0), strict=True)}
    outcome = filter_by_score(lines, rows, "ln_ches", 0.5)
    kept = list(outcome.rows)
    assert [line.pair.id for line in kept] == ["b", "c"] and [line.columns["note"] for line in kept] == ["b", "c"]
    assert kept[0].pair.scores["pair"] == {"ln_ches": 1.0, "ches": 0.0}
    assert [(row.source, row.detail) for row in outcome.dropped] == [("t:a", "ln_ches 3"), ("t:d", "ln_ches 4")]
    assert len(list(filter_by_score(lines, rows).rows)) == 4
    assert share_to_keep(None, 0.25) == 0.75 and share_to_keep(0.05, None) == 0.05 and share_to_keep(None, None) is None
    with pytest.raises(UserError, match="Give one of them"):
        share_to_keep(0.5, 0.5)
    with pytest.raises(UserError, match="above 0 and below 1; got 5"):
        share_to_keep(5.0, None)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tiny_llm(tmp_path_factory.mktemp("ches"))
    return load_policy(LanguageConfig(path=str(folder), adapter={"rank": 2}))


@pytest.mark.parametrize("pairs", [text_pairs(7), chat_pairs(5)])
def test_numbers_of_a_batch_are_those_of_a_plain_pass_of_each_answer(policy, pairs):
    _, result = ches_scores(policy, pairs, batch=3)
    model = policy.module.model
    for pair in pairs:
        token_pair = policy.pair_tokenizer.token_pair(pair)
        sums, lasts = [], []
        for response in token_pair.responses:
            ids = torch.tensor([[*token_pair.prompt, *response.ids]])
            with torch.no_grad():
                states = model(ids, output_hidden_states=True).hidden_states[-1][0]
            sums.append(states[len(token_pair.prompt) - 1 : -1].sum(0))
            lasts.append(states[-1])
        row = result[pair.id]
        assert row["ches"] == pytest.approx(float((sums[0] @ sums[1]) - sums[0] @ sums[0]), rel=1e-3, abs=1e-2)
        counts = [len(response.ids) for response in token_pair.responses]
        means = [s / count for s, count in zip(sums, counts, strict=True)]
        assert row["ln_ches"] == pytest.approx(float(means[0] @ means[1] - means[0] @ means[0]), rel=1e-3, abs=1e-3)
        assert row["last_hidden_product"] == pytest.approx(float(lasts[0] @ lasts[1]), rel=1e-3, abs=1e-2)
        assert tuple(row) == COLUMNS and 0 < row["edit_distance"] <= 1


def test_an_interrupted_pass_resumes_where_it_stopped(policy, tmp_path):
    pairs, target = text_pairs(6), tmp_path / "out.jsonl"
    _, whole = ches_scores(policy, pairs, batch=2)

    def kill(what, done, total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ches_scores(policy, pairs, target=target, batch=2, progress=kill)
    part = tmp_path / "out.jsonl.part"
    part.write_text(part.read_text() + '["torn')
    calls = []
    progress_file, result = ches_scores(
        policy, pairs, target=target, batch=1, progress=lambda *call: calls.append(call)
    )
    assert [call[1] for call in calls] == [5, 6]
    assert all(result[p.id] == pytest.approx(whole[p.id], rel=1e-4) for p in pairs)
    progress_file.remove()
    assert not part.exists()


def test_the_progress_of_another_model_is_not_used(policy, tmp_path):
    pairs, target = text_pairs(2), tmp_path / "out.jsonl"
    ches_scores(policy, pairs, target=target)
    part = tmp_path / "out.jsonl.part"
    part.write_text(part.read_text().replace('"model": "', '"model": "x'))
    calls = []
    ches_scores(policy, pairs, target=target, progress=lambda *call: calls.append(call))
    assert calls


def test_single_examples_and_image_models_are_refused(policy):
    with pytest.raises(DataError, match="two texts"):
        ches_scores(policy, [Pair("a", "p", "x", None)])
    with pytest.raises(UserError, match="data separability"):
        ches_scores(type("Image", (), {"medium": "image"})(), text_pairs(2))
