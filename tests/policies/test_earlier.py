"""An earlier state as the reference, and samples of it as candidates."""

from dataclasses import replace

import pytest
import torch

from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.load import AdapterConfig
from diffalign.randomness import Draw
from tests.policies.conftest import draw_for, inputs_of, margin, shake

BOTH = pytest.mark.parametrize("adapter", [AdapterConfig(rank=4), None], ids=["adapter", "every weight"])
SAMPLING = {"steps": 2, "guidance": 3.0, "sampler": "ddim"}


def logps(scored):
    return [scores.logps for scores in scored.candidates]


def equal(ones, others):
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


@BOTH
def test_an_earlier_state_scores_as_a_policy_that_was_loaded_with_it(make, pairs, adapter):
    earlier = shake(make(adapter=adapter, reference="auto"), seed=5)
    state, draw = earlier.state(), draw_for(pairs)
    policy = shake(make(adapter=adapter, reference="auto"))
    encoded = policy.encode(pairs)
    policy.set_reference(state)
    assert policy.reference_kind == "earlier" and "earlier checkpoint" in policy.describe()["reference"]
    assert equal(logps(policy.reference_logps(encoded, draw)), logps(earlier.logps(encoded, draw)))
    with torch.no_grad():
        for value in earlier.trainable().values():
            value.zero_()
    fresh = make(adapter=adapter, reference="auto")
    policy.set_reference(fresh.state())  # the latest that was given is the one
    assert equal(logps(policy.reference_logps(encoded, draw)), logps(fresh.logps(encoded, draw)))


@BOTH
def test_holding_an_earlier_state_leaves_weights_gradients_and_optimizer_alone(make, pairs, adapter):
    """Also when the reference runs between the policy's pass and its gradient, and when that run fails."""
    found = []
    for held in (False, True):
        policy = shake(make(adapter=adapter, reference="auto"))
        optimizer = torch.optim.AdamW(policy.trainable().values(), lr=1e-3)
        before, places = policy.state(), [value.data_ptr() for value in policy.trainable().values()]
        encoded, draw = policy.encode(pairs), draw_for(pairs)
        total = policy.logps(encoded, draw).candidates[0].logps.sum()
        if held:
            policy.set_reference(shake(make(adapter=adapter, reference="auto"), seed=5).state())
            policy.reference_logps(encoded, draw)
            with pytest.raises(RuntimeError, match="midway"), policy._policy_and_reference.reference.network():
                raise RuntimeError("midway")
        total.backward()
        assert equal(policy.state().values(), before.values())
        assert [value.data_ptr() for value in policy.trainable().values()] == places
        optimizer.step()
        found.append([*(value.grad for value in policy.trainable().values()), *policy.trainable().values()])
    assert equal(*found)


@BOTH
@pytest.mark.parametrize("latents", ["forward", "ddim_inversion"])
def test_the_policys_own_state_as_its_reference_costs_exactly_log_two(make, pairs, adapter, latents):
    policy = shake(make(adapter=adapter, reference="auto", latents=latents))
    policy.set_reference(policy.state())
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    assert torch.equal(margin(policy, encoded, draw), torch.zeros(len(pairs)))
    shake(policy, scale=1e-3)
    assert margin(policy, encoded, draw).abs().max() > 0  # it is a copy and stays behind


@pytest.mark.parametrize(
    ("settings", "typed"),
    [
        ({"reference": "stored"}, "model.reference=copy"),
        ({"latents": {"name": "heun", "inverter": "reference", "store": True}}, "latents.store=false"),
    ],
    ids=["errors", "latents"],
)
def test_what_was_stored_of_one_reference_forbids_another(make, settings, typed):
    policy = make(**settings)
    with pytest.raises(ConfigError, match=f"reference changes while training.*--set {typed}"):
        policy.set_reference(policy.state())


def test_an_inverting_reference_asks_anew_once_another_one_is_held(make, pairs):
    policy = make(latents={"name": "ddim_inversion", "steps": 2, "inverter": "reference"})
    encoded, draw, found = policy.encode(pairs), draw_for(pairs), []
    for seed in (1, 2, 3, 4):
        state = shake(make(), seed=seed).state()
        policy.set_reference(state)
        found.append(inputs_of(policy, encoded, draw).x_t)
    assert not any(torch.equal(one, other) for one, other in zip(found, found[1:], strict=False))


def test_a_sample_kept_as_a_candidate_is_the_latent_in_the_autoencoders_scale(make, tmp_path):
    policy, store = shake(make(flip="none")), TensorCache(tmp_path / "kept", "samples")
    prompts, seeds, keys = ["a fox", "two red apples"], [1, 2], ["one", "two"]
    kept = policy.make_candidates(prompts, seeds, store, keys, **SAMPLING)
    assert [item.key for item in kept] == keys and store.missing(keys) == []
    latents = policy.sample(prompts, seeds, latents_only=True, **SAMPLING)
    for item, latent in zip(kept, latents, strict=True):
        entry = item.read()
        assert set(entry) == {"mean", "std", "size"} and entry["mean"].shape == (1, 4, 8, 8)
        assert entry["size"].tolist() == [16, 16, 0, 0] and not entry["std"].any()
        torch.testing.assert_close(policy._frozen.scale.normalise(entry["mean"][0]), latent)


def test_the_reference_samples_candidates_of_its_own(make, tmp_path):
    policy, store = shake(make(flip="none")), TensorCache(tmp_path / "kept", "samples")
    earlier = shake(make(flip="none"), seed=5)
    policy.set_reference(earlier.state())
    mine, theirs = (
        policy.make_candidates(["a fox"], [1], store, [key], reference=reference, **SAMPLING)[0].read()["mean"]
        for key, reference in (("mine", False), ("theirs", True))
    )
    own = earlier.make_candidates(["a fox"], [1], store, ["own"], **SAMPLING)[0].read()["mean"]
    assert torch.equal(theirs, own) and not torch.allclose(mine, theirs, atol=1e-3)


@pytest.mark.parametrize(("flip", "views"), [("none", 1), ("joint", 2)])
def test_decoded_and_encoded_again_a_sample_has_the_views_of_an_image(make, pairs, tmp_path, flip, views):
    policy, store = make(flip=flip), TensorCache(tmp_path / "kept", "samples")
    policy.prepare(pairs)
    kept = policy.make_candidates(["a fox"], [1], store, ["one"], roundtrip="samples", **SAMPLING)[0]
    assert not policy._frozen.present, "the autoencoder was left behind"
    entry = kept.read()
    assert entry["mean"].shape == entry["std"].shape == (views, 4, 8, 8) and (entry["std"] > 0).all()
    latent = policy.sample(["a fox"], [1], latents_only=True, **SAMPLING)[0]
    image = policy._frozen.decode(latent[None]).clamp(-1, 1)
    for view, seen in zip(range(views), (image, image.flip(-1)), strict=False):
        torch.testing.assert_close(entry["mean"][view], policy._frozen.posterior(seen)[0][0], rtol=1e-4, atol=1e-5)


def test_candidates_without_a_mirrored_view_are_refused_where_winners_are_mirrored(make, tmp_path):
    with pytest.raises(ConfigError, match=r"model.flip=none.*pairs.roundtrip=samples"):
        make(flip="joint").make_candidates(["a fox"], [1], TensorCache(tmp_path, "samples"), ["one"], **SAMPLING)


@pytest.mark.parametrize("roundtrip", ["none", "samples"])
def test_a_winner_beside_a_kept_sample_is_a_pair_like_any_other(make, pairs, tmp_path, roundtrip):
    policy = make(flip="none" if roundtrip == "none" else "joint", latents="ddim_inversion")
    store = TensorCache(tmp_path / "kept", "samples")
    prompts = [pair.prompt for pair in pairs]
    keys = [pair.id for pair in pairs]
    kept = policy.make_candidates(prompts, [1, 2, 3, 4], store, keys, roundtrip=roundtrip, **SAMPLING)
    made = [replace(pair, rejected=item) for pair, item in zip(pairs, kept, strict=True)]
    policy.prepare(made)
    encoded, draw = policy.encode(made), draw_for(made)
    assert len(set(encoded.keys)) == 4 and encoded.mean.shape[:3] == (4, 2, 1 if roundtrip == "none" else 2)
    assert torch.equal(encoded.mean[0, 1], kept[0].read()["mean"])
    assert torch.equal(encoded.mean[:, 0], policy.encode(pairs).mean[:, 0])
    assert torch.equal(margin(policy, encoded, draw), torch.zeros(4))
    assert margin(shake(policy), encoded, draw).abs().min() > 0
    if roundtrip == "none":  # a sharp posterior: the latent that is judged is the sample itself
        clean = policy._denoiser.clean(encoded, Draw(9, tuple(keys), (7,) * 4))[4:]
        sampled = make(flip="none").sample(prompts, [1, 2, 3, 4], latents_only=True, **SAMPLING)
        torch.testing.assert_close(clean, torch.stack(sampled))


def test_equal_seeds_make_equal_candidates_in_any_batch(make, tmp_path):
    policy, store = shake(make(flip="none")), TensorCache(tmp_path / "kept", "samples")
    prompts, seeds = ["a fox", "two red apples", "a fox"], [3, 2, 1]
    together = policy.make_candidates(prompts, seeds, store, ["a", "b", "c"], batch=3, **SAMPLING)
    for i, item in enumerate(together):
        alone = policy.make_candidates([prompts[i]], [seeds[i]], store, [f"alone {i}"], **SAMPLING)[0]
        torch.testing.assert_close(alone.read()["mean"], item.read()["mean"], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0].read()["mean"], together[2].read()["mean"], atol=1e-2)


@pytest.mark.parametrize("adapter", [AdapterConfig(rank=4), None], ids=["adapter", "every weight"])
@pytest.mark.parametrize("moved", ["held", "stored"])
def test_the_base_is_sampled_as_it_was_whatever_the_reference_has_become(make, adapter, moved):
    policy = make(adapter=adapter, reference="stored" if moved == "stored" else "auto")
    settings = {"steps": 2, "guidance": 1.0, "latents_only": True, "reference": True}
    before = policy.sample(["a fox"], [0], **settings)[0]
    shake(policy)
    if moved == "held":
        policy.set_reference(policy.state())
    shake(policy)
    assert torch.equal(policy.sample(["a fox"], [0], **settings)[0], before)


@pytest.mark.parametrize(("flip", "views"), [("none", 1), ("joint", 2)])
def test_a_winner_can_take_the_trip_that_the_samples_take(make, pairs, tmp_path, flip, views):
    policy, store = make(flip=flip), TensorCache(tmp_path / "kept", "winners")
    policy.prepare(pairs)
    policy.roundtrip_candidates([pair.chosen for pair in pairs[:2]], store, ["one", "two"])
    assert not policy._frozen.present, "the autoencoder was left behind"
    plain = policy.encode(pairs[:2]).mean[:, 0, 0]
    for key, mean in zip(("one", "two"), plain, strict=True):
        entry = store.get(key)
        image = policy._frozen.decode(policy._frozen.scale.normalise(mean[None])).clamp(-1, 1)
        assert entry["mean"].shape == entry["std"].shape == (views, 4, 8, 8) and (entry["std"] > 0).all()
        assert entry["size"].tolist() == [16, 16, 0, 0]
        for view, seen in zip(range(views), (image, image.flip(-1)), strict=False):
            torch.testing.assert_close(entry["mean"][view], policy._frozen.posterior(seen)[0][0], rtol=1e-4, atol=1e-5)
