"""Claims about the check of a data set: each fault that is planted is found, and a sound set passes."""

import io
import json

import pytest
from rich.console import Console

from diffalign.data.check.report import CheckFinding, CheckReport
from diffalign.data.check.run import check_pairs
from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair, PairSet
from tests.data.fixtures import encoded, image, jsonl, pair_folder, parquet, turns, ultrafeedback, vote


def findings_of(report: CheckReport) -> dict[str, CheckFinding]:
    return {finding.what: finding for finding in report.findings}


def pairs(*rows: tuple, **fields) -> PairSet:
    made = [Pair(str(n), prompt, a, b, source=f"set:{n}", **fields) for n, (prompt, a, b) in enumerate(rows)]
    return PairSet(made, [], "trl", "set")


def test_a_sound_set_passes(tmp_path):
    report = check_pairs(read_pairs(pair_folder(tmp_path)), resolution=16)
    assert report.findings == [] and report.severity == "note" and report.exit_code(strict=True) == 0
    assert report.facts["pairs"] == "3, 3 distinct prompts"
    assert report.facts["short side"] == "min 16, median 16, max 16 pixels"
    assert report.verdict() in report.render()


def test_dropped_rows_are_listed_by_reason(tmp_path):
    rows = [vote(0), vote(1, 0.5), vote(2, 0.5), vote(3, caption="")]
    report = check_pairs(read_pairs(parquet(tmp_path / "votes.parquet", rows)))
    ties, empty = findings_of(report)["rows left out: tie"], findings_of(report)["rows left out: empty prompt"]
    assert (ties.severity, ties.count, ties.examples) == ("note", 2, ("votes.parquet:1", "votes.parquet:2"))
    assert (empty.severity, empty.count) == ("warning", 1)
    assert report.exit_code() == 0 and report.exit_code(strict=True) == 1


def test_unreadable_images_are_errors_and_name_the_file(tmp_path):
    folder = pair_folder(tmp_path)
    whole = image(0, size=(64, 64))
    (folder / "chosen-1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "rejected-2.png").write_bytes(b"nothing")
    report = check_pairs(read_pairs(folder))
    bad = findings_of(report)["candidates that cannot be read"]
    assert bad.count == 2 and report.exit_code() == 1
    assert "chosen-1.png" in bad.examples[0] and "rejected-2.png" in bad.examples[1]
    quick = check_pairs(read_pairs(folder), decode=False)
    assert findings_of(quick)["candidates that cannot be read"].count == 1


def test_the_same_bytes_in_both_roles_are_an_error(tmp_path):
    folder = pair_folder(tmp_path)
    (folder / "rejected-0.png").write_bytes((folder / "chosen-0.png").read_bytes())
    same = findings_of(check_pairs(read_pairs(folder)))["pairs whose two candidates have the same content"]
    assert (same.severity, same.count, same.examples) == ("error", 1, ("metadata.jsonl:1",))


def test_repeats_and_contradictions_are_distinguished():
    a, b, c = (image(n) for n in range(3))
    report = check_pairs(pairs(("p", a, b), ("p", a, b), ("q", a, b), ("p", b, c), ("p", c, b)))
    assert findings_of(report)["pairs that repeat another"].count == 1
    torn = findings_of(report)["pairs with contradicting votes"]
    assert torn.count == 1 and torn.examples == ("set:3 against set:4",)


def test_small_and_differently_shaped_images_are_reported():
    report = check_pairs(pairs(("p", image(0, (32, 32)), image(1, (16, 32))), ("q", image(2), image(3))), resolution=24)
    assert findings_of(report)["pairs with an image smaller than 24 pixels"].count == 2
    assert findings_of(report)["pairs of images with different shapes"].examples == ("set:0",)
    assert "min 16, median 16, max 32" in report.facts["short side"]


def test_prompts_that_the_text_encoder_cuts_off_are_reported():
    report = check_pairs(pairs(("word " * 76, image(0), image(1)), ("word " * 75, image(2), image(3))))
    assert findings_of(report)["prompts of more than 75 tokens"].examples == ("set:0",)


def test_prompts_and_images_shared_with_the_evaluation_set_are_errors():
    train = pairs(("A red  Circle", image(0), image(1)), ("b", image(2), image(3)))
    test = pairs(("a red circle", image(4), image(5)), ("c", image(6), image(2)))
    report = check_pairs(train, test)
    assert findings_of(report)["prompts in both the training and the evaluation set"].count == 1
    assert findings_of(report)["candidates in both the training and the evaluation set"].count == 1
    assert report.severity == "error"
    apart = pairs(("d", image(8), image(9)))
    assert check_pairs(train, apart).findings == []


def test_labels_that_favour_the_rejected_one_are_reported():
    weak = check_pairs(pairs(("p", "a", "b"), probability=0.3))
    assert "pairs whose label_prob favours the rejected one" in findings_of(weak)
    assert "pairs with probability 0.5" in findings_of(check_pairs(pairs(("p", "a", "b"), probability=0.5)))


@pytest.mark.parametrize("share, suspicious", [(1.0, True), (0.5, False), (0.53, False)])
def test_votes_that_follow_the_position_are_reported(share, suspicious):
    rows = [
        Pair(str(n), f"p{n}", f"a{n}", f"b{n}", scores={"pair": {"first_won": float(n < share * 100)}})
        for n in range(100)
    ]
    report = check_pairs(PairSet(rows))
    assert any("first image won" in what for what in findings_of(report)) == suspicious
    assert report.facts["first slot won"] == f"{share:.1%}"


def test_shortcuts_to_the_label_are_reported():
    rows = [(f"p{n}", image(2 * n, (16, 16)), image(2 * n + 1, (8, 8), "JPEG")) for n in range(20)]
    names = " ".join(findings_of(check_pairs(pairs(*rows))))
    assert "chosen files are PNG and all rejected ones JPEG" in names and "larger image in 100%" in names
    texts = [(f"p{n}", "long " * (n + 2), f"short {n}") for n in range(20)]
    assert "longer text" in " ".join(findings_of(check_pairs(pairs(*texts))))


def test_stored_scores_are_compared_with_the_labels(tmp_path):
    rows = [
        {"prompt": "p", "chosen": f"a{n}", "rejected": f"b{n}", "chosen_clip": n, "rejected_clip": 2.5}
        for n in range(4)
    ]
    report = check_pairs(read_pairs(jsonl(tmp_path / "a.jsonl", rows)))
    assert report.facts["stored clip"] == "agrees with 25.0% of 4 labels"


def test_an_image_that_many_pairs_share_is_read_once(tmp_path, monkeypatch):
    from diffalign.data.check import candidate_facts as module

    inspected = []

    def inspect(media, **options):
        inspected.append(media)
        return module.Facts("d", "image")

    monkeypatch.setattr(module, "inspect_candidate", inspect)
    path = tmp_path / "a.png"
    path.write_bytes(encoded_square())
    module.collect_facts(pairs(("p", path, image(1)), ("q", path, image(2))).pairs)
    assert inspected.count(path) == 1 and len(inspected) == 3


def encoded_square() -> bytes:
    from PIL import Image

    return encoded(Image.new("RGB", (4, 4)))


def test_the_report_renders_as_text_as_rich_and_as_json():
    report = check_pairs(pairs(("p [bold] " * 40, image(0), b"junk"), ("q", image(0), image(1))))
    text = report.render()
    assert text.index("ERROR: candidates that cannot be read") < text.index("NOTE: prompts")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report)
    assert "candidates that cannot be read" in console.export_text()
    assert json.loads(json.dumps(report.as_dict()))["severity"] == "error"


def test_texts_are_counted_by_length_and_form(tmp_path):
    talk = turns("One two?", "Yes.", "Why?")
    rows = [
        {"prompt": talk, "chosen": turns("a b c", first="assistant"), "rejected": turns("a", first="assistant")},
        {"prompt": "one", "chosen": " a b", "rejected": " c"},
        {"prompt": "two", "chosen": " a b", "rejected": "c"},
    ]
    report = check_pairs(read_pairs(jsonl(tmp_path / "a.jsonl", rows)))
    assert report.facts["pairs"] == "3, 3 distinct prompts" and report.facts["candidates"] == "5 distinct: 5 text"
    assert report.facts["prompt words"] == "min 1, median 1, max 4"
    assert report.facts["chosen words"] == "min 2, median 2, max 3"
    assert report.facts["form"] == "2 plain, 1 in turns (prompts of min 3, median 3, max 3 turns)"
    assert findings_of(report)["rows that are in turns where others are plain"].examples == ("a.jsonl:1",)
    glued = findings_of(report)["plain answers that follow their prompt without a space or a line break"]
    assert glued.examples == ("a.jsonl:3",)


def test_texts_that_will_be_cut_or_hardly_differ_are_reported():
    report = check_pairs(
        pairs(("word " * 1000, "word " * 25, "a"), ("word ", "word " * 1022, "a"), ("p", " Yes", " yes "))
    )
    assert findings_of(report)["texts of more than 1,024 tokens with their prompt"].examples == ("set:0",)
    assert findings_of(report)["pairs whose answers differ only in case and spacing"].examples == ("set:2",)


def test_texts_judged_both_ways_and_repeated_texts_are_distinguished(tmp_path):
    rows = [ultrafeedback(2), ultrafeedback(2), ultrafeedback(3)]
    rows.append({**rows[2], "chosen": rows[2]["rejected"], "rejected": rows[2]["chosen"]})
    report = check_pairs(read_pairs(jsonl(tmp_path / "a.jsonl", rows)))
    assert findings_of(report)["pairs that repeat another"].examples == ("a.jsonl:1 and a.jsonl:2",)
    assert findings_of(report)["pairs with contradicting votes"].examples == ("a.jsonl:3 against a.jsonl:4",)


def test_single_answers_judged_both_ways_are_reported(tmp_path):
    rows = [{"prompt": "q", "completion": " a", "label": label} for label in (True, False)]
    report = check_pairs(read_pairs(jsonl(tmp_path / "a.jsonl", rows)))
    assert findings_of(report)["pairs with contradicting votes"].count == 1
    assert (
        report.facts["labels"] == "1 desirable, 1 undesirable" and report.facts["examples"] == "2, 1 distinct prompts"
    )


def test_long_texts_in_both_sets_are_errors_and_short_ones_are_not():
    quote = "a sentence that is not written twice, " * 3
    train, test = pairs(("p", " yes", f" {quote}")), pairs(("q", " yes", f" {quote}"))
    report = check_pairs(train, test)
    assert findings_of(report)["candidates in both the training and the evaluation set"].count == 1


def test_names_of_images_that_are_read_as_texts_are_found(tmp_path):
    what = "answers that are names of images or videos, read as texts beside other texts"
    mixed = pairs(
        ("p", "img/a.png", "img/b.png"), ("p", "a nice text", "https://x.y/b.jpeg?w=1"), ("p", "see a.png", "b")
    )
    finding = findings_of(check_pairs(mixed))[what]
    assert (finding.severity, finding.examples) == ("warning", ("set:0", "set:1"))
    assert what not in findings_of(check_pairs(pairs(("p", "Look at a.png", "It is b.png"))))
