"""Claims about the Pick-a-Pic reader and the handles that it yields."""

import pickle
import time

import pyarrow as pa
import pytest

from diffalign.data.media.decode import open_image
from diffalign.data.readers import read_pairs
from diffalign.data.readers.sources import hub_files
from diffalign.data.records.pair import BAD_LABEL, EMPTY_PROMPT, FILTERED, IDENTICAL, NO_LABEL, TIE
from diffalign.data.storage import lazy_table_cell
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError
from tests.data.fixtures import image, parquet, vote


def test_the_vote_decides_which_image_is_chosen(tmp_path):
    rows = [vote(0, 1.0), vote(1, 0.0)]
    first, second = read_pairs(parquet(tmp_path / "votes.parquet", rows)).pairs
    assert (first.chosen.read(), first.rejected.read()) == (rows[0]["jpg_0"], rows[0]["jpg_1"])
    assert (second.chosen.read(), second.rejected.read()) == (rows[1]["jpg_1"], rows[1]["jpg_0"])
    assert (first.prompt, first.id, first.source) == (rows[0]["caption"], "1000", "votes.parquet:0")
    assert first.scores["pair"]["first_won"] == 1.0 and second.scores["pair"]["first_won"] == 0.0
    assert open_image(first.chosen).size == (16, 16)


def test_every_row_is_kept_or_dropped_with_its_reason(tmp_path):
    rows = [
        vote(0),
        vote(1, 0.5),
        vote(2, None),
        vote(3, caption="  "),
        vote(4, image_1_uid="uid-4-0"),
        vote(5, label_1=1.0),
        vote(6, label_0=3.0),
    ]
    dataset = read_pairs(parquet(tmp_path / "votes.parquet", rows))
    assert len(dataset) == 1
    reasons = [row.reason for row in dataset.dropped]
    assert reasons == [TIE, NO_LABEL, EMPTY_PROMPT, IDENTICAL, BAD_LABEL, BAD_LABEL]
    assert dataset.dropped[0].source == "votes.parquet:1"
    assert "dropped 6" in dataset.summary() and "2 bad label" in dataset.summary()


def test_ties_may_be_kept_as_soft_labels_and_soft_votes_keep_their_probability(tmp_path):
    path = parquet(tmp_path / "votes.parquet", [vote(0, 0.5), vote(1, 0.25)])
    tie, soft = read_pairs(path, ties="soft").pairs
    assert tie.probability == 0.5
    assert soft.probability == 0.75 and soft.scores["pair"]["first_won"] == 0.0


def test_a_set_of_ties_is_refused_before_any_work(tmp_path):
    path = parquet(tmp_path / "votes.parquet", [vote(0, 0.5), vote(1, 0.5)])
    with pytest.raises(DataError, match="all 2 rows .* are ties"):
        read_pairs(path)


def test_an_empty_table_is_refused(tmp_path):
    path = tmp_path / "votes.parquet"
    schema = pa.Table.from_pylist([vote(0)]).schema
    pa.parquet.write_table(schema.empty_table(), path)
    with pytest.raises(DataError, match="holds no rows"):
        read_pairs(path)


def test_a_missing_column_is_named_with_its_near_miss_and_can_be_renamed(tmp_path):
    rows = [{("captions" if key == "caption" else key): value for key, value in vote(0).items()}]
    path = parquet(tmp_path / "votes.parquet", rows)
    with pytest.raises(DataError, match=r"lacks the column 'caption'.*columns=.caption: captions"):
        read_pairs(path)
    assert read_pairs(path, columns={"caption": "captions"}).pairs[0].prompt == "an image of thing 0"
    renamed = [{("left" if key == "jpg_0" else key): value for key, value in vote(0).items()}]
    path = parquet(tmp_path / "more.parquet", renamed)
    assert read_pairs(path, columns={"jpg_0": "left"}).pairs[0].chosen.read() == vote(0)["jpg_0"]


def test_repeated_ranking_ids_stay_unique(tmp_path):
    path = parquet(tmp_path / "votes.parquet", [vote(0, ranking_id=5), vote(1, ranking_id=5), vote(2, ranking_id=5)])
    assert [pair.id for pair in read_pairs(path).pairs] == ["5", "5-2", "5-3"]


def test_without_id_columns_the_content_is_the_id(tmp_path):
    keep = ("jpg_0", "jpg_1", "label_0", "caption")
    rows = [{name: vote(n)[name] for name in keep} for n in range(4)]
    rows[3]["jpg_1"] = rows[3]["jpg_0"]
    dataset = read_pairs(parquet(tmp_path / "a.parquet", rows))
    backwards = read_pairs(parquet(tmp_path / "b.parquet", rows[::-1], row_group_size=2))
    assert [pair.id for pair in dataset.pairs] == [pair.id for pair in backwards.pairs][::-1]
    assert len({pair.id for pair in dataset.pairs}) == 3
    assert [row.reason for row in dataset.dropped] == [IDENTICAL]


def test_pairs_may_be_kept_by_generator(tmp_path):
    dream = "Dreamlike-art/dreamlike-diffusion-1.0"
    path = parquet(tmp_path / "votes.parquet", [vote(0), vote(1, model_1=dream)])
    dataset = read_pairs(path, generator="dream")
    assert [pair.id for pair in dataset.pairs] == ["1001"] and dataset.reasons() == {FILTERED: 1}


def test_limit_counts_kept_pairs(tmp_path):
    path = parquet(tmp_path / "votes.parquet", [vote(n, 0.5 if n % 2 else 1.0) for n in range(10)])
    assert [pair.id for pair in read_pairs(path, limit=2).pairs] == ["1000", "1002"]


def test_handles_read_in_any_order_and_survive_pickling(tmp_path, monkeypatch):
    rows = [vote(n) for n in range(11)]
    path = parquet(tmp_path / "votes.parquet", rows, row_group_size=5)
    pairs = read_pairs(path).pairs
    for group_bytes in (lazy_table_cell.GROUP_BYTES, 1):  # whole row groups, then a walk in small batches
        monkeypatch.setattr(lazy_table_cell, "GROUP_BYTES", group_bytes)
        lazy_table_cell._open_tables.clear()
        for n in (10, 0, 7, 6, 3, 4, 10, 0):
            handle = pickle.loads(pickle.dumps(pairs[n].rejected))
            assert handle == pairs[n].rejected and handle.read() == rows[n]["jpg_1"]


def test_a_handle_of_a_missing_file_is_an_error(tmp_path):
    path = parquet(tmp_path / "votes.parquet", [vote(0)])
    handle = read_pairs(path).pairs[0].chosen
    lazy_table_cell._open_tables.clear()
    path.unlink()
    with pytest.raises(DataError, match="votes.parquet:0:jpg_0.*moved or rewritten"):
        handle.read()
    parquet(path, [vote(0)])
    with pytest.raises(DataError, match="row 9"):
        TableCell(str(path), "jpg_0", 9).read()


def test_reading_many_rows_touches_no_image(tmp_path, monkeypatch):
    columns = pa.Table.from_pylist([vote(0)]).slice(0, 1)
    table = pa.concat_tables([columns] * 20000).combine_chunks()
    ranking = pa.array(range(20000), pa.int64())
    table = table.set_column(table.schema.get_field_index("ranking_id"), "ranking_id", ranking)
    pa.parquet.write_table(table, tmp_path / "votes.parquet")

    def refuse(self):
        raise AssertionError("an image was read")

    monkeypatch.setattr(TableCell, "read", refuse)
    start = time.process_time()
    assert len(read_pairs(tmp_path / "votes.parquet")) == 20000
    assert time.process_time() - start < 20


def test_only_the_requested_split_of_a_folder_is_read(tmp_path):
    parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet", [vote(0), vote(1)])
    parquet(tmp_path / "set" / "data" / "validation_unique-00000-of-00001.parquet", [vote(2)])
    parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet", [vote(3)])
    assert [pair.id for pair in read_pairs(tmp_path / "set").pairs] == ["1000", "1001"]
    assert [pair.id for pair in read_pairs(tmp_path / "set", split="test").pairs] == ["1003"]
    assert [pair.id for pair in read_pairs(tmp_path / "set", split="validation_unique").pairs] == ["1002"]
    with pytest.raises(DataError, match="no split 'tests'.*Did you mean 'test'"):
        read_pairs(tmp_path / "set", split="tests")


def test_arrow_files_of_a_hub_set_give_the_same_pairs(tmp_path, monkeypatch):
    import datasets

    rows = [vote(n) for n in range(5)]
    parquet(tmp_path / "hub" / "train-00000-of-00001.parquet", rows)
    load = datasets.load_dataset

    def local(name, **options):
        assert name == "owner/votes" and options["streaming"] is False
        folder = str(tmp_path / "hub")
        return load(folder, split=options["split"], cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", local)
    assert hub_files("owner/votes")[0].suffix == ".arrow"
    remote, here = read_pairs("owner/votes"), read_pairs(tmp_path / "hub")
    assert remote.format == "pickapic"
    assert [(p.id, p.chosen.read()) for p in remote.pairs] == [(p.id, p.chosen.read()) for p in here.pairs]


def test_a_hub_set_that_cannot_be_loaded_is_explained(monkeypatch):
    import datasets

    def fail(name, **options):
        raise RuntimeError("Dataset scripts are no longer supported, but found HPDv2.py")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match="loader script"):
        read_pairs("ymhao/HPDv2")
    with pytest.raises(DataError, match="name one split"):
        hub_files("owner/votes", split="train[:10]")


def test_images_of_the_image_feature_are_read_from_bytes_or_from_files_next_to_the_table(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(image(1))
    beside = {"bytes": None, "path": "images/a.png"}
    held = {"bytes": image(0), "path": "0.png"}
    rows = [
        {"id": "a", "prompt": "x", "chosen": held, "rejected": beside},
        {"id": "b", "prompt": "x", "chosen": beside, "rejected": held},
        {"id": "c", "prompt": "x", "chosen": held, "rejected": {"bytes": None, "path": "../../etc/passwd"}},
    ]
    one, other, outside = read_pairs(parquet(tmp_path / "table.parquet", rows)).pairs
    assert (one.chosen.read(), one.rejected.read()) == (image(0), image(1))
    assert (other.chosen.read(), other.rejected.read()) == (image(1), image(0))
    with pytest.raises(DataError, match="outside its folder"):
        outside.rejected.read()
