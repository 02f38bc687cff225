"""One batch through TRL's trainers and through ours: the same loss and the same gradient, or a difference that is
recomputed here from our own parts to its last digit. What differs and why stands in docs/conformance.md.
"""

import importlib
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from diffalign.data.records.conversation import Conversation, Message
from diffalign.losses import LOSSES, loss_named
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from diffalign.training.step.kto_baseline import MismatchedPairs, mismatched_pairs
from tests.conformance.sides import (
    NEEDS_TRL,
    TRAINERS,
    Setting,
    assert_apart,
    assert_same,
    batch_of,
    columns,
    opened,
    ours,
    recomputed,
    scores_of,
    thumb,
    trl,
    with_gold,
)
from tests.conformance.table import ON_EVERY_KIND, ONLY_TRL, OTHER, SAME
from tests.tiny_text import CHARACTERS, SPECIAL, chat_pairs, text_pairs, tiny_llm, tiny_tokenizer

pytestmark = NEEDS_TRL


@pytest.mark.parametrize(
    "name, kind",
    [(name, k) for name in SAME for k in (("plain", "turns", "adapter") if name in ON_EVERY_KIND else ("plain",))],
)
def test_loss_and_gradient_are_those_of_trl(settings, tmp_path, name, kind):
    (setting, pairs), (loss, trainer, options) = settings[kind], SAME[name]
    pairs = with_gold(pairs) if trainer == "TPO" else pairs
    theirs, _ = trl(setting, trainer, [columns(pair) for pair in pairs], **options)
    run = opened(setting, tmp_path / "run", loss, pairs)
    assert run.policy.describe()["forward"].startswith("shared")
    assert_same(ours(run), theirs)


@pytest.mark.parametrize("kind", ["plain", "turns", "adapter"])
def test_thumbs_are_weighed_as_trl_weighs_them(settings, tmp_path, kind):
    setting, pairs = settings[kind]
    setting = replace(setting, move=-setting.move, shrink=0.1)  # so that the point lies above zero, where it counts
    loss = {"name": "kto", "beta": 0.2, "desirable_weight": 1.25, "undesirable_weight": 0.5}
    run = opened(setting, tmp_path / "run", loss, pairs, "singles")
    rows = [thumb(example) for example in batch_of(run)]
    theirs, _ = trl(setting, "KTO", rows, beta=0.2, desirable_weight=1.25, undesirable_weight=0.5)
    with torch.no_grad():
        assert point_of(run.policy, batch_of(run)) > 0.01
    assert_same(ours(run), theirs)


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gemma2"])
def test_other_architectures_agree_as_well(tmp_path, family):
    setting, pairs = Setting(tiny_llm(tmp_path / "model", family)), text_pairs(4)
    loss, trainer, options = SAME["sigmoid"]
    theirs, _ = trl(setting, trainer, [columns(pair) for pair in pairs], **options)
    assert_same(ours(opened(setting, tmp_path / "run", loss, pairs)), theirs)


def test_answers_are_cut_where_trl_cuts_them(settings, tmp_path):
    setting, pairs = settings["plain"]
    limit = max(len(pair.prompt) for pair in pairs) + 4
    loss, trainer, options = SAME["ipo"]
    theirs, _ = trl(setting, trainer, [columns(pair) for pair in pairs], max_length=limit, **options)
    run = opened(replace(setting, model=(("max_length", limit),)), tmp_path / "run", loss, pairs)
    cuts = [
        answer.cut > 0 for token_pair in run.policy.pair_tokenizer.token_pairs(pairs) for answer in token_pair.responses
    ]
    assert 0 < sum(cuts) < len(cuts)
    assert_same(ours(run), theirs)


def test_trl_keeps_what_its_template_writes_after_the_end_token(llm, tmp_path):
    setting, pairs = Setting(llm), chat_pairs(6)
    loss, trainer, options = SAME["sigmoid"]
    theirs, rows = trl(setting, trainer, [columns(pair) for pair in pairs], **options)
    run = opened(setting, tmp_path / "run", loss, pairs)
    newline = run.policy.pair_tokenizer.tokenizer("\n")["input_ids"]
    token_pairs = run.policy.pair_tokenizer.token_pairs(pairs)
    longer = [with_answers(pair, [(*one.ids, *newline) for one in pair.responses]) for pair in token_pairs]
    assert [tokens_of(token_pair) for token_pair in longer] == [tokens_of_row(row) for row in rows]
    bound = run.gradient_computer.loss
    assert_same(recomputed(run, lambda policy: bound(scores_of(policy, longer)).mean()), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs)), theirs)


def test_in_an_answer_of_several_turns_trl_scores_the_users_as_well(settings, tmp_path):
    setting, pairs = settings["turns"]
    more = Conversation((Message("user", "and then?"), Message("assistant", "nothing")))
    pairs = [replace(pair, chosen=pair.chosen + more, rejected=pair.rejected + more) for pair in pairs]
    loss, trainer, options = SAME["sigmoid_norm"]
    theirs, _ = trl(setting, trainer, [columns(pair) for pair in pairs], **options)
    run = opened(setting, tmp_path / "run", loss, pairs)
    token_pairs = run.policy.pair_tokenizer.token_pairs(pairs)
    wider = [with_answers(token_pair, [one.ids for one in token_pair.responses]) for token_pair in token_pairs]
    bound = run.gradient_computer.loss
    assert_same(recomputed(run, lambda policy: bound(scores_of(policy, wider)).mean()), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs)), theirs)


def test_where_tokens_merge_trl_takes_the_end_of_the_prompt_into_the_answer(tmp_path):
    folder = tiny_llm(tmp_path / "model", vocab_size=len(SPECIAL) + len(CHARACTERS) + 1)
    tiny_tokenizer(merges=(": ",)).save_pretrained(folder)
    setting, pairs = Setting(folder), text_pairs(4)
    loss, trainer, options = SAME["sigmoid"]
    theirs, rows = trl(setting, trainer, [columns(pair) for pair in pairs], **options)
    run = opened(setting, tmp_path / "run", loss, pairs)
    merged = run.policy.pair_tokenizer.tokenizer(": ")["input_ids"]
    token_pairs = run.policy.pair_tokenizer.token_pairs(pairs)
    earlier = [
        with_answers(TokenPair(q.prompt[:-1], q.responses), [(*merged, *one.ids[1:]) for one in q.responses])
        for q in token_pairs
    ]
    assert [tokens_of(token_pair) for token_pair in earlier] == [tokens_of_row(row) for row in rows]
    bound = run.gradient_computer.loss
    assert_same(recomputed(run, lambda policy: bound(scores_of(policy, earlier)).mean()), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs)), theirs)


def test_trl_fine_tunes_on_the_mean_over_all_tokens_of_a_batch(settings, tmp_path):
    setting, pairs = settings["plain"]
    theirs, rows = trl(setting, "DPO", [columns(pair) for pair in pairs], loss_type=["sft"])
    tokens = sum(len(row["chosen_ids"]) for row in rows)
    by_token = {"name": "sft", "per_token": False, "scale": len(pairs) / tokens}
    assert_same(ours(opened(setting, tmp_path / "tokens", by_token, pairs, "winners")), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", {"name": "sft"}, pairs, "winners")), theirs)


def test_answers_of_one_length_are_fine_tuned_on_alike(settings, tmp_path):
    setting, pairs = settings["plain"]
    pairs = [replace(pair, chosen=f"{pair.chosen:x<10.10}") for pair in pairs]
    theirs, _ = trl(setting, "DPO", [columns(pair) for pair in pairs], loss_type=["sft"])
    assert_same(ours(opened(setting, tmp_path / "ours", {"name": "sft"}, pairs, "winners")), theirs)


def test_trl_adds_the_likelihood_of_rpo_as_a_mean_over_all_tokens_of_a_batch(settings, tmp_path):
    setting, pairs = settings["plain"]
    beta, weight = 0.2, 0.5
    options = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, weight], "beta": beta}
    theirs, rows = trl(setting, "DPO", [columns(pair) for pair in pairs], **options)
    mean = sum(len(row["chosen_ids"]) for row in rows) / len(pairs)
    summed = {"name": "rpo", "beta": beta, "eta": weight / (beta * mean)}
    assert_same(ours(opened(setting, tmp_path / "summed", summed, pairs)), theirs)
    average = {"name": "rpo", "beta": beta, "eta": 0.0, "average": weight}
    assert_apart(ours(opened(setting, tmp_path / "average", average, pairs)), theirs)


def test_trl_counts_the_prompt_in_the_likelihood_of_orpo(settings, tmp_path):
    setting, pairs = settings["plain"]
    loss = {"name": "orpo", "weight": 0.4}
    theirs, _ = trl(setting, "ORPO", [columns(pair) for pair in pairs], beta=0.4)

    def as_theirs(policy):
        token_pairs = policy.pair_tokenizer.token_pairs(pairs)
        scores = scores_of(policy, token_pairs)
        odds = LOSSES["orpo"].bind(weight=0.4)(scores) - LOSSES["sft"].bind()(scores)
        # The first token of a text is predicted by nothing; all others count alike.
        whole = [with_answers(TokenPair(q.prompt[:1], ()), [(*q.prompt[1:], *q.responses[0].ids)]) for q in token_pairs]
        said = scores_of(policy, whole).chosen
        return odds.mean() - said.logps.sum() / said.lengths.sum()

    assert_same(recomputed(opened(setting, tmp_path / "run", loss, pairs), as_theirs), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs)), theirs)


def test_trl_takes_the_point_of_kto_from_each_micro_batch(settings, tmp_path):
    setting, pairs = settings["plain"]
    setting = replace(setting, shrink=0.1)
    run = opened(setting, tmp_path / "run", {"name": "kto", "beta": 0.2}, pairs, "singles")
    batch, half = batch_of(run), 4
    theirs, _ = trl(setting, "KTO", [thumb(example) for example in batch], batch=half, beta=0.2)

    def of_a_part(policy):
        scores = scores_of(policy, policy.pair_tokenizer.token_pairs(batch[:half]))
        desirable = torch.tensor([example.desirable for example in batch[:half]])
        point = point_of(policy, batch[:half])
        return run.gradient_computer.loss(replace(scores, desirable=desirable, baseline=point)).mean()

    assert_same(recomputed(run, of_a_part), theirs)
    with torch.no_grad():
        assert abs(point_of(run.policy, batch[:half]) - point_of(run.policy, batch)) > 0.01


def test_every_compared_loss_is_in_the_table_of_the_page():
    same = {"kto", *(loss_named(loss["name"]).name for loss, _, _ in SAME.values())}
    assert same.isdisjoint(OTHER) and same | OTHER <= {name for name, row in LOSSES.items() if "text" in row.media}
    table = page("Losses")
    assert all(f"`{name}`" in table for name in (*same, *OTHER))


@pytest.mark.parametrize("trainer", ["DPO", "KTO", "CPO", "TPO"])
def test_every_loss_type_of_trl_has_a_row(trainer):
    config = getattr(importlib.import_module(TRAINERS[trainer]), f"{trainer}Config")
    said = {field.name: field.metadata for field in fields(config)}["loss_type"]
    theirs = set(said.get("choices") or re.findall(r"'(\w+)'", said["help"]))
    compared = {str(*kind) if isinstance(kind, list) else kind for kind in kinds(trainer)}
    compared |= {"DPO": {"sft"}, "KTO": {"kto", "apo_zero_unpaired"}}.get(trainer, set())
    alone = ONLY_TRL.get(trainer, set())
    assert compared.isdisjoint(alone)
    assert theirs == compared | alone
    assert all(f"`{kind}`" in page("Losses") for kind in compared)
    assert all(f"`{kind}`" in page("Losses that only TRL has") for kind in alone)


def kinds(trainer):
    """Loss types of a trainer that are compared by the table."""
    return [options["loss_type"] for _, of, options in SAME.values() if of == trainer]


def page(section):
    """A section of the page."""
    text = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    return text.split(f"## {section}\n")[1].split("\n## ")[0]


def point_of(policy, examples):
    """The reference point of examples: each prompt with the answer before it."""
    found = MismatchedPairs(examples, mismatched_pairs([(index, 0) for index in range(len(examples))], len(examples)))
    return (
        scores_of(policy, policy.pair_tokenizer.token_pairs(list(found))).chosen_logratio.mean().clamp(min=0).detach()
    )


def with_answers(token_pair, answers):
    return replace(token_pair, responses=tuple(Response(tuple(ids), (True,) * len(ids)) for ids in answers))


def tokens_of(token_pair):
    return [list(token_pair.prompt), *(list(one.ids) for one in token_pair.responses)]


def tokens_of_row(row):
    return [row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]]
