"""Beam search on a toy with known probabilities, and on tiny models against greedy decoding and full enumeration."""

import math

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.generation.generate_answers import CachedNextTokens
from diffalign.policies.language.generation.implicit_reward_beam import implicit_beam_search, likely_tokens
from diffalign.policies.language.generation.settings import TextSampling
from diffalign.policies.language.load import load_policy
from tests.losses.diagnostics.test_credit import BETA, REF_FIRST, REF_SECOND, REWARD, solved
from tests.policies.conftest import shake
from tests.tiny_text import tiny_llm


class Table:
    """Next-token log-probabilities of a policy given as ``log p(next | path)``; records the live paths."""

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
    beams = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4, mode="reward", beta=BETA)
    assert [beam.ids for beam in beams] == [(0, 0), (1, 1), (1, 0), (0, 1)]  # by reward: 1, 0.7, 0.2, 0
    assert [beam.score + root for beam in beams] == pytest.approx([REWARD[beam.ids] for beam in beams], abs=1e-6)


def test_full_width_by_policy_ranks_by_probability_and_weight_one_is_the_policy():
    _, _, first, second = solved()
    beams = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4)
    shares = [math.exp(beam.score) for beam in beams]
    assert shares == pytest.approx(sorted((first[i] * second[i][j] for i, j in REWARD), reverse=True), abs=1e-6)
    mixed = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4, mode="mixed", weight=1.0)
    assert [b.ids for b in mixed] == [b.ids for b in beams]
    strong = implicit_beam_search(toy(), ends=(), max_new_tokens=2, width=4, mode="mixed", weight=50.0)
    assert strong[0].ids == (0, 0)


def test_finished_beams_go_to_the_pool_and_the_search_stops_when_no_beam_beats_them():
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
    beams = implicit_beam_search(Table(policy), **settings, length_penalty=1.0)
    assert [beam.ids for beam in beams] == [(0, 0, 0, 2), (2,)]
    assert beams[0].ranking_score(1.0) == pytest.approx(math.log(0.45) / 4)


def test_reward_search_is_restricted_to_likely_tokens_on_request():
    policy, reference = (lambda path: [0.6, 0.39, 0.01]), (lambda path: [0.6, 0.399999, 0.000001])
    free = implicit_beam_search(Table(policy, reference), ends=(), max_new_tokens=1, width=1, mode="reward")
    assert free[0].ids == (2,)
    for kept in ({"top_p": 0.9}, {"top_k": 2}):
        beams = implicit_beam_search(
            Table(policy, reference), ends=(), max_new_tokens=1, width=3, mode="reward", **kept
        )
        assert [beam.ids for beam in beams] == [(0,), (1,)]


def test_impossible_tokens_are_never_kept():
    policy, reference = (lambda path: [1.0, 0.0]), (lambda path: [1.0, 0.0])
    for mode in ("policy", "reward", "mixed"):
        beams = implicit_beam_search(Table(policy, reference), ends=(), max_new_tokens=2, width=4, mode=mode)
        assert [beam.ids for beam in beams] == [(0, 0)]


def test_likely_tokens_always_include_the_likeliest():
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
    beams = implicit_beam_search(
        steps, ends=policy.pair_tokenizer.end_ids, max_new_tokens=6, width=4, mode=mode, beta=0.5, weight=2.0, top_k=5
    )
    assert len({beam.ids for beam in beams}) == len(beams) > 1

    def logp(ids):
        logits = network.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum().item()

    for beam in beams:
        policy_logp = logp(beam.ids)
        with policy.reference.base_network():
            reference_logp = logp(beam.ids)
        assert abs(policy_logp - reference_logp) > 1e-3
        expected = {
            "policy": policy_logp,
            "reward": 0.5 * (policy_logp - reference_logp),
            "mixed": reference_logp + 2 * (policy_logp - reference_logp),
        }[mode]
        assert beam.score == pytest.approx(expected, abs=1e-3)


@torch.no_grad()
def test_full_width_is_full_enumeration(policy):
    """Two tokens out of the policy's three likeliest at each position, all nine sequences."""
    prompt = tuple(policy.pair_tokenizer.prompt_ids("hi"))
    beams = implicit_beam_search(
        CachedNextTokens(prompt, policy.module, None), ends=(), max_new_tokens=2, width=9, top_k=3
    )
    logits = lambda ids: policy.module.model(torch.tensor([[*prompt, *ids]])).logits[0, -1].log_softmax(-1)
    scores = {}
    for first in logits(()).topk(3).indices.tolist():
        for second in logits((first,)).topk(3).indices.tolist():
            scores[first, second] = (logits(())[first] + logits((first,))[second]).item()
    assert [beam.ids for beam in beams] == sorted(scores, key=lambda ids: -scores[ids])
    assert len(scores) == 9


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gemma3", "mistral", "qwen3"])
def test_beam_search_equals_greedy_decoding_for_other_families(family, tmp_path):
    folder = tiny_llm(tmp_path / "model", family=family)
    policy = shake(load_policy(LanguageConfig(path=str(folder), adapter=AdapterConfig(rank=2))), scale=0.2)
    greedy = policy.sample(["hi there"], [0], temperature=0.0, max_new_tokens=12)
    assert policy.sample(["hi there"], [0], beams=1, max_new_tokens=12) == greedy
    wide = policy.sample(["hi there"], [0], beams=3, beam_mode="reward", top_k=4, max_new_tokens=12)
    assert len(wide) == 1


def test_a_fully_trained_model_is_searched_with_its_copy_as_reference(tmp_path):
    folder = tiny_llm(tmp_path / "model")
    policy = shake(load_policy(LanguageConfig(path=str(folder), adapter=None, reference="copy")), scale=0.05)
    loads = []
    load = policy.reference._load_base
    policy.reference._load_base = lambda: loads.append(1) or load()
    settings = {"beams": 2, "beam_mode": "reward", "top_k": 4, "max_new_tokens": 6}
    first = policy.sample(["hi"], [0], **settings)
    assert policy.sample(["hi", "hi"], [0, 1], **settings) == first * 2
    assert len(loads) <= 1


def test_invalid_search_settings_are_refused(policy):
    with pytest.raises(ValueError, match="Set top_p=0.9, or top_k"):
        TextSampling(beams=3, beam_mode="reward")
    TextSampling(beams=3, beam_mode="reward", top_k=20)
    for wrong in ({"beams": -1}, {"beam_mode": "best"}, {"beam_weight": 0.5}, {"length_penalty": -1}):
        with pytest.raises(ValueError):
            TextSampling(**wrong)
    with pytest.raises(ConfigError, match="positions"):
        policy.sample(["hi"], [0], beams=2, max_new_tokens=256)
