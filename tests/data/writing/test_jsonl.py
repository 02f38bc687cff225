"""What is written is what was read: every format, through our own columns and back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.media.decode import media_bytes
from diffalign.data.readers import read_pairs
from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow, RowsWithColumns, unread_columns
from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Answer, Pair
from diffalign.data.storage.frame_files import frames_of
from diffalign.data.writing.jsonl import write_pairs
from diffalign.errors import DataError, UserError
from tests.data import fixtures
from tests.data.clips import noise


def same(one: Pair, other: Pair) -> bool:
    """Equal in everything but where it was read, images by their bytes."""

    def plain(pair):
        media = lambda m: m if isinstance(m, (str, Conversation)) or m is None else media_bytes(m)
        further = {role: Answer(media(a.candidate), a.prompt) for role, a in pair.further.items()}
        scores = {role: values for role, values in pair.scores.items() if values}
        changed = {"chosen": media(pair.chosen), "rejected": media(pair.rejected), "further": further}
        return replace(pair, source="", scores=scores, **changed)

    return plain(one) == plain(other)


def hub(folder):
    rows = [
        {
            "prompt": f"thing {n}",
            "chosen": {"bytes": fixtures.image(n), "path": None},
            "rejected": {"bytes": fixtures.image(9)},
        }
        for n in range(3)
    ]
    return fixtures.parquet(folder / "hub.parquet", rows)


def talk(prompt, good, bad, **more):
    return {"prompt": prompt, "chosen": good, "rejected": bad, **more}


ANSWER = [{"role": "assistant", "content": "Blue."}]
SETS = {
    "pair_folder": lambda folder: fixtures.pair_folder(folder / "set", chosen_score=0.1 + 0.2, seed=3, id=None),
    "pickapic": lambda folder: fixtures.parquet(folder / "votes.parquet", [fixtures.vote(n, n % 2) for n in range(5)]),
    "pickapic_soft": lambda folder: fixtures.parquet(
        folder / "soft.parquet", [fixtures.vote(n, 0.25) for n in range(3)]
    ),
    "hub": hub,
    "trl": lambda folder: fixtures.jsonl(
        folder / "plain.jsonl",
        [
            talk(
                "Q: why?\n",
                " so\n",
                " \u00fc no ",
                label_prob=0.75,
                chosen_score=1,
                rejected_score=-2.5e-17,
                margin=1 / 3,
            ),
            talk("second", "x", "y", group="red", rejected_prompt="third", user_id=8),
            talk("same answer", "x", "x", rejected_prompt="other prompt"),
            talk(
                "with more",
                "x",
                "y",
                rationale="since",
                augmented_chosen="x",
                augmented_rejected="y",
                augmented_prompt="z",
            ),
            talk("broken \ud800", "x", "y", domain="news", gold="w"),
        ],
    ),
    "turns": lambda folder: fixtures.jsonl(
        folder / "turns.jsonl",
        [
            talk(fixtures.turns("sky?"), ANSWER, fixtures.turns("Green.", "Sure?", "Yes.", first="assistant")),
            talk(
                [{"role": "system", "content": "short"}, *fixtures.turns("sky?")],
                ANSWER,
                fixtures.turns("No.", first="assistant"),
            ),
            fixtures.ultrafeedback(),
        ],
    ),
    "tools": lambda folder: fixtures.jsonl(
        folder / "tools.jsonl",
        [
            talk(
                [
                    *fixtures.turns("sky?"),
                    {"role": "assistant", "content": "", "tool_calls": [{"name": "look"}]},
                    {"role": "tool", "content": "blue", "name": "look"},
                ],
                ANSWER,
                fixtures.turns("No.", first="assistant"),
                tools=[{"name": "look", "parameters": {}}],
                system="short",
            )
        ],
    ),
    "ranked": lambda folder: fixtures.jsonl(
        folder / "ranked.jsonl",
        [
            {"prompt": "p", "completions": ["a", "b", "c"], "scores": [1, 3, 2], "margin": 2},
            {"prompt": "q", "completions": [ANSWER, fixtures.turns("No.", first="assistant")], "scores": [1, 3]},
        ],
    ),
    "rewarded": lambda folder: fixtures.jsonl(
        folder / "rewarded.jsonl", [{"prompt": "p", "responses": ["a", "b", "c", "d"], "rewards": [1, 3, 3, 2]}]
    ),
    "implicit": lambda folder: fixtures.jsonl(folder / "hh.jsonl", fixtures.hh_rlhf()),
    "unpaired": lambda folder: fixtures.jsonl(
        folder / "single.jsonl",
        [
            {"prompt": "p", "completion": " c", "label": True, "score": 2.5},
            {"prompt": fixtures.turns("sky?"), "completion": ANSWER, "label": False},
        ],
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_written_pairs_are_read_back_unchanged(name, tmp_path):
    source = SETS[name](tmp_path)
    options = {"ties": "soft"} if name == "pickapic_soft" else {}
    dataset = read_pairs(source, **options)
    out = tmp_path / "out" / "table.jsonl"
    lines = RowsWithColumns(dataset.pairs, unread_columns(source))
    assert write_pairs(out, lines) == len(dataset) > 0
    reread = read_pairs(out)
    assert not reread.dropped and len(reread) == len(dataset)
    for line, pair in zip(lines, reread.pairs, strict=True):
        assert same(line.pair, pair), (line.pair, pair)
    second = tmp_path / "out" / "second.jsonl"
    write_pairs(second, RowsWithColumns(reread.pairs, unread_columns(out)))
    assert second.read_bytes() == out.read_bytes()  # images too: those of a table's folder keep their names


def test_single_images_are_written_as_winners(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(fixtures.image(1))
    source = fixtures.jsonl(
        tmp_path / "set" / "metadata.jsonl", [{"file_name": "a.png", "text": "a fox", "aesthetic": 5.5}]
    )
    dataset = read_pairs(source)
    write_pairs(tmp_path / "out" / "winners.jsonl", RowsWithColumns(dataset.pairs))
    reread = read_pairs(tmp_path / "out" / "winners.jsonl")
    assert reread.format == "captioned" and same(dataset.pairs[0], reread.pairs[0])
    with pytest.raises(DataError, match="an undesirable one has no format"):
        write_pairs(tmp_path / "bad.jsonl", [PairRow(replace(dataset.pairs[0], desirable=False))])


def test_images_are_named_within_the_folder_and_linked_from_elsewhere(tmp_path):
    source = fixtures.pair_folder(tmp_path / "set")
    dataset = read_pairs(source)
    write_pairs(source / "beside.jsonl", RowsWithColumns(dataset.pairs))
    row = json.loads((source / "beside.jsonl").read_text().splitlines()[0])
    assert row["chosen"] == "chosen-0.png" and not (source / "files").exists()
    for _ in range(2):  # the second time the links are there
        write_pairs(tmp_path / "out" / "else.jsonl", RowsWithColumns(dataset.pairs))
    names = sorted(path.name for path in (tmp_path / "out" / "files").iterdir())
    assert names == sorted(f"{role}-{n}.png" for n in range(3) for role in ("chosen", "rejected"))
    assert (tmp_path / "out" / "files" / "chosen-0.png").samefile(source / "chosen-0.png")


def test_clips_keep_their_frames_and_their_rate_also_where_they_were_folders(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for k in range(3):
        (frames / f"{k}.png").write_bytes(fixtures.image(k))
    film = write_clip(tmp_path / "film.webp", noise())
    pair = Pair("1", "a fox", film, frames_of(frames, 12.0))
    rows = [PairRow(pair), PairRow(replace(pair, id="2", chosen=frames))]
    write_pairs(tmp_path / "new" / "pairs.jsonl", rows)
    found = read_pairs(tmp_path / "new").pairs
    assert [open_clip(p.chosen) for p in found] == [open_clip(film), open_clip(frames)]
    assert open_clip(found[0].rejected) == open_clip(frames_of(frames, 12.0)) and found[0].chosen.parent.name == "files"


def test_files_of_one_name_in_two_folders_stay_two(tmp_path):
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(fixtures.image(seed))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x").write_bytes(fixtures.image(1))  # the same image reread, and no suffix
    first = Pair("1", "p", tmp_path / "a" / "x.png", tmp_path / "b" / "x.png")
    second = Pair("2", "p", tmp_path / "a" / "x.png", tmp_path / "c" / "x")
    for _ in range(2):
        write_pairs(tmp_path / "out" / "t.jsonl", [PairRow(first), PairRow(second)])
        rows = [json.loads(line) for line in (tmp_path / "out" / "t.jsonl").read_text().splitlines()]
        assert [row["chosen"] for row in rows] == ["files/x.png", "files/x.png"]
        assert [row["rejected"] for row in rows] == ["files/x-2.png", "files/x-3.png"]
        reread = read_pairs(tmp_path / "out" / "t.jsonl")
        assert same(first, reread.pairs[0]) and same(second, reread.pairs[1])


def test_images_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("cross-device link")

    monkeypatch.setattr("os.link", refuse)
    dataset = read_pairs(fixtures.pair_folder(tmp_path / "set"))
    write_pairs(tmp_path / "out" / "t.jsonl", RowsWithColumns(dataset.pairs))
    assert all(same(a, b) for a, b in zip(dataset.pairs, read_pairs(tmp_path / "out" / "t.jsonl").pairs, strict=True))


def test_columns_that_no_reader_uses_are_written_too(tmp_path):
    rows = [talk("p", "a", "b", language="de", prompt_id="7f", note="", model_id=3), talk("q", "a", "b", user_id="ann")]
    source = fixtures.jsonl(tmp_path / "t.jsonl", rows)
    lines = RowsWithColumns(read_pairs(source).pairs, unread_columns(source))
    assert lines[0].columns == {"language": "de", "prompt_id": "7f", "model_id": 3} and lines[1].pair.group == "ann"
    write_pairs(tmp_path / "out.jsonl", lines)
    assert unread_columns(tmp_path / "out.jsonl")["out.jsonl:1"] == lines[0].columns


def test_a_group_is_kept_of_formats_that_do_not_read_it(tmp_path):
    source = fixtures.pair_folder(tmp_path / "set", group="ann", count=2)
    lines = RowsWithColumns(read_pairs(source).pairs, unread_columns(source))
    assert {line.pair.group for line in lines} == {"ann"} and len(lines[:1]) == 1
    write_pairs(tmp_path / "out.jsonl", lines)
    assert read_pairs(tmp_path / "out.jsonl").pairs[1].group == "ann"


PLAIN = Pair("1", "p", "a", "b")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "there are no rows"),
        ([PairRow(PLAIN), PairRow(PLAIN)], "id '1' occurs twice"),
        ([PairRow(PLAIN), PairRow(replace(PLAIN, id="2", rejected=None))], "cannot be written into one file"),
        ([PairRow(replace(PLAIN, scores={"pair": {"id": 3.0}}))], "would not be read back"),
        ([PairRow(replace(PLAIN, scores={"pair": {"chosen_x": 3.0}}))], "would not be read back"),
        ([PairRow(replace(PLAIN, scores={"chosen": {"x": float("nan")}}))], "would not be read back"),
        ([PairRow(replace(PLAIN, scores={"pair": {"gold": 3.0}}))], "would not be read back"),
        ([PairRow(replace(PLAIN, further={"odd": Answer("c")}))], "answer 'odd' has no column"),
        ([PairRow(replace(PLAIN, further={"2": Answer("c")}))], "scores that fall with the rank"),
        (
            [PairRow(PLAIN), PairRow(replace(PLAIN, id="2", further={"2": Answer("c")}))],
            "the first must have three answers",
        ),
        ([PairRow(PLAIN, {"caption": "x"})], "'caption' another meaning"),
        ([PairRow(replace(PLAIN, id=""))], "has no id"),
    ],
)
def test_rows_that_would_not_be_read_back_are_refused_and_the_old_file_stays(lines, message, tmp_path):
    (tmp_path / "t.jsonl").write_text("old")
    with pytest.raises(DataError, match=message):
        write_pairs(tmp_path / "t.jsonl", lines)
    assert (tmp_path / "t.jsonl").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_other_kinds_of_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="Type: t.jsonl"):
        write_pairs(tmp_path / "t.csv", [PairRow(PLAIN)])


def test_turns_are_written_as_turns(tmp_path):
    pair = Pair("1", Conversation((Message("user", "q"),)), Conversation((Message("assistant", "a"),)), "b")
    write_pairs(
        Path(tmp_path) / "t.jsonl", [PairRow(replace(pair, rejected=Conversation((Message("assistant", "b"),))))]
    )
    assert json.loads((tmp_path / "t.jsonl").read_text())["chosen"] == [{"role": "assistant", "content": "a"}]
