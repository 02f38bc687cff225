"""Claims about pair folders, TRL's columns, and the choice between formats."""

import csv
import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.readers import READERS, detect_format, read_pairs
from diffalign.data.readers.rows.parse_row import Ids, digest
from diffalign.data.records.pair import (
    BAD_LABEL,
    BAD_ROW,
    EMPTY_CANDIDATE,
    EMPTY_PROMPT,
    IDENTICAL,
    MISSING_FILE,
    OUTSIDE,
    TIE,
)
from diffalign.errors import DataError
from tests.data.fixtures import image, jsonl, pair_folder, parquet, ultrafeedback, vote

TEXTS = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(3)]


def test_a_pair_folder_yields_paths_and_scores(tmp_path):
    folder = pair_folder(tmp_path / "set", chosen_score=0.9, rejected_score=0.1, label_prob=0.8, seed=3, note="hello")
    dataset = read_pairs(folder)
    assert dataset.format == "pair_folder"
    pair = dataset.pairs[0]
    assert pair.chosen == folder / "chosen-0.png" and pair.rejected == folder / "rejected-0.png"
    assert pair.probability == 0.8
    assert pair.scores == {"chosen": {"score": 0.9}, "rejected": {"score": 0.1}, "pair": {"seed": 3.0}}
    assert read_pairs(folder / "metadata.jsonl").pairs == dataset.pairs


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json", ".tsv"])
def test_the_metadata_file_may_be_of_any_kind(tmp_path, suffix):
    folder = pair_folder(tmp_path / "set", chosen_score=0.5, tie=False)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    expected = read_pairs(folder).pairs
    (folder / "metadata.jsonl").unlink()
    path = folder / f"metadata{suffix}"
    if suffix == ".parquet":
        parquet(path, rows)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter="," if suffix == ".csv" else "\t")
            table.writeheader()
            table.writerows(rows)
    found = read_pairs(folder).pairs
    assert [(p.id, p.chosen, p.scores) for p in found] == [(p.id, p.chosen, p.scores) for p in expected]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "sub/../../secret.png", "..", "a\0b.png", "../set-evil/x.png"]
)
def test_names_that_leave_the_folder_are_not_followed(tmp_path, name):
    folder = pair_folder(tmp_path / "set")
    (tmp_path / "secret.png").write_bytes(image(9))
    (tmp_path / "set-evil").mkdir()
    (tmp_path / "set-evil" / "x.png").write_bytes(image(9))
    with (folder / "metadata.jsonl").open("a") as file:
        row = {"chosen_file_name": name, "rejected_file_name": "rejected-0.png", "prompt": "p"}
        file.write(json.dumps(row) + "\n")
    dataset = read_pairs(folder)
    assert len(dataset) == 3 and [row.reason for row in dataset.dropped] == [OUTSIDE]


def test_a_wider_root_admits_files_outside_the_table_s_folder(tmp_path):
    pair_folder(tmp_path / "images")
    rows = [{"prompt": "p", "chosen_file_name": "images/chosen-0.png", "rejected_file_name": "images/rejected-0.png"}]
    table = jsonl(tmp_path / "tables" / "metadata.jsonl", rows)
    assert read_pairs(table, root=tmp_path).pairs[0].chosen == tmp_path / "images" / "chosen-0.png"


def test_links_within_the_folder_are_followed(tmp_path):
    folder = pair_folder(tmp_path / "set", count=1)
    (folder / "chosen-0.png").rename(tmp_path / "blob")
    (folder / "chosen-0.png").symlink_to(tmp_path / "blob")
    assert len(read_pairs(folder)) == 1


def test_each_bad_row_of_a_pair_folder_is_dropped_for_its_own_reason(tmp_path):
    folder = pair_folder(tmp_path / "set", count=1)
    good = {"chosen_file_name": "chosen-0.png", "rejected_file_name": "rejected-0.png", "prompt": "p"}
    bad = [
        ({**good, "chosen_file_name": "gone.png"}, MISSING_FILE),
        ({**good, "chosen_file_name": None}, MISSING_FILE),
        ({**good, "chosen_file_name": "https://host/a.png"}, MISSING_FILE),
        ({**good, "rejected_file_name": "chosen-0.png"}, IDENTICAL),
        ({**good, "prompt": " "}, EMPTY_PROMPT),
        ({**good, "label_prob": 1.5}, BAD_LABEL),
        ({**good, "label_prob": "often"}, BAD_LABEL),
        ({**good, "tie": True}, TIE),
    ]
    with (folder / "metadata.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row, _ in bad)
        file.write("{not json\n[1]\n")
    dataset = read_pairs(folder)
    assert len(dataset) == 1
    assert [row.reason for row in dataset.dropped] == [reason for _, reason in bad] + [BAD_ROW, BAD_ROW]
    assert dataset.dropped[-1].source == "metadata.jsonl:11"


def test_text_pairs_are_read_from_every_kind_of_table(tmp_path):
    jsonl(tmp_path / "a.jsonl", TEXTS)
    parquet(tmp_path / "a.parquet", TEXTS)
    (tmp_path / "a.json").write_text(json.dumps({"data": TEXTS}))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(TEXTS[0]))
        table.writeheader()
        table.writerows(TEXTS)
    for suffix in ("jsonl", "parquet", "json", "csv"):
        dataset = read_pairs(tmp_path / f"a.{suffix}")
        assert dataset.format == "trl"
        assert [(p.prompt, p.chosen, p.rejected) for p in dataset.pairs] == [tuple(row.values()) for row in TEXTS]
        assert len({pair.id for pair in dataset.pairs}) == 3


def test_strings_that_end_like_images_are_files_and_others_are_texts(tmp_path):
    pair_folder(tmp_path / "images", count=2)
    rows = [
        {"prompt": "p", "chosen": f"images/chosen-{n}.png", "rejected": f"images/rejected-{n}.png"} for n in range(2)
    ]
    table = jsonl(tmp_path / "a.jsonl", rows)
    assert read_pairs(table).pairs[0].chosen == tmp_path / "images" / "chosen-0.png"
    assert read_pairs(table, candidates="text").pairs[0].chosen == "images/chosen-0.png"
    outside = jsonl(tmp_path / "b.jsonl", [{**rows[0], "chosen": "../../etc/passwd.png"}, rows[1]])
    assert [row.reason for row in read_pairs(outside).dropped] == [OUTSIDE]


def test_dictionaries_with_paths_are_files(tmp_path):
    pair_folder(tmp_path, count=1)
    rows = [{"prompt": "p", "chosen": {"path": "chosen-0.png", "bytes": None}, "rejected": {"path": "rejected-0.png"}}]
    pair = read_pairs(jsonl(tmp_path / "a.jsonl", rows)).pairs[0]
    assert (pair.chosen, pair.rejected) == (tmp_path / "chosen-0.png", tmp_path / "rejected-0.png")


def test_parquet_bytes_stay_in_the_file_until_they_are_read(tmp_path):
    rows = [{"prompt": "p", "chosen": image(0), "rejected": image(1), "id": "x", "chosen_aesthetic": 5.0}]
    pair = read_pairs(parquet(tmp_path / "a.parquet", rows)).pairs[0]
    assert pair.id == "x" and pair.chosen.read() == image(0)
    assert pair.scores == {"chosen": {"aesthetic": 5.0}}


def test_bad_text_pairs_are_dropped(tmp_path):
    rows = [*TEXTS, {**TEXTS[0], "chosen": ""}, {**TEXTS[0], "rejected": TEXTS[0]["chosen"]}, {"prompt": "only"}]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows))
    assert [row.reason for row in dataset.dropped] == [EMPTY_CANDIDATE, IDENTICAL, EMPTY_CANDIDATE]


def test_every_format_is_recognised_by_its_own_columns(tmp_path):
    for name, reader in READERS.items():
        path = tmp_path / f"{name}.parquet"
        pa.parquet.write_table(pa.table({column: ["x"] for column in reader.required}), path)
        assert detect_format(path) == name


def test_unknown_columns_formats_options_and_paths_name_the_near_miss(tmp_path):
    table = jsonl(tmp_path / "a.jsonl", [{"promt": "p", "chosen": "a", "rejected": "b"}])
    with pytest.raises(
        DataError, match="lacks the column 'prompt'.*columns=.prompt: promt.*unpaired: prompt, completion, label"
    ):
        read_pairs(table)
    with pytest.raises(DataError, match="no format 'pikapic'.*Did you mean 'pickapic'"):
        read_pairs(table, format="pikapic")
    good = jsonl(tmp_path / "good.jsonl", TEXTS)
    with pytest.raises(DataError, match="no option 'canditates'.*Did you mean 'candidates'"):
        read_pairs(good, canditates="text")
    with pytest.raises(DataError, match="no data at .*Did you mean 'good.jsonl'"):
        read_pairs(tmp_path / "goood.jsonl")
    with pytest.raises(DataError, match="limit"):
        read_pairs(good, limit=0)
    with pytest.raises(DataError, match="holds no table"):
        (tmp_path / "empty").mkdir()
        read_pairs(tmp_path / "empty")


def test_files_with_the_wrong_suffix_are_explained(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nonsense")
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.csv").write_bytes(b"prompt,chosen,rejected\n\xff\xfe,b,c\n")
    for name, text in (("a.parquet", "not a readable parquet"), ("a.json", "not JSON"), ("a.csv", "not UTF-8")):
        with pytest.raises(DataError, match=text):
            read_pairs(tmp_path / name)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="empty"):
        read_pairs(tmp_path / "empty.jsonl")


def test_ids_do_not_depend_on_the_folder_or_on_other_rows(tmp_path):
    one = read_pairs(jsonl(tmp_path / "a" / "x.jsonl", TEXTS)).pairs
    other = read_pairs(jsonl(tmp_path / "b" / "y.jsonl", TEXTS[::-1])).pairs
    assert {pair.prompt: pair.id for pair in one} == {pair.prompt: pair.id for pair in other}
    here, there = (read_pairs(pair_folder(tmp_path / name)).pairs for name in ("c", "d"))
    assert [pair.id for pair in here] == [pair.id for pair in there]


def test_a_pick_a_pic_file_is_not_mistaken_for_another_format(tmp_path):
    assert detect_format(parquet(tmp_path / "v.parquet", [vote(0)])) == "pickapic"


@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "b", "a-2-2"])))
def test_ids_are_unique_whatever_the_data_calls_its_rows(names):
    ids = Ids()
    given_names = [ids.unique(name) for name in names]
    assert len(set(given_names)) == len(names)


@given(st.lists(st.text()), st.lists(st.text()))
def test_digests_tell_lists_of_parts_apart(one, other):
    assert (digest(*one) == digest(*other)) == (one == other)


def test_compressed_tables_are_read_like_plain_ones(tmp_path):
    plain = jsonl(tmp_path / "train.jsonl", TEXTS)
    folder = tmp_path / "helpful-base"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert read_pairs(folder / "train.jsonl.gz").pairs[0].source == "train.jsonl.gz:1"
    assert [pair.id for pair in read_pairs(folder).pairs] == [pair.id for pair in read_pairs(plain).pairs]
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes())[:-10])
    (folder / "false.csv.gz").write_bytes(b"prompt,chosen,rejected")
    for name in ("cut.jsonl.gz", "false.csv.gz"):
        with pytest.raises(DataError, match="cannot be read"):
            read_pairs(folder / name)


def test_splits_of_preferences_are_distinguished_from_those_for_fine_tuning(tmp_path):
    for split in ("train_prefs", "test_prefs", "train_sft", "train_gen"):
        rows = [ultrafeedback(n, prompt_id=split) for n in range(len(split))]
        parquet(tmp_path / "data" / f"{split}-00000-of-00001-0123456789abcdef.parquet", rows)
    assert len(read_pairs(tmp_path, split="train_prefs")) == len("train_prefs")
    with pytest.raises(DataError, match="no split 'train'.*test_prefs, train_gen, train_prefs, train_sft"):
        read_pairs(tmp_path)


def test_a_large_arrow_file_reads_like_its_parquet_twin(tmp_path):
    table = pa.Table.from_pylist([ultrafeedback(n) for n in range(700)])
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    for name, opened in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        with pa.OSFile(str(tmp_path / f"{name}.arrow"), "wb") as sink, opened(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=300)
        found = read_pairs(tmp_path / f"{name}.arrow").pairs
        assert [(p.id, p.chosen) for p in found] == [(p.id, p.chosen) for p in read_pairs(tmp_path / "a.parquet").pairs]
        assert found[-1].source == f"{name}.arrow:699"
