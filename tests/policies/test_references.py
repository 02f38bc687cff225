"""References stored beforehand: the same numbers as live ones, found again, and refused once the weights have moved."""

import pytest
import torch
from pydantic import ValidationError

from diffalign.errors import RunError
from diffalign.policies.diffusion.load import AdapterConfig, ModelConfig
from tests.policies.conftest import draw_for, shake

PLAN = [(i, visit) for visit in (0, 1) for i in range(4)]


def errors(policy, pairs, visit):
    info = policy.reference_logps(policy.encode(pairs), draw_for(pairs, visit)).info
    return torch.stack([info["chosen_error"], info["rejected_error"]])


@pytest.mark.parametrize("adapter", [AdapterConfig(rank=4), None], ids=["adapter", "every weight"])
def test_stored_errors_equal_live_ones(make, pairs, adapter):
    live = make(adapter=adapter, reference="copy")
    stored = make(adapter=adapter, reference="stored")
    assert stored.prepare_reference(pairs, PLAN, seed=0, batch=3) == 8
    shake(stored)
    for visit in (0, 1):
        torch.testing.assert_close(errors(stored, pairs, visit), errors(live, pairs, visit), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(errors(stored, pairs, 0), errors(stored, pairs, 1))


def test_stored_errors_are_looked_up_and_not_computed(make, pairs, monkeypatch):
    policy = make(adapter=None, reference="stored")
    policy.prepare_reference(pairs, PLAN, seed=0)
    monkeypatch.setattr(policy._policy_and_reference, "_frozen_logps", lambda *_: pytest.fail("computed"))
    errors(policy, pairs, 1)


def test_a_later_run_finds_what_was_stored_and_another_seed_does_not(make, pairs):
    make(reference="stored").prepare_reference(pairs, PLAN, seed=0)
    again = make(reference="stored")
    assert again.prepare_reference(pairs, PLAN, seed=0) == 0
    assert again.prepare_reference(pairs, [*PLAN, (0, 2), (0, 2)], seed=0) == 1
    assert again.prepare_reference(pairs, PLAN, seed=1) == 8


def test_a_pair_with_other_images_is_another_pair(make, pairs):
    from dataclasses import replace

    policy = make(reference="stored")
    policy.prepare_reference(pairs[:1], [(0, 0)], seed=0)
    swapped = replace(pairs[0], chosen=pairs[0].rejected, rejected=pairs[0].chosen)
    assert policy.prepare_reference([swapped], [(0, 0)], seed=0) == 1


def test_after_the_first_step_nothing_can_be_stored(make, pairs):
    policy = make(adapter=None, reference="stored")
    shake(policy, scale=1e-6)
    with pytest.raises(RunError, match="training has begun"):
        policy.prepare_reference(pairs, PLAN, seed=0)


def test_writing_equal_weights_is_no_step(make, pairs):
    """A distributed wrapper broadcasts the weights onto themselves."""
    policy = make(adapter=None, reference="stored")
    with torch.no_grad():
        for value in policy.trainable().values():
            value.copy_(value.clone())
    assert policy.prepare_reference(pairs, PLAN[:1], seed=0) == 1


def test_auto_takes_the_cheapest_that_fits(make, monkeypatch):
    assert make().reference_kind == "adapter_off"
    assert make(adapter=None).reference_kind == "copy"
    monkeypatch.setattr("diffalign.policies.references.available_bytes", lambda device: 1000)
    policy = make(adapter=None)
    assert policy.reference_kind == "stored" and "no extra memory" in policy.describe()["reference"]


@pytest.mark.parametrize(
    "settings", [{"adapter": None, "reference": "adapter_off"}, {"reference": "stored", "use_cache": False}]
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValidationError, match="Set"):
        ModelConfig(path="model", **settings)


def test_errors_at_latents_that_the_policy_finds_cannot_be_stored(make, monkeypatch):
    with pytest.raises(ValidationError, match="latents.inverter=reference"):
        ModelConfig(path="x", reference="stored", latents="ddim_inversion")
    ModelConfig(path="x", reference="stored", latents={"name": "ddim_inversion", "inverter": "reference"})
    monkeypatch.setattr("diffalign.policies.references.available_bytes", lambda device: 0)
    assert make(adapter=None).reference_kind == "stored"
    assert make(adapter=None, latents="ddim_inversion").reference_kind == "copy"
