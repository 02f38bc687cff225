"""The text benchmark compares variants that do the same work, and fails otherwise."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from benchmarks.measure import Measurement
from benchmarks.raw_text import RawText
from benchmarks.text_setting import END, Job, Shape, make_job, make_llama
from benchmarks.text_step import prepare_diffalign
from benchmarks.text_table import Bar, check_losses, table

VARIED = Shape((3, 12), (2, 9), 4)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("llama") / "model"
    make_llama(folder, width=32, layers=2, heads=2, mlp=64, vocabulary=200)
    return make_job(folder, VARIED, vocabulary=200)


def test_texts_tokenize_to_exactly_their_tokens(job: Job) -> None:
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    for row in job.rows:
        texts = row.texts()
        assert tuple(tokenizer(texts["prompt"])["input_ids"]) == row.prompt
        joint = tokenizer(texts["prompt"] + texts["chosen"] + tokenizer.eos_token)["input_ids"]
        assert tuple(joint) == row.prompt + row.chosen
        assert row.rejected[-1] == END


def test_a_stored_reference_gives_the_losses_of_a_live_one(job: Job) -> None:
    live, stored = RawText(job), RawText(job, stored=True)
    for _ in range(4):
        a, b = live.step(), stored.step()
    assert a == pytest.approx(b, abs=1e-6)
    assert a[0] == pytest.approx(math.log(2), abs=1e-6)


def test_diffalign_has_the_losses_of_the_raw_loop(job: Job, tmp_path: Path) -> None:
    ours, raw = prepare_diffalign(tmp_path, job), RawText(job)
    for _ in range(4):
        a, b = ours(), raw.step()
    assert abs(b[-1] - b[0]) > 1e-4
    assert a == pytest.approx(b, abs=1e-5)


def test_trl_has_the_losses_of_the_raw_loop(job: Job) -> None:
    pytest.importorskip("trl")
    from benchmarks.trl_step import TrlLoop

    loops = [RawText(job), TrlLoop(job), TrlLoop(job, compact=False)]
    for _ in range(4):
        losses = [loop.step() for loop in loops]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)


def test_a_variant_with_other_losses_fails_the_benchmark() -> None:
    same = {"raw, s": _measured(0.6931472, 0.5), "TRL, s": _measured(0.6931472, 0.50001)}
    check_losses(same)
    with pytest.raises(SystemExit, match="diffalign, s: a loss differs"):
        check_losses({**same, "diffalign, s": _measured(0.6931472, 0.501)})
    with pytest.raises(SystemExit, match="not at log 2"):
        check_losses({"raw, s, bf16": _measured(0.68, 0.5)})


def test_a_bar_requires_both_speed_and_memory() -> None:
    fast, lean = Measurement([1.0], [90.0]), Measurement([2.0], [50.0])
    results = {"fast": fast, "lean": lean, "slow": Measurement([2.0], [100.0])}
    lines = table(results, [Bar("A", "", name, "slow", 1.5, 0.8) for name in ("fast", "lean")]).splitlines()
    assert all(line.endswith("MISSED") for line in lines[-2:])
    assert table(results, [Bar("A", "", "fast", "slow", 2.0, 0.9)]).endswith("held")


def _measured(*losses: float) -> Measurement:
    return Measurement([1.0], [1.0], [losses])
