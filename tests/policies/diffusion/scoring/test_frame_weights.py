"""Weights of frames in a clip's error: e = mean_f w_f e_f."""

from dataclasses import replace

import pytest
import torch

from diffalign.errors import ConfigError, DataError
from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.diffusion.load import VideoModelConfig, load_policy
from tests.policies.conftest import draw_for, shake
from tests.tiny_video import FRAMES, tiny_clip_pairs, tiny_motion


@pytest.fixture(scope="module")
def clip_pairs(tmp_path_factory):
    return tiny_clip_pairs(tmp_path_factory.mktemp("clips"), 2)


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    return tiny_motion(tmp_path_factory.mktemp("motion"))


@pytest.fixture
def video(sd, motion, tmp_path):
    def build(**settings):
        values = {"adapter": AdapterConfig(rank=4), "clip": {"frames": FRAMES}, "motion": str(motion), **settings}
        return load_policy(VideoModelConfig(path=str(sd), cache=tmp_path / "cache", **values), "cpu")

    return build


def with_weights(pairs, *weights):
    return [replace(pair, frame_weights=weights) for pair in pairs]


def scored(policy, pairs):
    """Log-probabilities of both candidates, ``(2, B)``."""
    policy.prepare(pairs)
    with torch.no_grad():
        logps = policy.logps(policy.encode(pairs), draw_for(pairs))
    return torch.stack([candidate.logps for candidate in logps.candidates])


@pytest.fixture
def policy(video):
    policy = video()
    shake(policy)
    return policy


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_error_is_the_weighted_mean_of_frame_errors(video, clip_pairs, reduction):
    policy = video(reduction=reduction)
    one_frame = [scored(policy, with_weights(clip_pairs, *(float(i == f) for i in range(3)))) for f in range(3)]
    plain = scored(policy, clip_pairs)
    torch.testing.assert_close(sum(one_frame) / 3, plain, rtol=1e-5, atol=0)
    weighted = scored(policy, with_weights(clip_pairs, 3.0, 1.0, 2.0))
    expected = (3.0 * one_frame[0] + one_frame[1] + 2.0 * one_frame[2]) / 6.0
    torch.testing.assert_close(weighted, expected, rtol=1e-5, atol=0)
    assert (weighted - plain).abs().min() > 0


def test_all_weight_on_one_frame_gives_that_frames_error(policy, clip_pairs):
    encoded = policy.encode(clip_pairs)
    scores, draw = policy._policy_and_reference, draw_for(clip_pairs)
    with torch.no_grad():
        inputs = scores.inputs(encoded, draw)
        output = scores.probe(inputs.x_t, inputs.time, inputs.conditioning)
    first = (output - inputs.target)[:, :, 0].square().flatten(1).mean(1).view(2, -1)
    found = scored(policy, with_weights(clip_pairs, float(FRAMES), 0.0, 0.0))
    torch.testing.assert_close(-2.0 * found, first, rtol=1e-5, atol=0)


def test_equal_weights_change_nothing_to_the_bit_and_a_pair_ignores_those_of_others(policy, clip_pairs):
    plain = scored(policy, clip_pairs)
    assert torch.equal(scored(policy, with_weights(clip_pairs, 0.3, 0.3, 0.3)), plain)
    assert policy.encode(with_weights(clip_pairs, 1.0, 1.0, 1.0)).frame_weights is None
    mixed = [clip_pairs[0], *with_weights(clip_pairs[1:], 0.0, 1.0, 0.0)]
    found = scored(policy, mixed)
    assert torch.equal(found[:, 0], plain[:, 0]) and bool((found[:, 1] != plain[:, 1]).all())


def test_stored_reference_errors_are_those_of_the_weights(video, clip_pairs):
    live, weighted = video(), with_weights(clip_pairs, 0.0, 2.0, 1.0)
    stored = video(reference="stored", draws=1)
    for pairs in (clip_pairs, weighted):
        assert stored.prepare_reference(pairs, [(0, 0), (1, 0)], 0) == 2
        draw = draw_for(pairs)
        kept, found = (p.reference_logps(p.encode(pairs), draw) for p in (stored, live))
        for one, other in zip(kept.candidates, found.candidates, strict=True):
            torch.testing.assert_close(one.logps, other.logps, rtol=1e-6, atol=0)
    assert stored.prepare_reference(with_weights(clip_pairs, 5.0, 5.0, 5.0), [(0, 0)], 0) == 0  # equal weights are none
    assert stored.prepare_reference(with_weights(clip_pairs, 0.0, 4.0, 2.0), [(0, 0)], 0) == 0  # only ratios count


def test_weights_that_do_not_fit_are_named_before_anything_is_encoded(policy, make, sd, pairs, clip_pairs):
    for call in (policy.prepare, policy.encode):
        with pytest.raises(DataError, match="has 2 frame_weights, but the model's clips have 3 frames"):
            call(with_weights(clip_pairs, 1.0, 0.0))
    with pytest.raises(ConfigError, match="this model makes no clips"):
        make(sd).prepare(with_weights(pairs, 1.0, 0.0))
