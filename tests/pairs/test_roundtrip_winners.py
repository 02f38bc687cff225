"""`pairs.roundtrip`: which candidates go through the autoencoder once more, and what is made of kept latents."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent, write_latents
from diffalign.errors import ConfigError, RunError
from diffalign.pairs import PAIRS, from_memory
from diffalign.pairs.roundtrip_winners import roundtrip_winners
from diffalign.pairs.source import RoundContext
from diffalign.policies.diffusion.sampling.candidates import ImageCandidates
from tests.training.tiny_runs import losses, run, state
from tests.training.toy import ToyPolicy

SEPPO = {"name": "checkpoint", "every": 2, "select": "initial", "steps": 2, "guidance": 1.0, "batch": 2}


def seppo(roundtrip, **train):
    return {
        "pairs": {**SEPPO, "roundtrip": roundtrip},
        "labels": "seppo_gate",
        "train": {"steps": 4, "learning_rate": 1e-3, **train},
        "checkpoint": {"every": 1, "keep": 9},
    }


def test_earlier_recipes_said_yes_or_no():
    assert [ImageCandidates(roundtrip=value).roundtrip for value in (True, False)] == ["samples", "none"]
    assert ImageCandidates().roundtrip == "none"


def test_each_value_trains_on_other_latents_and_yes_is_samples(sd, pairs, tmp_path):
    ends = {
        value: state(run(sd, tmp_path / str(value), pairs, **seppo(value)))
        for value in ("none", "samples", "both", True)
    }
    differ = lambda a, b: any(not torch.equal(ends[a][name], ends[b][name]) for name in ends[a])
    assert differ("none", "samples") and differ("samples", "both") and differ("none", "both")
    assert not differ("samples", True)


def test_winners_take_the_trip_once_in_a_run_and_a_resumed_run_ends_alike(sd, pairs, tmp_path, monkeypatch):
    from diffalign.policies.diffusion.policy import DenoiserPolicy

    calls, plain = [], DenoiserPolicy.roundtrip_candidates

    def counted(self, media, store, keys):
        calls.extend(keys)
        return plain(self, media, store, keys)

    monkeypatch.setattr(DenoiserPolicy, "roundtrip_candidates", counted)
    straight = run(sd, tmp_path / "straight", pairs, **seppo("both", steps=8))
    assert len(calls) == len(set(calls)) == len(pairs)
    run(sd, tmp_path / "parts", pairs, **seppo("both", steps=3))
    resumed = run(sd, tmp_path / "parts", pairs, resume=True, **seppo("both", steps=8))
    assert len(calls) == 2 * len(pairs)
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(straight).items())
    assert losses(tmp_path / "parts") == losses(tmp_path / "straight")


def context(policy, folder):
    return RoundContext(policy, folder, seed=0, progress=lambda *_: None)


def test_only_winners_change_and_ids_prompts_and_samples_stay(make, pairs, tmp_path):
    policy = make(flip="none")
    policy.prepare(pairs)
    source = PAIRS["checkpoint"](
        from_memory(pairs), **{k: v for k, v in SEPPO.items() if k != "name"}, roundtrip="both"
    )
    plain = replace(source, sampling={**source.sampling, "roundtrip": "samples"})
    assert "decoded and encoded as the winners are" in source.summary()
    assert plain.summary().endswith("new every 2 steps, decoded and encoded")
    made, other = (s.begin_round(0, [0, 2], context(policy, tmp_path / str(i))) for i, s in enumerate((source, plain)))
    assert [isinstance(pair.chosen, CachedCandidate) for pair in made] == [True, False, True, False]
    assert [isinstance(pair.chosen, CachedCandidate) for pair in other] == [False] * 4
    for one, two in zip(made[::2], other[::2], strict=True):
        assert (one.id, one.prompt) == (two.id, two.prompt)
        assert torch.equal(one.rejected.read()["mean"], two.rejected.read()["mean"])
    encoded = policy.encode([made[0], made[2]])
    assert torch.equal(encoded.mean[0, 0], made[0].chosen.read()["mean"]) and (encoded.std > 0).all()


def test_a_kept_latent_and_a_sample_take_the_same_trip(make, tmp_path):
    """A winner that is a sample becomes what that sample becomes, up to half precision."""
    policy = make(flip="none")
    sampling = {"steps": 2, "guidance": 1.0, "sampler": "ddim"}
    latent = policy.sample(["a fox"], [5], latents_only=True, **sampling)[0]
    file = tmp_path / "latents.safetensors"
    write_latents(file, {"fox.png": latent}, policy.latent_space())
    kept = KeptLatent(str(file), "fox.png", Path("fox.png"))
    handles = roundtrip_winners([Pair("p", "a fox", kept, None)], tmp_path / "w", context(policy, tmp_path), batch=2)
    from diffalign.data.storage.tensor_cache import TensorCache

    store = TensorCache(tmp_path / "s", "samples")
    sample = policy.make_candidates(["a fox"], [5], store, ["one"], roundtrip="samples", **sampling)[0]
    torch.testing.assert_close(handles["p"].read()["mean"], sample.read()["mean"], rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(handles["p"].read()["std"], sample.read()["std"], rtol=2e-3, atol=2e-3)


def test_kept_winners_beside_decoded_samples_are_refused_and_equal_trips_are_not(tmp_path):
    pair = Pair("p", "a fox", KeptLatent("latents.safetensors", "a.png", Path("a.png")), None)
    with pytest.raises(ConfigError, match=r"distinguished.*--set pairs.roundtrip=none.*--set pairs.roundtrip=both"):
        PAIRS["checkpoint"](from_memory([pair]), roundtrip="samples")
    for fair in ("none", "both"):
        assert len(PAIRS["checkpoint"](from_memory([pair]), roundtrip=fair)) == 1


def test_a_policy_without_an_autoencoder_is_refused_in_a_sentence(tmp_path):
    pairs = [Pair("p", "a fox", b"winner", None)]
    with pytest.raises(RunError, match="--set pairs.roundtrip=none"):
        roundtrip_winners(pairs, tmp_path, context(ToyPolicy(), tmp_path), batch=1)
