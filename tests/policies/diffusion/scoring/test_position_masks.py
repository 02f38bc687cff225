"""Images position by position: the sum of the parts, the divergence of two predictions, and masks of regions."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffalign.errors import ConfigError, DataError
from diffalign.losses import PairLogps, loss_named
from diffalign.policies.diffusion.config import RegionConfig
from diffalign.policies.diffusion.load import AdapterConfig
from tests.policies.conftest import draw_for, inputs_of, shake


def halves(policy, encoded, draw):
    """Returns ``(policy output - reference output)^2 / 2``, a mean over the latent, by hand."""
    inputs = inputs_of(policy, encoded, draw)
    arguments = inputs.x_t, inputs.time, inputs.conditioning, torch.float32
    with torch.no_grad(), policy._policy_and_reference.reference.network() as network:
        reference_output = policy._frozen.family.call(network, *arguments)
    with torch.no_grad():
        output = policy._frozen.family.call(policy.module, *arguments)
    return (0.5 * (output - reference_output).square().flatten(1).mean(1)).chunk(2)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("flip", ["joint", "independent", "none"])
def test_parts_add_up_to_the_log_probability_and_divergences_to_the_gap(make, pairs, flip, reduction):
    policy = shake(make(flip=flip, reduction=reduction))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    by_policy, by_reference = policy.compare_parts(encoded, draw)
    factor = policy.latent_elements if reduction == "sum" else 1
    for one, divergence in zip(by_policy.candidates, halves(policy, encoded, draw), strict=True):
        assert one.parts.shape == one.divergence.shape == (len(pairs), 64)
        torch.testing.assert_close(one.parts.sum(1), one.logps, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(one.divergence.sum(1), factor * divergence, rtol=1e-4, atol=1e-9)
        assert one.divergence.requires_grad and one.masks is None and one.lengths is None
    whole = policy.logps(encoded, draw), policy.reference_logps(encoded, draw)
    for by_part, logps in zip((by_policy, by_reference), whole, strict=True):
        for one, other in zip(by_part.candidates, logps.candidates, strict=True):
            assert torch.equal(one.logps, other.logps) and other.parts is None
    torch.testing.assert_close(by_policy.info["seq_kl/chosen"], by_policy.candidates[0].divergence.sum(1).detach())
    assert not by_reference.candidates[0].parts.requires_grad and "level" in by_policy.info


@pytest.mark.parametrize("reference", ["adapter_off", "copy"])
def test_divergences_are_zero_before_the_first_step(make, pairs, reference):
    policy = make(reference=reference)
    by_policy, by_reference = policy.compare_parts(policy.encode(pairs), draw_for(pairs))
    for one, other in zip(by_policy.candidates, by_reference.candidates, strict=True):
        assert torch.equal(one.divergence, torch.zeros_like(one.divergence)) and torch.equal(one.parts, other.parts)


def test_the_divergence_falls_along_its_gradient(make, pairs):
    policy = shake(make())
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    total = lambda: sum(s.divergence.sum() for s in policy.compare_parts(encoded, draw)[0].candidates)
    before = total()
    before.backward()
    parameters = list(policy.trainable().values())
    slope = sum((p.grad**2).sum() for p in parameters)
    step = 1e-3 * before.item() / slope.item()
    with torch.no_grad():
        for parameter in parameters:
            parameter -= step * parameter.grad
    assert before.item() - total().item() == pytest.approx(step * slope.item(), rel=0.05)


def test_positions_are_those_of_the_stored_image_whether_it_is_mirrored_or_not(make, pairs):
    """Many visits, some of them mirrored: the network gets other latents, but a part keeps its position."""
    policy = make(flip="joint", caption_dropout=0.0)
    denoiser, encoded = policy._denoiser, policy.encode(pairs)
    draws = [draw_for(pairs, visit) for visit in range(6)]
    rows = [denoiser.mirrored(encoded, draw)[0] for draw in draws]
    assert any(row.any() for row in rows) and not all(row.all() for row in rows)
    width = 8
    ramp = torch.arange(float(width)).expand(2 * len(pairs), 4, width, width)
    for row, draw in zip(rows, draws, strict=True):
        output = torch.where(torch.cat([row, row]).view(-1, 1, 1, 1), ramp.flip(-1), ramp)
        mirrored = denoiser.mirrored(encoded, draw)
        parts = denoiser.part_errors(output, torch.zeros_like(output), mirrored)
        expected = (0.5 * ramp[: len(pairs), 0].square() / width**2).flatten(1)
        for part in parts:
            torch.testing.assert_close(part, expected)


def test_a_stored_reference_is_refused_with_the_setting_to_type(make, pairs):
    for adapter, instead in ((AdapterConfig(rank=2), "adapter_off"), (None, "copy")):
        policy = make(reference="stored", adapter=adapter)
        with pytest.raises(ConfigError, match=f"only errors are kept.*model.reference={instead}"):
            policy.compare_parts(policy.encode(pairs), draw_for(pairs))


def painted(path, left, right, size=(24, 20)):
    """Writes a mask that is darker on one side."""
    pixels = np.full((size[1], size[0]), left, dtype=np.uint8)
    pixels[:, size[0] // 2 :] = right
    Image.fromarray(pixels).save(path)


def test_masks_from_files_are_cropped_like_the_images_and_found_by_id_role_or_name(make, pairs, tmp_path):
    for pair in pairs:
        painted(tmp_path / f"{pair.id}.png", 255, 0)
    painted(tmp_path / f"{pairs[0].rejected.stem}.png", 0, 255)
    painted(tmp_path / f"{pairs[1].id}-chosen.png", 255, 255)
    policy = make(masks=RegionConfig(kind="files", folder=tmp_path))
    policy.prepare(pairs)
    encoded = policy.encode(pairs)
    compared = [policy.compare_parts(encoded, draw_for(pairs, visit))[0] for visit in range(3)]
    left = torch.cat([torch.ones(8, 4), torch.zeros(8, 4)], 1).flatten()
    for logps in compared:  # at every visit, mirrored or not
        chosen, rejected = (candidate.masks for candidate in logps.candidates)
        assert torch.equal(chosen[0], chosen[1]) and chosen.shape == (2, len(pairs), 64)
        torch.testing.assert_close(chosen[0, 0], left, atol=0.35, rtol=0)  # the seam is blurred by the resize
        torch.testing.assert_close(rejected[0, 0], 1 - left, atol=0.35, rtol=0)
        assert torch.equal(chosen[0, 1], torch.ones(64))
        assert torch.equal(chosen[0, 0].view(8, 8)[:, :3], torch.ones(8, 3))
    (tmp_path / f"{pairs[2].id}.png").unlink()
    with pytest.raises(DataError, match=f"'{pairs[2].id}'.*no mask for its chosen candidate.*-chosen.png"):
        make(masks=RegionConfig(kind="files", folder=tmp_path)).prepare(pairs)


def test_masked_positions_do_not_count(make, pairs, tmp_path):
    """A black mask makes the margin 0, a white one gives the loss without masks."""

    def loss(shade):
        for pair in pairs:
            painted(tmp_path / f"{pair.id}.png", shade, shade)
        policy = shake(make(masks=RegionConfig(kind="files", folder=tmp_path)))
        by_policy, by_reference = policy.compare_parts(policy.encode(pairs), draw_for(pairs))
        return loss_named("sparse_po").bind(beta=2000.0)(PairLogps(*by_policy.candidates, *by_reference.candidates))

    assert torch.equal(loss(0), torch.full((len(pairs),), 2.0).log())
    unmasked = shake(make())
    by_policy, by_reference = unmasked.compare_parts(unmasked.encode(pairs), draw_for(pairs))
    whole = loss_named("sparse_po").bind(beta=2000.0)(PairLogps(*by_policy.candidates, *by_reference.candidates))
    torch.testing.assert_close(loss(255), whole)


def test_masks_from_the_middle_block_span_zero_to_one_and_carry_no_gradient(make, pairs):
    policy = shake(make(masks=RegionConfig(kind="activations")))
    by_policy, _ = policy.compare_parts(policy.encode(pairs), draw_for(pairs))
    for scores in by_policy.candidates:
        assert scores.masks.shape == (2, len(pairs), 64) and not scores.masks.requires_grad
        assert (scores.masks.amin(-1) == 0).all() and (scores.masks.amax(-1) == 1).all()
    assert by_policy.info["mask/mean_reward/chosen"].shape == (len(pairs),)
    assert not policy.module.mid_block._forward_hooks


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"kind": "files"}, "need the folder"), ({"kind": "activations", "folder": "x"}, "no folder. Leave folder out")],
)
def test_masks_that_contradict_themselves_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RegionConfig(**settings)
