"""The laws of what a policy keeps and makes, checked for every kind: checkpoints, shared files, samples, candidates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import RunError
from diffalign.sharing.card import Card
from tests.policies.cases import close, numbers, total
from tests.policies.conftest import draw_for, shake


def step(policy, pairs, visit):
    """One step of plain gradient descent."""
    loss = -total(policy.logps(policy.encode(pairs), draw_for(pairs, visit))) / len(pairs)
    loss.backward()
    with torch.no_grad():
        for parameter in policy.trainable().values():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
                parameter.grad = None


def test_a_state_is_a_copy_that_is_restored_to_the_bit(bench, policy):
    state = shake(policy).state()
    moved = numbers(policy.logps(bench.encoded, bench.draw))
    shake(policy, seed=2)
    assert not torch.equal(numbers(policy.logps(bench.encoded, bench.draw)), moved)
    policy.load_state(state)
    assert torch.equal(numbers(policy.logps(bench.encoded, bench.draw)), moved)
    assert set(state) == set(policy.trainable()) and all(value.device.type == "cpu" for value in state.values())


def test_the_state_of_another_model_is_refused(policy):
    with pytest.raises(RunError, match="checkpoint holds other tensors"):
        policy.load_state({f"other.{name}": value for name, value in policy.state().items()})


def test_a_resumed_policy_goes_on_to_the_bit_with_the_reference_of_the_beginning(bench, policy):
    step(policy, bench.pairs, 0)
    saved = policy.state()
    step(policy, bench.pairs, 1)
    resumed = bench.case.open()
    resumed.load_state(saved)
    assert torch.equal(numbers(resumed.reference_logps(resumed.encode(bench.pairs), bench.draw)), bench.at_start)
    step(resumed, bench.pairs, 1)
    assert all(torch.equal(value, resumed.state()[name]) for name, value in policy.state().items())
    assert any(not torch.equal(value, saved[name]) for name, value in policy.state().items())


def test_what_was_saved_gives_the_same_numbers_and_has_a_card(bench, policy, tmp_path):
    moved = numbers(shake(policy).logps(bench.encoded, bench.draw))
    artifact = policy.save(tmp_path / "result", {"method": "battery"})
    again = bench.case.reopen(artifact)
    assert close(numbers(again.logps(again.encode(bench.pairs), bench.draw)), moved)
    card = policy.card(artifact, Card(method="battery"))
    assert card.name == "README.md" and card.parent in (artifact, artifact.parent) and "battery" in card.read_text()


def sampled(policy, case, prompts, seeds, **settings):
    """Samples as a list of texts or of tensors."""
    return policy.sample(prompts, seeds, **case.sampling, **settings)


def same(one, other):
    """Equal texts, or images that are equal but for rounding."""
    return torch.allclose(one, other, rtol=1e-3, atol=1e-3) if isinstance(one, torch.Tensor) else one == other


def test_a_sample_depends_on_its_prompt_and_seed_only(bench, policy):
    prompts = [pair.prompt for pair in bench.pairs[:2]] * 2
    seeds = [0, 0, 1, 1]
    shake(policy)
    with policy.sampling():
        together = sampled(policy, bench.case, prompts, seeds)
        assert len(together) == 4 and not same(together[0], together[2])
        for sample, prompt, seed in zip(together, prompts, seeds, strict=True):
            assert same(sampled(policy, bench.case, [prompt], [seed])[0], sample)


def test_the_base_is_sampled_as_the_policy_at_step_0_whatever_was_trained(bench, policy):
    prompts = [bench.pairs[0].prompt, bench.pairs[1].prompt]
    with policy.sampling():
        start = sampled(policy, bench.case, prompts, [0, 0])
        shake(policy, scale=0.1)
        moved = sampled(policy, bench.case, prompts, [0, 0])
        base = sampled(policy, bench.case, prompts, [0, 0], reference=True)
    assert all(same(one, other) for one, other in zip(base, start, strict=True))
    assert not all(same(one, other) for one, other in zip(moved, start, strict=True))


def test_candidates_of_its_own_are_stored_and_trained_on_like_those_of_the_data(bench, policy, tmp_path):
    store = TensorCache(tmp_path, "candidates")
    prompts, keys = [pair.prompt for pair in bench.pairs], [pair.id for pair in bench.pairs]

    def made(prefix, reference):
        names = [f"{prefix} {key}" for key in keys]
        settings = {**bench.case.candidates, "reference": reference}
        candidates = policy.make_candidates(prompts, [0, 1, 2, 3], store, names, **settings)
        assert store.missing(names) == []
        return [candidate.read() for candidate in candidates], candidates

    def equal(one, other):
        return all(
            a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(one, other, strict=True)
        )

    with policy.sampling():
        start, candidates = made("start", False)
        assert equal(made("again", False)[0], start) and equal(made("reference", True)[0], start)
        shake(policy, scale=0.1)
        assert equal(made("reference later", True)[0], start) and not equal(made("later", False)[0], start)
    rows = [replace(pair, rejected=one) for pair, one in zip(bench.pairs, candidates, strict=True)]
    batch = policy.logps(policy.encode(rows), bench.draw)
    assert numbers(batch).isfinite().all()
    assert close(numbers(batch)[0], numbers(policy.logps(bench.encoded, bench.draw))[0])
