"""Commands that measure pairs, on tiny random models: their output, and files that can be trained on."""

import html
import json
import re

import numpy as np
import pytest
from PIL import Image

from diffalign.data.readers import read_pairs
from diffalign.errors import DataError, UserError
from tests.cli.test_commands import call
from tests.tiny_text import chat_pairs, text_pairs, tiny_llm


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnose")
    tiny_llm(folder / "model")
    pairs = text_pairs(12)
    given = [
        {"id": p.id, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected, "note": f"by hand {p.id}"}
        for p in pairs
    ]
    write(folder / "pairs.jsonl", given)
    talks = [
        {"id": p.id, "prompt": p.prompt.rows(), "chosen": p.chosen.rows(), "rejected": p.rejected.rows()}
        for p in chat_pairs(5)
    ]
    write(folder / "talks.jsonl", talks)
    return folder


def test_ches_writes_numbers_and_keeps_the_lowest_share(place, tmp_path):
    base = ["data", "ches", place / "pairs.jsonl", "--model", place / "model", "--output"]
    output = call(*base, tmp_path / "all.jsonl")
    assert "median" in output and "ln_ches" in output and "ches: 12 rows in, 12 out" in output
    whole = {row["id"]: row for row in rows(tmp_path / "all.jsonl")}
    assert set(whole["text0"]) >= {"ches", "ln_ches", "edit_distance", "last_hidden_product", "note"}
    assert whole["text3"]["note"] == "by hand text3"
    output = call(*base, tmp_path / "some.jsonl", "--keep-lowest", 0.25)
    assert "3 out" in output and "9 filtered by your options" in output
    kept = {row["id"] for row in rows(tmp_path / "some.jsonl")}
    assert kept == set(sorted(whole, key=lambda name: whole[name]["ln_ches"])[:3])
    call(*base, tmp_path / "top.jsonl", "--drop-top", 0.5, "--by", "ches")
    kept = {row["id"] for row in rows(tmp_path / "top.jsonl")}
    assert kept == set(sorted(whole, key=lambda name: whole[name]["ches"])[:6])
    again = read_pairs(tmp_path / "some.jsonl").pairs
    assert all(pair.scores["pair"]["ln_ches"] == whole[pair.id]["ln_ches"] for pair in again)
    assert not list(tmp_path.glob("*.part"))


def test_ches_refuses_what_it_cannot_do(place, tmp_path):
    base = ["data", "ches", place / "pairs.jsonl", "--model", place / "model", "--output"]
    with pytest.raises(UserError, match="Give one of them"):
        call(*base, tmp_path / "x.jsonl", "--keep-lowest", 0.5, "--drop-top", 0.5)
    with pytest.raises(UserError, match="--by is one of ches, ln_ches"):
        call(*base, tmp_path / "x.jsonl", "--by", "chess")
    with pytest.raises(UserError, match="is the source itself"):
        call(*base, place / "pairs.jsonl")


def test_separability_finds_a_shortcut_and_drops_the_easiest_pairs(place, tmp_path):
    given = [
        {
            "id": row["id"],
            "prompt": f"{n}: {row['prompt']}",
            "chosen": f"Sure! {row['chosen']}",
            "rejected": row["chosen"],
        }
        for n, row in enumerate(rows(place / "pairs.jsonl") * 3)
    ]
    given = [{**row, "id": f"s{n}"} for n, row in enumerate(given)]
    source = write(tmp_path / "short.jsonl", given)
    output = call("data", "separability", source, "--output", tmp_path / "out.jsonl", "--drop-top", 0.5)
    assert "SUSPICIOUS: by first 20 tokens" in output and "36 pairs of 36 prompts" in output and "inaccurate" in output
    written = rows(tmp_path / "out.jsonl")
    assert len(written) == 18 and all(isinstance(row["probe_margin"], float) for row in written)
    with pytest.raises(UserError, match="Give a file: --output"):
        call("data", "separability", source, "--drop-top", 0.5)
    with pytest.raises(UserError, match="Leave --limit out"):
        call("data", "separability", source, "--output", tmp_path / "y.jsonl", "--limit", 3)


def test_separability_probes_hidden_states_and_compares_with_a_score(place, tmp_path):
    given = [
        {"prompt": f"word {n}:", "chosen": " " + "ha" * (3 + n % 5), "rejected": " " + "bo" * (3 + n % 4),
         "rm_chosen": n % 2, "rm_rejected": 0.5}
        for n in range(24)
    ]  # fmt: skip
    source = write(tmp_path / "scored.jsonl", given)
    output = call(
        "data", "separability", source, "--model", place / "model", "--quality", "rm", "--within", "--folds", 3
    )
    assert "hidden states" in output and "the score 'rm' agrees with 50.0% of the labels" in output
    assert re.search(r"hidden states +[\d.]+ +(0\.9|1\.0)", output), output


def test_separability_of_images(tmp_path):
    random = np.random.default_rng(0)
    given = []
    for number in range(12):
        row = {"prompt": f"a fox, number {number}"}
        for role, quality in (("chosen", 95), ("rejected", 30)):
            row[f"{role}_file_name"] = f"{number}-{role}.jpg"
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / row[f"{role}_file_name"], quality=quality)
        given.append(row)
    write(tmp_path / "metadata.jsonl", given)
    assert "SUSPICIOUS: by size and codec" in call("data", "separability", tmp_path)


def test_difficulty_marks_pairs_and_sorts_by_it(place, tmp_path):
    base = ["data", "difficulty", place / "pairs.jsonl", "--model", place / "model", "--output"]
    output = call(*base, tmp_path / "all.jsonl")
    counts = [int(re.search(rf"{name} +(\d+)", output).group(1)) for name in ("already right", "easy to flip", "hard")]
    whole = rows(tmp_path / "all.jsonl")
    assert counts == [sum(row["difficulty_class"] == kind for row in whole) for kind in range(3)]
    for row in whole:
        gap = row["rejected_ref_logp"] - row["chosen_ref_logp"]
        assert row["difficulty"] == pytest.approx(gap) and (row["difficulty_class"] == 0) == (gap <= 0)
        assert row["flip_loss"] == pytest.approx(np.log1p(np.exp(-0.1 * gap)))
    call(*base, tmp_path / "easy.jsonl", "--keep-lowest", 0.5)
    easy = sorted(whole, key=lambda row: row["difficulty"])[:6]
    assert {row["id"] for row in rows(tmp_path / "easy.jsonl")} == {row["id"] for row in easy}
    call("data", "curriculum", tmp_path / "all.jsonl", "--key", "ref_logp", "--by", "global", "--stages", 2, "--output",
         tmp_path / "stages")  # fmt: skip
    first = {row["id"] for row in rows(tmp_path / "stages" / "stage-1.jsonl")}
    assert first == {row["id"] for row in easy}


@pytest.mark.parametrize("name", ["pairs.jsonl", "talks.jsonl"])
def test_rationales_become_a_column_that_readers_read(place, tmp_path, name):
    base = ["data", "rationales", place / name, "--model", place / "model", "--model-setting", "max_length=250"]
    output = call(*base, "--output", tmp_path / "why.jsonl", "--setting", "max_new_tokens=8", "--model-setting",
                "long_prompts=keep_end", "--model-setting", "max_prompt_length=240")  # fmt: skip
    assert "rationales:" in output
    written = {row["id"]: row["rationale"] for row in rows(tmp_path / "why.jsonl")}
    assert len(written) >= 4 and all(text.strip() for text in written.values())
    for pair in read_pairs(tmp_path / "why.jsonl").pairs:
        assert written[pair.id] in str(pair.further["rationale"].candidate)
    with pytest.raises(UserError, match="general or specific; got 'vague'"):
        call(*base, "--output", tmp_path / "no.jsonl", "--style", "vague")


def test_design_rejected_draws_among_ranked_answers(tmp_path):
    given = [
        {"id": f"r{n}", "prompt": "Why?", "completions": ["a", "b", "c", "d"], "scores": [3.0, 0.0, 2.9, 1.0]}
        for n in range(200)
    ]
    source = write(tmp_path / "lists.jsonl", given)
    output = call("data", "design-rejected", source, "--output", tmp_path / "out.jsonl", "--beta", 1)
    assert "200 rows in, 200 out" in output
    written = rows(tmp_path / "out.jsonl")
    share = {text: sum(row["rejected"] == text for row in written) / 200 for text in "abcd"}
    assert share["a"] == 0 and share["b"] > share["d"] > 0 and share["b"] == pytest.approx(0.69, abs=0.1)
    for row in written:
        assert row["chosen"] == "a" and row["chosen_score"] == 3.0
        assert row["rejected_score"] == {"b": 0.0, "c": 2.9, "d": 1.0}[row["rejected"]]
    pairs = write(tmp_path / "pairs.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b", "chosen_score": 1}])
    with pytest.raises(DataError, match="completions and scores"):
        call("data", "design-rejected", pairs, "--output", tmp_path / "no.jsonl")


def test_tokens_shows_rewards_that_add_up_to_the_answers(place, tmp_path):
    import torch
    import yaml
    from safetensors.torch import load_file, save_file

    recipe = {
        "method": "dpo",
        "model": {"path": str(place / "model"), "adapter": {"rank": 2}, "cache": str(tmp_path / "cache")},
        "data": {"train": str(place / "pairs.jsonl")},
        "train": {"steps": 1, "batch_size": 2, "mixed_precision": "no"},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    call("train", tmp_path / "recipe.yaml")
    adapter = tmp_path / "run" / "result"
    weights = adapter / "adapter_model.safetensors"
    moved = {name: value + 0.3 * torch.randn(value.shape) for name, value in load_file(weights).items()}
    save_file(moved, weights)

    marked = [{"prompt": "a fox <b>", "chosen": " yes & no!", "rejected": " <i>no</i>?"}, *rows(place / "pairs.jsonl")]
    source = write(tmp_path / "given.jsonl", marked)
    base = ["tokens", source, "--model", place / "model", "--adapter", adapter, "--limit", 3]
    output = call(*base, "--output", tmp_path / "heat.jsonl", "--beta", 0.5)
    assert "6 answers of 3 rows" in output
    table = rows(tmp_path / "heat.jsonl")
    first = table[0]
    assert first["role"] == "chosen" and "".join(first["tokens"]).startswith(" yes & no!")
    assert all(row["values"][0] == 0 and len(row["values"]) == len(row["tokens"]) + 1 for row in table)
    assert all(row["values"][-1] == pytest.approx(sum(row["rewards"]), abs=1e-4) for row in table)
    assert any(abs(reward) > 1e-3 for row in table for reward in row["rewards"])
    doubled = rows_of_beta(base, tmp_path, 1.0)
    assert doubled[0]["rewards"] == pytest.approx([2 * r for r in first["rewards"]], abs=1e-5)

    call(*base, "--output", tmp_path / "heat.html")
    page = (tmp_path / "heat.html").read_text()
    assert "<b>" not in page and "<i>" not in page and "a fox &lt;b&gt;" in page and "<script" not in page
    shown = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert " <i>no</i>?" in shown and "rgba(34,139,34" in page and "rgba(200,40,40" in page
    with pytest.raises(UserError, match="a page, .html, or a table"):
        call(*base, "--output", tmp_path / "heat.txt")


def rows_of_beta(base, folder, beta):
    call(*base, "--output", folder / "other.jsonl", "--beta", beta)
    return rows(folder / "other.jsonl")


def test_generate_searches_by_beams(place, tmp_path):
    base = ["generate", "--model", place / "model", "--prompt", "a fox", "--setting", "max_new_tokens=6"]
    call(*base, "--output", tmp_path / "greedy", "--setting", "temperature=0")
    call(*base, "--output", tmp_path / "beam", "--setting", "beams=1")
    texts = [rows(tmp_path / name / "metadata.jsonl")[0]["completion"] for name in ("greedy", "beam")]
    assert texts[0] == texts[1]
    with pytest.raises(UserError, match="Set top_p=0.9, or top_k"):
        call(*base, "--output", tmp_path / "no", "--setting", "beams=4", "--setting", "beam_mode=reward")


def test_commands_and_options_in_the_documentation_exist():
    from pathlib import Path

    from typer.main import get_command

    from diffalign.cli import app

    page = (Path(__file__).parents[2] / "docs" / "preparing-data.md").read_text()
    lines = [line.split("#")[0].split() for line in re.findall(r"^diffalign .*$", page, re.MULTILINE)]
    assert len(lines) > 8
    for _, *words in lines:
        command, group = get_command(app), words
        while hasattr(command, "commands"):
            command, group = command.commands[group[0]], group[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in group if word.startswith("--")} <= known, words


def test_difficulty_and_embeddings_of_images(tmp_path):
    from tests.scorers.tiny import dual_encoder
    from tests.tiny import RESOLUTION, tiny_sd

    tiny_sd(tmp_path / "model")
    dual_encoder(tmp_path / "clip")
    random = np.random.default_rng(0)
    (tmp_path / "pairs").mkdir()
    given = []
    for number in range(6):
        row = {"id": f"p{number}", "prompt": f"a fox, number {number}"}
        for role, tint in (("chosen", 200), ("rejected", 0)):
            row[f"{role}_file_name"] = f"{number}-{role}.png"
            pixels = random.integers(0, 56, (RESOLUTION, RESOLUTION, 3), dtype=np.uint8) + tint
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pairs" / row[f"{role}_file_name"])
        given.append(row)
    write(tmp_path / "pairs" / "metadata.jsonl", given)
    base = ["data", "difficulty", tmp_path / "pairs", "--model", tmp_path / "model", "--beta", 2000]
    base += ["--model-setting", f"resolution={RESOLUTION}", "--model-setting", f"cache={tmp_path / 'cache'}"]
    assert "difficulty: 6 rows in, 6 out" in call(*base, "--output", tmp_path / "judged" / "a.jsonl", "--looks", 2)
    call(*base, "--output", tmp_path / "judged" / "b.jsonl", "--eval-draws", 2, "--batch", 1)
    one, other = ({r["id"]: r["difficulty"] for r in rows(tmp_path / "judged" / f"{n}.jsonl")} for n in "ab")
    assert one == pytest.approx(other, rel=1e-3, abs=1e-5) and len(set(one.values())) == 6
    output = call("data", "separability", tmp_path / "pairs", "--scorer", f"clip:{tmp_path / 'clip'}", "--folds", 2)
    assert "embeddings" in output and "SUSPICIOUS: by image statistics" in output
    with pytest.raises(UserError, match="data separability"):
        call("data", "ches", tmp_path / "pairs", "--model", tmp_path / "model", "--output", tmp_path / "no.jsonl")
