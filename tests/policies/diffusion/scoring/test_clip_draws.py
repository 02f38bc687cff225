"""What the clips of a pair share: level, noise and mirroring; what they do not: the noise of their frames."""

import pytest
import torch

from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.diffusion.load import VideoModelConfig, load_policy
from tests.policies.conftest import draw_for, inputs_of
from tests.tiny_video import FRAMES, tiny_clip_pairs, tiny_motion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clip-draws")


@pytest.fixture(scope="module")
def clip_pairs(folder):
    return tiny_clip_pairs(folder / "clips", 6)


@pytest.fixture(scope="module")
def policy(sd, folder, clip_pairs):
    config = VideoModelConfig(
        path=str(sd),
        motion=str(tiny_motion(folder / "motion")),
        cache=folder / "cache",
        adapter=AdapterConfig(rank=2),
        clip={"frames": FRAMES},
        flip="joint",
    )
    policy = load_policy(config, "cpu")
    policy.prepare(clip_pairs)
    return policy


def test_both_clips_of_a_pair_share_level_and_noise_and_frames_and_pairs_do_not(policy, clip_pairs):
    inputs = inputs_of(policy, policy.encode(clip_pairs), draw_for(clip_pairs))
    assert inputs.x_t.shape == (12, 4, FRAMES, 8, 8)
    chosen, rejected = policy._denoiser.tau(inputs).chunk(2)
    assert torch.equal(chosen, rejected) and torch.equal(*inputs.t.chunk(2))
    assert len(set(inputs.t.tolist())) > 1
    noises = chosen.transpose(1, 2).flatten(0, 1).flatten(1)  # one row for each frame of each pair
    cosines = torch.corrcoef(noises) - torch.eye(len(noises))
    assert cosines.abs().max() < 0.4  # 256 numbers each


def test_one_draw_mirrors_all_frames_of_both_clips(policy, clip_pairs):
    encoded, draw = policy.encode(clip_pairs), draw_for(clip_pairs)
    chosen, rejected = policy._denoiser.mirrored(encoded, draw)
    assert torch.equal(chosen, rejected) and 0 < int(chosen.sum()) < len(chosen)
    mean = torch.where(chosen.view(-1, 1, 1, 1, 1), encoded.mean[:, 0, 1], encoded.mean[:, 0, 0])
    found, _ = policy._denoiser._view(encoded, draw, 0, "chosen")
    assert torch.equal(found, mean) and not torch.equal(encoded.mean[:, 0, 0], encoded.mean[:, 0, 1])


def test_a_pair_has_the_same_inputs_alone_and_among_others(policy, clip_pairs):
    together = inputs_of(policy, policy.encode(clip_pairs), draw_for(clip_pairs))
    for i, pair in enumerate(clip_pairs):
        alone = inputs_of(policy, policy.encode([pair]), draw_for([pair]))
        for name in ("x_t", "t", "target"):
            assert torch.equal(getattr(alone, name), getattr(together, name)[[i, i + len(clip_pairs)]])
