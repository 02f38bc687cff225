"""The training loop learns an obvious preference."""

from pathlib import Path

import pytest

from pipelines import favourite_background as program

ROOT = Path(__file__).parents[2]
needs_assets = pytest.mark.skipif(not (ROOT / "assets" / "emoji" / "model").exists(), reason="no embedded model here")


@pytest.mark.long
@needs_assets
def test_a_favourite_background_is_drawn_where_the_prompt_names_none(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DIFFALIGN_CACHE", str(tmp_path / "cache"))
    result = program.run(tmp_path, colour="yellow", seed=0)
    print(result.table())
    assert result.base_colour.high < 0.5, "the base must not know the preference"
    assert result.aligned_colour.rate >= 0.85
    assert result.aligned_subject.rate >= result.base_subject.rate - 0.08, "the prompted subject must survive"


@needs_assets
def test_pairs_name_no_background_and_differ_from_evaluation_prompts(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(program.SAMPLING, "steps", 1)
    program.make_pairs(tmp_path / "pairs", "red", 4, seed=0)
    from diffalign.data.readers import read_pairs

    pairs = read_pairs(tmp_path / "pairs").pairs
    fresh = (ROOT / "assets" / "emoji" / "prompts" / "unnamed_background.txt").read_text().splitlines()
    assert len(pairs) == 4
    assert all("background" not in pair.prompt and pair.prompt not in fresh for pair in pairs)
    assert all("on-a-red" in str(pair.chosen) and "on-a-red" not in str(pair.rejected) for pair in pairs)
