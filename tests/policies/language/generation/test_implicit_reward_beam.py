"""Beam search: on a toy where everything is known, and on tiny models beside greedy decoding and full enumeration."""

import math

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.generation.answer import CachedNextTokens
from diffalign.policies.language.generation.implicit_reward_beam import implicit_beam_search, likely_tokens
from diffalign.policies.language.generation.settings import TextSampling
from diffalign.policies.language.load import load_policy
from tests.losses.diagnostics.test_credit import BETA, REF_FIRST, REF_SECOND, REWARD, solved
from tests.policies.conftest import shake
from tests.tiny_text import tiny_llm


class Table:
    """Steps of a policy given as ``log p(next | path)``; keeps which paths were asked."""

    def __init__(self, policy, reference=None):
        self.policy, self.reference, self.live = policy, reference, [()]

    def __call__(self, parents, tokens):
        if parents:
            self.live = [(*self.live[p], t) for p, t in zip(parents, tokens, strict=True)]
        ask = lambda model: torch.tensor([[math.log(x) if x else -math.inf for x in model(path)] for path in self.live])
        return ask(self.policy), None if self.reference is None else ask(self.reference)


def toy():
    _, _, first, second = solved()
    return Table(lambda p: second[p[0]] if p else first, lambda p: REF_SECOND[p[0]] if p else REF_FIRST)


def test_full_width_by_reward_finds_the_best_answer_and_its_scores_are_its_rewards():
    _, root, _, _ = solved()
    found = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4, mode="reward", beta=BETA)
    assert [beam.ids for beam in found] == [(0, 0), (1, 1), (1, 0), (0, 1)]  # by reward: 1, 0.7, 0.2, 0
    assert [beam.score + root for beam in found] == pytest.approx([REWARD[beam.ids] for beam in found], abs=1e-6)


def test_full_width_by_policy_ranks_by_probability_and_weight_one_is_the_policy():
    _, _, first, second = solved()
    found = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4)
    shares = [math.exp(beam.score) for beam in found]
    assert shares == pytest.approx(sorted((first[i] * second[i][j] for i, j in REWARD), reverse=True), abs=1e-6)
    mixed = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4, mode="mixed", weight=1.0)
    assert [b.ids for b in mixed] == [b.ids for b in found]
    strong = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4, mode="mixed", weight=50.0)
    assert strong[0].ids == (0, 0)


def test_what_ends_goes_to_the_pool_and_the_search_stops_when_nothing_beats_it():
    """Token 2 ends. Greedy begins with 0, although 1 and then the end is likelier as a whole."""

    def policy(path):
        return {(): [0.5, 0.4, 0.1], (1,): [0.05, 0.05, 0.9]}.get(path, [0.3, 0.3, 0.4])

    greedy = implicit_beam_search(Table(policy), ends={2}, max_new_tokens=3, width=1)
    assert len(greedy) == 1 and greedy[0].ids[0] == 0
    wide = implicit_beam_search(Table(policy), ends={2}, max_new_tokens=3, width=4)
    assert wide[0].ids == (1, 2) and wide[0].score == pytest.approx(math.log(0.36))
    table = Table(policy)
    implicit_beam_search(table, ends={2}, max_new_tokens=50, width=2)
    assert max(map(len, table.live)) < 10


def test_a_length_penalty_compares_means():
    """Ending at once (token 2) is likelier than going on, but what follows is then certain."""

    def policy(path):
        return [0.45, 0.0, 0.55] if not path else [0.0, 0.0, 1.0] if len(path) == 3 else [1.0, 0.0, 0.0]

    settings = {"ends": {2}, "max_new_tokens": 9, "width": 2}
    assert implicit_beam_search(Table(policy), **settings)[0].ids == (2,)
    found = implicit_beam_search(Table(policy), **settings, length_penalty=1.0)
    assert [beam.ids for beam in found] == [(0, 0, 0, 2), (2,)]
    assert found[0].ranking_score(1.0) == pytest.approx(math.log(0.45) / 4)


def test_rewards_are_searched_among_likely_tokens_where_that_is_asked():
    policy, reference = (lambda path: [0.6, 0.39, 0.01]), (lambda path: [0.6, 0.399999, 0.000001])
    free = implicit_beam_search(Table(policy, reference), ends=(), max_new_tokens=1, width=1, mode="reward")
    assert free[0].ids == (2,)
    for kept in ({"top_p": 0.9}, {"top_k": 2}):
        found = implicit_beam_search(
            Table(policy, reference), ends=(), max_new_tokens=1, width=3, mode="reward", **kept
        )
        assert [beam.ids for beam in found] == [(0,), (1,)]


def test_impossible_tokens_are_never_kept():
    policy, reference = (lambda path: [1.0, 0.0]), (lambda path: [1.0, 0.0])
    for mode in ("policy", "reward", "mixed"):
        found = implicit_beam_search(Table(policy, reference), ends=(), max_new_tokens=2, width=4, mode=mode)
        assert [beam.ids for beam in found] == [(0, 0)]


def test_likely_keeps_the_top_and_always_one():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert likely_tokens(logits, top_k=2).tolist() == [[True, True, False, False]]
    assert likely_tokens(logits, top_p=0.7).tolist() == [[True, True, False, False]]
    assert likely_tokens(logits, top_p=1e-9).tolist() == [[True, False, False, False]]
    assert likely_tokens(logits).all()


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tiny_llm(tmp_path_factory.mktemp("beam"))
    return shake(load_policy(LanguageConfig(path=str(folder), adapter=AdapterConfig(rank=2))), scale=0.2)


def test_width_one_is_greedy_decoding(policy):
    settings = {"max_new_tokens": 12}
    greedy = policy.sample(["hi", "a longer prompt"], [0, 1], temperature=0.0, **settings)
    beams = TextSampling(beams=1, **settings).model_dump()
    assert policy.sample(["hi", "a longer prompt"], [0, 1], **beams) == greedy != ["", ""]
    base = policy.sample(["hi"], [0], reference=True, temperature=0.0, **settings)
    assert policy.sample(["hi"], [0], reference=True, **{**beams, "beam_mode": "reward"}) == base


@torch.no_grad()
@pytest.mark.parametrize("mode", ["policy", "reward", "mixed"])
def test_cached_scores_are_the_plain_log_probabilities(policy, mode):
    """Every kept beam's score, from one plain pass over prompt and beam, under policy and reference."""
    network, prompt = policy.module, tuple(policy.pair_tokenizer.prompt_ids("hi"))
    steps = CachedNextTokens(prompt, network, policy.reference.base_network)
    found = implicit_beam_search(
        steps, ends=policy.pair_tokenizer.end_ids, max_new_tokens=6, width=4, mode=mode, beta=0.5, weight=2.0, top_k=5
    )
    assert len({beam.ids for beam in found}) == len(found) > 1

    def logp(ids):
        logits = network.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum().item()

    for beam in found:
        mine = logp(beam.ids)
        with policy.reference.base_network():
            ref = logp(beam.ids)
        assert abs(mine - ref) > 1e-3
        expected = {"policy": mine, "reward": 0.5 * (mine - ref), "mixed": ref + 2 * (mine - ref)}[mode]
        assert beam.score == pytest.approx(expected, abs=1e-3)


@torch.no_grad()
def test_full_width_is_full_enumeration(policy):
    """Two tokens out of the policy's three likeliest at each place, all nine of them."""
    prompt = tuple(policy.pair_tokenizer.prompt_ids("hi"))
    found = implicit_beam_search(
        CachedNextTokens(prompt, policy.module, None), ends=(), max_new_tokens=2, width=9, top_k=3
    )
    logits = lambda ids: policy.module.model(torch.tensor([[*prompt, *ids]])).logits[0, -1].log_softmax(-1)
    scores = {}
    for first in logits(()).topk(3).indices.tolist():
        for second in logits((first,)).topk(3).indices.tolist():
            scores[first, second] = (logits(())[first] + logits((first,))[second]).item()
    assert [beam.ids for beam in found] == sorted(scores, key=lambda ids: -scores[ids])
    assert len(scores) == 9


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gemma3", "mistral", "qwen3"])
def test_other_families_are_searched_as_they_are_decoded(family, tmp_path):
    folder = tiny_llm(tmp_path / "model", family=family)
    policy = shake(load_policy(LanguageConfig(path=str(folder), adapter=AdapterConfig(rank=2))), scale=0.2)
    greedy = policy.sample(["hi there"], [0], temperature=0.0, max_new_tokens=12)
    assert policy.sample(["hi there"], [0], beams=1, max_new_tokens=12) == greedy
    wide = policy.sample(["hi there"], [0], beams=3, beam_mode="reward", top_k=4, max_new_tokens=12)
    assert len(wide) == 1


def test_a_fully_trained_model_is_searched_beside_its_copy(tmp_path):
    folder = tiny_llm(tmp_path / "model")
    policy = shake(load_policy(LanguageConfig(path=str(folder), adapter=None, reference="copy")), scale=0.05)
    loads = []
    load = policy.reference._load_base
    policy.reference._load_base = lambda: loads.append(1) or load()
    settings = {"beams": 2, "beam_mode": "reward", "top_k": 4, "max_new_tokens": 6}
    first = policy.sample(["hi"], [0], **settings)
    assert policy.sample(["hi", "hi"], [0, 1], **settings) == first * 2
    assert len(loads) <= 1


def test_settings_that_cannot_be_searched_by_are_refused(policy):
    with pytest.raises(ValueError, match="Set top_p=0.9, or top_k"):
        TextSampling(beams=3, beam_mode="reward")
    TextSampling(beams=3, beam_mode="reward", top_k=20)
    for wrong in ({"beams": -1}, {"beam_mode": "best"}, {"beam_weight": 0.5}, {"length_penalty": -1}):
        with pytest.raises(ValueError):
            TextSampling(**wrong)
    with pytest.raises(ConfigError, match="positions"):
        policy.sample(["hi"], [0], beams=2, max_new_tokens=256)
