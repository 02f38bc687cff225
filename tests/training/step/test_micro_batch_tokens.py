"""Texts are cut into micro-batches by their tokens; the cut changes no more than the rounding of a step."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffalign.errors import ConfigError
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from diffalign.training.step.batch_order import micro_batches_by_tokens
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_pieces_are_consecutive_and_as_long_as_the_limit_allows(counts, most):
    pieces = micro_batches_by_tokens(range(len(counts)), counts, most)
    assert [index for piece in pieces for index in piece] == list(range(len(counts))) and all(pieces)
    tokens = [sum(counts[index] for index in piece) for piece in pieces]
    assert all(count <= most or len(piece) == 1 for count, piece in zip(tokens, pieces, strict=True))
    for count, following in zip(tokens, pieces[1:], strict=False):
        assert count + counts[following[0]] > most


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm"))


def recipe_of(model, output, loss="logistic", **settings):
    values = {"model": {"kind": "text", "path": str(model), "adapter": {"rank": 2}}, "data": {"train": "memory"}}
    values |= {"loss": {"name": loss, "beta": 0.5}, "log": {"every": 1}, "output": str(output)}
    values["train"] = {"steps": 2, "batch_size": 6, "learning_rate": 1e-3, "mixed_precision": "no", **settings}
    return make_recipe(values)


def trained(model, output, capsys, **settings):
    lengths, forward = [], LanguageNetwork.forward

    def record(self, layout, *args, **kwargs):
        if torch.is_grad_enabled():
            lengths.append(len(layout.ids))
        return forward(self, layout, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageNetwork, "forward", record)
        result = train(recipe_of(model, output, **settings), pairs=text_pairs(6))
    losses = [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]
    return result.policy.state(), losses, lengths, capsys.readouterr().err


def test_a_run_by_tokens_is_the_run_by_pairs_and_never_has_more_tokens_at_once(llm, tmp_path, capsys):
    state, losses, lengths, shown = trained(llm, tmp_path / "tokens", capsys, micro_batch_tokens=200)
    others, expected, alone, _ = trained(llm, tmp_path / "pairs", capsys, micro_batch_size=1)
    assert "micro-batches of up to 200 tokens" in shown
    assert max(lengths) <= max(200, *alone) and len(lengths) < len(alone)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert all(torch.allclose(state[name], others[name], atol=2e-5) for name in state)


def test_out_of_memory_halves_the_tokens(llm, tmp_path, capsys, monkeypatch):
    forward = LanguageNetwork.forward

    def small(self, layout, *args, **kwargs):
        if torch.is_grad_enabled() and len(layout.pair_responses) > 1:
            raise torch.OutOfMemoryError("too many tokens")
        return forward(self, layout, *args, **kwargs)

    monkeypatch.setattr(LanguageNetwork, "forward", small)
    train(recipe_of(llm, tmp_path / "run", micro_batch_tokens=400), pairs=text_pairs(6))
    assert "out of memory: micro-batches of 200 tokens from now on" in capsys.readouterr().err


def test_what_has_no_tokens_or_needs_the_whole_batch_is_refused(llm, tmp_path):
    with pytest.raises(ConfigError, match="images have no tokens"):
        toy = toy_recipe(tmp_path / "a", train__micro_batch_size=None, train__micro_batch_tokens=9)
        train(toy, policy=ToyPolicy(), pairs=toy_pairs())
    with pytest.raises(ConfigError, match="'aot' needs all pairs of a batch at once"):
        train(recipe_of(llm, tmp_path / "b", "aot", micro_batch_tokens=100), pairs=text_pairs(6))
    with pytest.raises(ConfigError, match="only one of them cuts a batch"):
        recipe_of(llm, tmp_path / "c", micro_batch_tokens=100, micro_batch_size=2)
    values = {
        "model": {"path": str(tiny_sd(tmp_path / "sd"))},
        "data": {"train": "memory"},
        "output": str(tmp_path / "d"),
    }
    values["train"] = {"steps": 1, "learning_rate": 1e-3, "micro_batch_tokens": 100, "mixed_precision": "no"}
    values["loss"] = {"name": "logistic", "beta": 1.0}
    with pytest.raises(ConfigError, match="images have no tokens.*micro_batch_tokens=null"):
        train(make_recipe(values), pairs=tiny_pairs(tmp_path / "pairs", 2))
