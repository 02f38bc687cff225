"""Clips under a denoiser: one frame without motion is an image, frames are joined by motion alone, and what is encoded
does not depend on what is encoded beside it."""

import numpy as np
import pytest
import torch

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.diffusion.load import ModelConfig, VideoModelConfig, load_policy
from diffalign.policies.diffusion.scoring import attention
from tests.policies.conftest import draw_for, inputs_of, margin, shake
from tests.tiny import tiny_sd, tiny_sdxl
from tests.tiny_video import FRAMES, MOST_FRAMES, tiny_clip_pairs, tiny_clips, tiny_modelscope, tiny_motion

IMAGES = {"sd": tiny_sd, "sdxl": tiny_sdxl}
EXACT = {"moments": "float32", "flip": "none"}


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    return tiny_motion(tmp_path_factory.mktemp("motion"))


@pytest.fixture(scope="module", params=IMAGES)
def image_model(request, tmp_path_factory):
    return IMAGES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def modelscope(tmp_path_factory):
    return tiny_modelscope(tmp_path_factory.mktemp("modelscope"))


@pytest.fixture(scope="module")
def clip_pairs(tmp_path_factory):
    return tiny_clip_pairs(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def composed(sd, motion, tmp_path):
    """Builds a video policy of an image model and a motion adapter."""

    def build(path=sd, **settings):
        usual = {"adapter": AdapterConfig(rank=4), "clip": {"frames": FRAMES}, "motion": str(motion)}
        values = {**usual, "cache": tmp_path / "cache", **settings}
        return load_policy(VideoModelConfig(path=str(path), **values), "cpu")

    return build


def motion_off(policy):
    """Makes the motion modules the identity."""
    for name, parameter in policy.module.named_parameters():
        if "motion_modules" in name and ".proj_out." in name:
            parameter.data.zero_()
    return policy


def outputs(policy, x, time, prompts):
    """The network's outputs for latents and prompts."""
    encoder = policy._frozen.prompt_encoder()
    conditioning = encoder.encode(prompts)
    conditioning |= policy._frozen.family.size_conditioning(torch.zeros(len(x), 4).long(), policy.resolution, True)
    with torch.no_grad():
        return policy._frozen.family.call(policy.module, x, time, conditioning, torch.float32)


def latents(count, frames, seed=0):
    return torch.randn(count, 4, frames, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_clip_of_one_frame_without_motion_is_scored_as_the_image_to_the_bit(image_model, composed, pairs, tmp_path):
    settings = {"caption_dropout": 0.5, "encode_batch": 8}
    clips = motion_off(composed(image_model, clip={"frames": 1}, schedule="own", **settings, **EXACT))
    image = ModelConfig(
        path=str(image_model), cache=tmp_path / "images", adapter=AdapterConfig(rank=4), flip="none", **settings
    )
    images = load_policy(image, "cpu")
    clips.prepare(pairs)
    images.prepare(pairs)
    encoded, expected, draw = clips.encode(pairs), images.encode(pairs), draw_for(pairs)
    assert torch.equal(encoded.mean[..., 0, :, :], expected.mean)
    found, wanted = inputs_of(clips, encoded, draw), inputs_of(images, expected, draw)
    assert torch.equal(found.x_t[:, :, 0], wanted.x_t)
    for one, other in ((clips.logps, images.logps), (clips.reference_logps, images.reference_logps)):
        pairs_of_scores = zip(one(encoded, draw).candidates, other(expected, draw).candidates, strict=True)
        assert all(torch.equal(a.logps, b.logps) for a, b in pairs_of_scores)


def test_without_motion_each_frame_is_an_image_and_with_it_their_order_counts(composed, sd, make):
    policy, image = composed(adapter=None), make(sd, adapter=None)
    x, time, prompts = latents(2, 4), torch.tensor([700, 300]), ["a fox", "two red apples"]
    moving = outputs(policy, x, time, prompts)
    order = [2, 0, 3, 1]
    assert (outputs(policy, x[:, :, order], time, prompts) - moving[:, :, order]).abs().max() > 1e-3
    still = outputs(motion_off(policy), x, time, prompts)
    assert (still - moving).abs().max() > 1e-2
    for frame in range(4):
        expected = outputs(image, x[:, :, frame], time, prompts)
        torch.testing.assert_close(still[:, :, frame], expected, rtol=1e-5, atol=1e-5)


def test_a_clip_does_not_see_the_prompt_of_another(image_model, composed, modelscope):
    x, time = latents(2, 3), torch.tensor([700, 300])
    for policy in (composed(image_model), composed(modelscope, motion=None)):
        both = outputs(policy, x, time, ["a fox", "two red apples"])
        other = outputs(policy, x, time, ["a fox", "an owl"])
        assert torch.equal(both[0], other[0]) and (both[1] - other[1]).abs().max() > 1e-4
        alone = outputs(policy, x[:1], time[:1], ["a fox"])
        torch.testing.assert_close(alone[0], both[0], rtol=1e-4, atol=1e-4)


def test_equal_frames_without_motion_have_the_errors_of_the_picture(composed, tmp_path):
    paths = []
    for i, path in enumerate(tiny_clips(tmp_path / "one", 2, frames=2)):
        frame = np.random.default_rng(i).integers(0, 255, (20, 24, 3), dtype=np.uint8)
        paths.append(write_clip(path, Clip(np.stack([frame] * FRAMES), 8.0)))
    pair = Pair("still", "a fox", *paths)
    policy = motion_off(composed(adapter=None, reduction="mean", caption_dropout=0.0, **EXACT))
    encoded, draw = policy.encode([pair]), draw_for([pair])
    assert torch.equal(encoded.mean[..., 0, :, :], encoded.mean[..., 1, :, :])
    inputs = inputs_of(policy, encoded, draw)
    one = inputs.x_t[:, :, :1]
    errors = [
        (outputs(policy, x, inputs.time, ["a fox"] * 2) - target).square().flatten(1).mean(1)
        for x, target in zip(inputs.x_t.split(1, 2), inputs.target.split(1, 2), strict=True)
    ]
    mean = torch.stack(errors).mean(0)
    found = torch.stack([c.logps for c in policy.logps(encoded, draw).candidates]).flatten()
    torch.testing.assert_close(found.detach(), -0.5 * mean, rtol=1e-5, atol=1e-6)
    assert one.shape[2] == 1 and not torch.allclose(errors[0], errors[1])  # each frame has a noise of its own


def test_a_sum_is_the_number_of_elements_times_the_mean(composed, clip_pairs):
    mean, total = (composed(reduction=reduction) for reduction in ("mean", "sum"))
    draw, scores = draw_for(clip_pairs), []
    for policy in (mean, total):
        scores.append(torch.stack([c.logps.detach() for c in policy.logps(policy.encode(clip_pairs), draw).candidates]))
    torch.testing.assert_close(scores[1], 4 * FRAMES * 8 * 8 * scores[0], rtol=1e-5, atol=0)


def test_level_noise_and_mirroring_are_shared_by_frames_and_pairs_and_differ_between_pairs(composed, clip_pairs):
    policy = composed(flip="joint", caption_dropout=0.0, moments="float32")
    policy.prepare(clip_pairs)
    encoded, draw = policy.encode(clip_pairs), draw_for(clip_pairs)
    assert encoded.mean.shape == (4, 2, 2, 4, FRAMES, 8, 8)
    inputs = inputs_of(policy, encoded, draw)
    assert torch.equal(inputs.t[:4], inputs.t[4:]) and len(set(inputs.t.tolist())) > 1
    assert torch.equal(inputs.target[:4], inputs.target[4:])
    assert not torch.equal(inputs.target[0], inputs.target[1])
    assert not torch.equal(inputs.target[0, :, 0], inputs.target[0, :, 1])
    mirrored = draw.happens("flip", 0.5)
    assert 0 < int(mirrored.sum()) < 4
    clean = policy._denoiser.clean(encoded, draw)
    for row, flipped in enumerate(mirrored.tolist()):
        for candidate in range(2):
            noise = draw.normal(f"posterior:{('chosen', 'rejected')[candidate]}", clean.shape[1:])[row]
            mean, std = encoded.mean[row, candidate, int(flipped)], encoded.std[row, candidate, int(flipped)]
            expected = policy._denoiser.scale.normalise(mean + std * noise)
            assert torch.equal(clean[row + 4 * candidate], expected)


def test_what_a_clip_is_encoded_to_does_not_depend_on_passes_or_neighbours(composed, clip_pairs, tmp_path):
    one, three, all_frames = (composed(encode_batch=n, **EXACT, cache=tmp_path / str(n)) for n in (1, FRAMES, 8))
    by_passes = [policy.encode(clip_pairs).mean for policy in (one, three, all_frames)]
    for other in by_passes[1:]:
        torch.testing.assert_close(other, by_passes[0], rtol=1e-5, atol=1e-5)
    alone = composed(encode_batch=8, **EXACT, use_cache=False).encode(clip_pairs[1:2])
    assert torch.equal(alone.mean[0], by_passes[2][1])


def test_moments_are_kept_in_half_precision_and_passes_hold_a_fixed_number_of_frames(composed, tmp_path, monkeypatch):
    policy = composed(encode_batch=4, clip={"frames": MOST_FRAMES})
    sizes, posterior = [], policy._frozen.posterior
    monkeypatch.setattr(policy._frozen, "posterior", lambda pixels: sizes.append(pixels.shape[2]) or posterior(pixels))
    long = tiny_clip_pairs(tmp_path / "long", 3, frames=MOST_FRAMES)
    policy.prepare(long)
    assert sizes == [4] * (6 * MOST_FRAMES // 4)
    stored = policy._encoder.images([long[0].chosen])[0]
    assert stored["mean"].dtype == stored["std"].dtype == torch.float16
    assert stored["mean"].shape == (1, 4, MOST_FRAMES, 8, 8)
    assert policy.encode(long).mean.dtype == torch.float32


def test_a_preparation_that_is_cut_off_goes_on_with_what_is_missing(composed, clip_pairs):
    class Cut(Exception):
        pass

    def cut(task, done, total):
        if done == 5:
            raise Cut

    with pytest.raises(Cut):
        composed().prepare(clip_pairs, cut)
    again, seen = composed(), []
    again.prepare(clip_pairs, lambda task, done, total: seen.append((task, done, total)))
    assert [row for row in seen if row[0] == "encode clips"] == [("encode clips", n, 8) for n in (6, 7, 8)]
    whole = composed(use_cache=False)
    assert torch.equal(again.encode(clip_pairs).mean, whole.encode(clip_pairs).mean)


def test_a_clip_that_is_too_short_is_named_or_its_last_frame_stays(composed, clip_pairs):
    with pytest.raises(DataError, match="0.webp"):
        composed(clip={"frames": FRAMES + 1}).prepare(clip_pairs[:1])
    held = composed(clip={"frames": FRAMES + 1, "short": "hold"}, **EXACT).encode(clip_pairs[:1])
    torch.testing.assert_close(held.mean[..., -1, :, :], held.mean[..., -2, :, :], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["animatediff", "modelscope"])
def test_attention_over_frames_is_computed_in_parts_where_it_has_many_rows(
    composed, modelscope, clip_pairs, monkeypatch, kind
):
    policy = shake(composed() if kind == "animatediff" else composed(modelscope, motion=None))
    encoded, draw = policy.encode(clip_pairs), draw_for(clip_pairs)
    whole = margin(policy, encoded, draw).detach()
    rows = []
    parts = attention.RowsInParts.__call__

    def counted(self, attn, hidden_states, *args, **kwargs):
        inner = self._processor
        monkeypatch.setattr(
            self, "_processor", lambda a, x, *r, **k: rows.append(len(x) * a.heads) or inner(a, x, *r, **k)
        )
        try:
            return parts(self, attn, hidden_states, *args, **kwargs)
        finally:
            self._processor = inner

    monkeypatch.setattr(attention.RowsInParts, "__call__", counted)
    monkeypatch.setattr(attention, "MOST_ROWS", 100)
    torch.testing.assert_close(margin(policy, encoded, draw).detach(), whole, rtol=1e-4, atol=1e-7)
    assert rows and max(rows) <= 100 and len([r for r in rows if r > 50]) > 10


def test_only_the_motion_modules_train_and_the_reference_shares_the_rest(composed, clip_pairs):
    policy = composed(adapter=None, trains="motion")
    names = policy.trainable()
    assert names and all("motion_modules" in name.split(".") for name in names)
    assert {n for n, _ in policy.module.named_parameters() if "motion_modules" in n} == set(names)
    assert policy.reference_kind == "copy" and "shared" in policy.describe()["reference"]
    encoded, draw = policy.encode(clip_pairs), draw_for(clip_pairs)
    assert not margin(policy, encoded, draw).any()
    margin(shake(policy), encoded, draw).sum().backward()
    assert all(p.grad is None for n, p in policy.module.named_parameters() if n not in names)
    assert margin(policy, encoded, draw).abs().min() > 0


def test_an_adapter_on_motion_has_eight_layers_a_module_and_reaches_nothing_else(composed, clip_pairs):
    policy = composed(adapter=AdapterConfig(rank=4, targets="motion"))
    modules = {n for n, m in policy.module.named_modules() if type(m).__name__ == "AnimateDiffTransformer3D"}
    layers = {name.split(".lora_")[0] for name in policy.trainable()}
    assert len(layers) == 8 * len(modules) and all("motion_modules" in name for name in layers)
    spatial = composed(adapter=AdapterConfig(rank=4, targets="spatial")).trainable()
    both = composed(adapter=AdapterConfig(rank=4, targets="attention")).trainable()
    assert not set(spatial) & set(policy.trainable()) and set(spatial) | set(policy.trainable()) == set(both)
    shake(policy)
    margin(policy, policy.encode(clip_pairs), draw_for(clip_pairs)).sum().backward()
    assert all(p.grad is None for n, p in policy.module.named_parameters() if "motion_modules" not in n)


def test_clips_of_several_shapes_are_scored_at_their_own_size(composed, tmp_path):
    def clip(name, width, height, seed):
        frames = np.random.default_rng(seed).integers(0, 256, (MOST_FRAMES, height, width, 3), dtype=np.uint8)
        return write_clip(tmp_path / f"{name}.webp", Clip(frames, 8.0))

    shapes = [(32, 32), (40, 24), (24, 40)]
    pairs = [Pair(f"c{k}", "x", clip(f"{k}a", *size, k), clip(f"{k}b", *size, 9 + k)) for k, size in enumerate(shapes)]
    policy = composed(buckets=True, **EXACT)
    policy.prepare(pairs)
    assert [tuple(policy.encode([pair]).mean.shape[-3:]) for pair in pairs] == [
        (FRAMES, 8, 8),
        (FRAMES, 6, 10),
        (FRAMES, 10, 6),
    ]
    together = policy.logps(policy.encode(pairs), draw_for(pairs))
    alone = [policy.logps(policy.encode([pair]), draw_for([pair])) for pair in pairs]
    for row, one in enumerate(alone):
        assert together.candidates[0].logps[row].item() == pytest.approx(one.candidates[0].logps.item(), rel=1e-5)
