"""Every candidate whose latent is kept becomes its handle; a data set with gaps is refused."""

from pathlib import Path

import pytest
import torch

from diffalign.data.records.pair import Answer, Pair, PairSet
from diffalign.data.records.with_latents import candidates, describe_latents, unused_latents, with_latents
from diffalign.data.storage.kept_latents import KeptLatent, LatentSpace, write_latents
from diffalign.errors import DataError
from diffalign.pairs.dataset import read_dataset


def kept_file(folder, *names):
    path = folder / "latents.safetensors"
    write_latents(path, {name: torch.ones(4, 2, 2) for name in names}, LatentSpace("a" * 32, "- 0 x 1"))
    return str(path)


def test_chosen_rejected_and_ranked_candidates_get_their_latents_wherever_the_command_runs(tmp_path, monkeypatch):
    file = kept_file(tmp_path, "images/a.png", "images/b.png", "c.png")
    further = {"2": Answer(tmp_path / "c.png")}
    pair = Pair(
        "p", "a fox", tmp_path / "images" / "a.png", tmp_path / "x" / ".." / "images" / "b.png", further=further
    )
    monkeypatch.chdir(tmp_path / "..")
    for place in (file, f"{tmp_path.name}/latents.safetensors"):
        found = with_latents(PairSet([pair]), place).pairs[0]
        assert [kept.name for kept in candidates(found)] == ["images/a.png", "images/b.png", "c.png"]
        assert all(isinstance(kept, KeptLatent) for kept in candidates(found))
        assert found.id == "p" and found.prompt == "a fox" and torch.equal(found.chosen.read(), torch.ones(4, 2, 2))
    assert "latents of 3 images are scored" in describe_latents(with_latents(PairSet([pair]), file), file)


def test_a_winner_without_a_rejected_candidate_gets_its_latent(tmp_path):
    found = with_latents(PairSet([Pair("p", "a", tmp_path / "a.png", None)]), kept_file(tmp_path, "a.png")).pairs[0]
    assert isinstance(found.chosen, KeptLatent) and found.rejected is None


def test_missing_latents_are_counted_and_the_first_is_named(tmp_path):
    pairs = [Pair(str(i), "a", tmp_path / "a.png", tmp_path / f"{i}.png") for i in range(3)]
    with pytest.raises(DataError, match=r"lacks the latents of 2 of 4 images, the first is '.*/1\.png'.*data make"):
        with_latents(PairSet(pairs), kept_file(tmp_path, "a.png", "0.png"))
    with pytest.raises(DataError, match="of bytes instead of a file"):
        with_latents(PairSet([Pair("p", "a", b"png", b"gif")]), kept_file(tmp_path, "a.png"))


def test_latents_beside_a_table_are_used_only_where_a_recipe_names_them(tmp_path):
    table = '{"prompt": "a fox", "chosen_file_name": "a.png", "rejected_file_name": "b.png"}\n'
    (tmp_path / "metadata.jsonl").write_text(table)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    assert "not used" not in read_dataset(str(tmp_path)).summary()
    file = kept_file(tmp_path, "a.png", "b.png")
    plain, kept = read_dataset(str(tmp_path)), read_dataset(str(tmp_path), latents=file)
    assert isinstance(plain[0].chosen, Path) and isinstance(kept[0].chosen, KeptLatent)
    assert f"not used (--set data.latents={file})" in plain.summary()
    assert "no image is encoded" in kept.summary() and "not used" not in kept.summary()
    assert unused_latents("owner/name-of-a-hub-set") == ""
