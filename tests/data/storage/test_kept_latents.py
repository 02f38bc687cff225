"""A file of kept latents says what its latents are, reads back what was written, and is refused where it cannot."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffalign.data.media.decode import media_bytes, media_digest, media_name
from diffalign.data.storage.kept_latents import KeptLatent, LatentSpace, latent_names, latent_space, write_latents
from diffalign.errors import DataError

SPACE = LatentSpace("a" * 32, "- 0 x 0.18215")


def written(folder, value=None, space=SPACE, name="images/0.png", file="latents.safetensors"):
    latent = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(0)) if value is None else value
    write_latents(folder / file, {name: latent}, space)
    return KeptLatent(str(folder / file), name, folder / name)


def test_a_latent_is_read_as_it_was_written_up_to_half_precision(tmp_path):
    latent = 3.0 * torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))
    kept = written(tmp_path, latent)
    read = pickle.loads(pickle.dumps(kept)).read()
    assert read.dtype == torch.float32 and kept.shape() == (4, 8, 8)
    assert 0 < float((read - latent).norm() / latent.norm()) < 3e-4
    assert latent_space(kept.file) == SPACE and latent_names(kept.file) == {"images/0.png"}


def test_a_file_of_float32_keeps_every_bit(tmp_path):
    latent = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(2))
    written(tmp_path)
    from safetensors import safe_open

    with safe_open(tmp_path / "latents.safetensors", framework="pt") as file:
        metadata = file.metadata()
    save_file({"x.png": latent}, tmp_path / "exact.safetensors", metadata=metadata)
    assert torch.equal(KeptLatent(str(tmp_path / "exact.safetensors"), "x.png", Path("x.png")).read(), latent)


def test_the_digest_is_of_values_and_space_and_not_of_the_place(tmp_path):
    kept = written(tmp_path)
    (tmp_path / "moved").mkdir()
    assert media_digest(kept) == kept.digest() == media_digest(written(tmp_path / "moved", name="other.png"))
    others = [
        written(tmp_path, torch.ones(4, 2, 2), file="value"),
        written(tmp_path, space=LatentSpace("b" * 32, SPACE.scale), file="autoencoder"),
        written(tmp_path, space=LatentSpace(SPACE.autoencoder, "- 0 x 1"), file="scale"),
    ]
    assert len({kept.digest(), *(other.digest() for other in others)}) == 4


def test_a_file_that_is_written_again_is_read_again(tmp_path):
    before = media_digest(written(tmp_path))
    kept = written(tmp_path, torch.zeros(4, 2, 2))
    assert not kept.read().any() and media_digest(kept) != before


def test_a_latent_is_no_image_and_says_which_it_stands_for(tmp_path):
    kept = written(tmp_path)
    assert media_name(kept) == f"the latent of 'images/0.png' in '{kept.file}'"
    with pytest.raises(DataError, match="tensors, which only its policy reads"):
        media_bytes(kept)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_numbers_that_are_not_finite_are_refused_also_where_half_precision_overflows(tmp_path, bad):
    kept = written(tmp_path, torch.full((4, 2, 2), bad))
    with pytest.raises(DataError, match=r"not finite.*--set data.latents=null"):
        kept.read()
    with pytest.raises(DataError, match="not finite"):
        media_digest(kept)


def test_files_that_are_none_of_latents_are_refused_in_a_sentence(tmp_path):
    (tmp_path / "text").write_text("no tensors")
    save_file({"images/0.png": torch.ones(4, 2, 2)}, tmp_path / "plain.safetensors")
    whole = Path(written(tmp_path).file).read_bytes()
    (tmp_path / "half").write_bytes(whole[: len(whole) - 10])
    cases = {"nowhere": "there is no file", "text": "cannot be read as safetensors", "half": "cannot be read as"}
    cases |= {"plain.safetensors": "does not say of which autoencoder", "": "cannot be read|no file|Is a directory"}
    for name, reason in cases.items():
        with pytest.raises(DataError, match=reason) as error:
            latent_names(tmp_path / name)
        assert "--set data.latents=null" in str(error.value)


def test_a_missing_key_is_one_sentence(tmp_path):
    kept = written(tmp_path)
    with pytest.raises(DataError, match="'other.png' .* cannot be read"):
        KeptLatent(kept.file, "other.png", Path("other.png")).read()
