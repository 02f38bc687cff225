"""Pairs of several shapes: each is scored at its own size, whatever is in the batch beside it."""

import pytest
import torch
from PIL import Image

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.load import AdapterConfig
from diffalign.randomness import Draw
from tests.tiny import RESOLUTION, tiny_sdxl

SHAPES = [(32, 32), (40, 24), (24, 40), (36, 32), (41, 25)]


def picture(folder, name, size, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    path = folder / f"{name}.png"
    Image.fromarray(pixels.numpy()).save(path)
    return path


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shaped")
    return [
        Pair(f"p{k}", f"prompt {k}", picture(folder, f"{k}a", size, k), picture(folder, f"{k}b", size, 50 + k))
        for k, size in enumerate(SHAPES)
    ]


def draw(pairs, visit=0):
    return Draw(7, tuple(pair.id for pair in pairs), (visit,) * len(pairs))


def logps(policy, pairs, reference=False):
    score = policy.reference_logps if reference else policy.logps
    scored = score(policy.encode(pairs), draw(pairs))
    return torch.stack([candidate.logps for candidate in scored.candidates])


def test_rows_do_not_depend_on_the_sizes_beside_them(make, shaped):
    policy = make(buckets=True, flip="none")
    assert {policy.sizes.of(pair) for pair in shaped} == {(16, 16), (12, 20), (20, 12)}
    together = logps(policy, shaped)
    alone = torch.cat([logps(policy, [pair]) for pair in shaped], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert torch.equal(together.detach(), logps(policy, shaped, reference=True))


def test_latents_have_the_shape_of_their_bucket(make, shaped):
    policy = make(buckets=True)
    assert [tuple(policy.encode([pair]).mean.shape[-2:]) for pair in shaped] == [
        (8, 8),
        (6, 10),
        (10, 6),
        (8, 8),
        (6, 10),
    ]


def test_square_pairs_are_scored_to_the_bit_as_without_buckets(make, pairs):
    plain, bucketed = make(), make(buckets=True)
    assert torch.equal(logps(plain, pairs), logps(bucketed, pairs))


def test_the_cache_holds_an_image_once_for_each_size(make, shaped):
    wide, square = shaped[1], shaped[0]
    mixed = [Pair("m", "x", square.chosen, square.rejected), Pair("n", "x", square.chosen, wide.chosen)]
    policy = make(buckets={"widest": 2.0})
    policy.prepare([*shaped, *mixed])
    again = make(buckets={"widest": 2.0})
    again._frozen.posterior = None  # nothing is left to encode
    for pair in [*shaped, *mixed]:
        again.encode([pair])


def test_preparing_says_which_sizes_there_are_and_what_is_cut_off(make, shaped):
    (line,) = make(buckets=True).prepare(shaped)
    assert line.startswith("buckets: ") and "16x16 (2" in line and "20x12" in line and "squares: " in line
    assert make().prepare(shaped) == []


def test_neighbours_in_a_micro_batch_have_one_size(make, shaped):
    policy = make(buckets=True)
    sizes = [policy.sizes.of(shaped[index]) for index in policy.microbatch_order(shaped)]
    assert sum(one != other for one, other in zip(sizes, sizes[1:], strict=False)) == len(set(sizes)) - 1
    assert make().microbatch_order(shaped) == list(range(len(shaped)))


@pytest.mark.parametrize("ids", ["fixed", "true"])
def test_size_ids_of_stable_diffusion_xl_are_those_of_the_bucket_and_of_the_crop(make, shaped, tmp_path, ids):
    policy = make(tiny_sdxl(tmp_path / "sdxl"), buckets=True, size_ids=ids, flip="none")
    found = [policy.encode([pair]).conditioning["time_ids"][0].tolist() for pair in shaped]
    if ids == "fixed":
        assert found[1] == [12, 20, 0, 0, 12, 20] and found[0] == [RESOLUTION] * 2 + [0, 0] + [RESOLUTION] * 2
    else:
        assert found[1] == [24, 40, 0, 0, 12, 20] and found[3] == [32, 36, 0, 1, 16, 16]


def test_a_step_that_the_network_does_not_take_is_refused(make):
    with pytest.raises(ConfigError, match=r"buckets.step is 10 px.*multiples of 4.*--set model.buckets.step=4"):
        make(buckets={"step": 10})


def test_stored_errors_are_those_that_are_computed(make, shaped):
    computed = make(adapter=AdapterConfig(rank=2), reference="adapter_off", buckets=True, draws=1)
    stored = make(adapter=AdapterConfig(rank=2), reference="stored", buckets=True, draws=1)
    stored.prepare(shaped)
    assert stored.prepare_reference(shaped, [(k, 0) for k in range(len(shaped))], seed=7, batch=3) == len(shaped)
    before = stored.forward_counts.reference
    found = logps(stored, shaped, reference=True)
    assert stored.forward_counts.reference == before
    torch.testing.assert_close(found, logps(computed, shaped, reference=True), rtol=1e-5, atol=1e-6)
