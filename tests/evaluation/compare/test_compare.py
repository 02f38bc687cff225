"""Generation that resumes, comparisons with known results, and diversity."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from diffalign.errors import DataError, RunError, UserError
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare, compare_galleries
from diffalign.evaluation.samples.diversity import PIXELS, choose_space, compare_diversity
from diffalign.evaluation.samples.gallery import read_gallery
from diffalign.evaluation.samples.generate import generate
from tests.evaluation.fakes import PlainPolicy, RedHit, Redness

PROMPTS, SEEDS = ["a fox", "a red apple", "<script>alert(1)</script>"], [3, 7]


def test_every_prompt_is_sampled_with_every_seed_and_recorded(tmp_path):
    policy, ticks = PlainPolicy(), []
    gallery = generate(
        policy, PROMPTS, SEEDS, tmp_path, batch_size=4, steps=5, progress=lambda *tick: ticks.append(tick)
    )
    assert [(p.prompt, p.seed) for p in gallery.samples] == [(p, s) for p in PROMPTS for s in SEEDS]
    assert Image.open(gallery.samples[1].path).getpixel((0, 0)) == (140, 5, 70)
    assert policy.calls[0][3] == {"steps": 5, "batch": 4} and ticks == [("images", 4, 6), ("images", 6, 6)]
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert rows[0] == {"file_name": gallery.samples[0].path.name, "prompt": "a fox", "seed": 3}
    assert read_gallery(tmp_path) == gallery


def test_an_interrupted_generation_resumes_and_keeps_existing_samples(tmp_path):
    class Killed(PlainPolicy):
        def sample(self, *args, **kwargs):
            if self.drawn >= 2:
                raise KeyboardInterrupt
            return super().sample(*args, **kwargs)

    with pytest.raises(KeyboardInterrupt):
        generate(Killed(), PROMPTS, SEEDS, tmp_path, batch_size=2)
    policy = PlainPolicy()
    gallery = generate(policy, PROMPTS, SEEDS, tmp_path, batch_size=2)
    assert policy.drawn == 4 and len(gallery.samples) == 6
    assert not list(tmp_path.glob(".*"))


def test_another_model_or_setting_may_not_fill_the_same_folder(tmp_path):
    generate(PlainPolicy(), PROMPTS, SEEDS, tmp_path, steps=5)
    with pytest.raises(RunError, match="other settings"):
        generate(PlainPolicy(), PROMPTS, SEEDS, tmp_path, steps=6)
    with pytest.raises(RunError, match="other weights"):
        generate(PlainPolicy(shift=41), PROMPTS, SEEDS, tmp_path, steps=5)


def test_empty_prompts_and_samples_that_are_not_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least one"):
        generate(PlainPolicy(), [], SEEDS, tmp_path)
    policy = PlainPolicy()
    policy.sample = lambda prompts, seeds, **_: ["text"] * len(prompts)
    with pytest.raises(UserError, match="str"):
        generate(policy, PROMPTS, SEEDS, tmp_path / "other")


def test_a_redder_model_wins_every_comparison_on_redness(tmp_path):
    scorers = {
        "trained": (Redness(), "trained-on"),
        "held": (RedHit(), "held-out"),
        "against": (Redness(-1), "held-out"),
    }
    result = compare(PlainPolicy(), PROMPTS, SEEDS, scorers, folder=tmp_path, steps=2)
    assert [j.name for j in result.judgements] == ["held", "against", "trained"]
    assert [j.win.rate for j in result.judgements] == [1, 0, 1]
    held = result.held_out()[0]
    assert (held.base_hits.rate, held.aligned_hits.rate) == (0, 1)
    assert all(row["hits"] == {"held": [False, True]} for row in result.rows)
    assert held.base_mean == pytest.approx(100 / 255) and held.aligned_mean == pytest.approx(140 / 255)
    assert result.prompts == 3 and result.seeds == 2 and result.unpaired == 0
    assert result.diversity.change == pytest.approx(0) and result.diversity.space == "pixels"


def test_a_loaded_comparison_equals_the_saved_one(tmp_path):
    scorers = {"held": (RedHit(nan_at=(1,)), "held-out")}
    result = compare(PlainPolicy(), PROMPTS, SEEDS, scorers, folder=tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / "moved")
    again = Comparison.load(tmp_path / "moved" / "comparison.json")
    assert again.judgements == result.judgements and again.diversity == result.diversity
    assert str(tmp_path) not in (tmp_path / "moved" / "comparison.json").read_text()
    assert Image.open(again.rows[0]["aligned"]).size == (16, 16)
    assert result.judgements[0].win.excluded == 1


def test_an_untouched_model_ties_everywhere(tmp_path):
    result = compare(PlainPolicy(shift=0), PROMPTS, SEEDS, {"held": (Redness(), "held-out")}, folder=tmp_path)
    win = result.judgements[0].win
    assert win.ties == 6 and win.rate == 0.5 and win.p_value == 1 and win.low < 0.5 < win.high


def test_a_scorer_that_cannot_judge_a_prompt_fails_before_anything_is_generated(tmp_path):
    class Picky(Redness):
        def check_prompts(self, prompts):
            raise DataError("no class in the prompt")

    policy = PlainPolicy()
    with pytest.raises(DataError):
        compare(policy, PROMPTS, SEEDS, {"picky": (Picky(), "held-out")}, folder=tmp_path)
    with pytest.raises(UserError, match="held-out"):
        compare(policy, PROMPTS, SEEDS, {"odd": (Redness(), "heldout")}, folder=tmp_path)
    assert not policy.calls


def test_folders_of_other_programs_are_paired_by_prompt_and_position(tmp_path):
    for side, red in (("a", 10), ("b", 200)):
        (tmp_path / side).mkdir()
        names = ["0.png", "1.png"] + (["2.png"] if side == "b" else [])
        for name in names:
            Image.new("RGB", (8, 8), (red, 0, 0)).save(tmp_path / side / name)
        lines = [json.dumps({"file_name": name, "text": "same"}) for name in names]
        (tmp_path / side / "metadata.jsonl").write_text("\n".join(lines))
    result = compare_galleries(tmp_path / "a", tmp_path / "b", {"red": (Redness(), "held-out")})
    assert result.judgements[0].win.wins == 2 and result.unpaired == 1


@pytest.mark.parametrize("line", ["{", '{"prompt": "x"}', "[]", '{"file_name": "gone.png", "prompt": "x"}'])
def test_a_bad_line_of_metadata_is_named(tmp_path, line):
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(DataError, match="line 1"):
        read_gallery(tmp_path)


def test_folders_without_a_common_prompt_are_refused(tmp_path):
    generate(PlainPolicy(), ["one"], [1], tmp_path / "a")
    generate(PlainPolicy(), ["two"], [1], tmp_path / "b")
    with pytest.raises(DataError, match="share no prompt"):
        compare_galleries(tmp_path / "a", tmp_path / "b", {})


def test_diversity_is_zero_for_copies_and_falls_when_images_become_alike():
    rng = np.random.default_rng(0)
    varied = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(4)]
    result = compare_diversity(varied, [varied[0]] * 4, ["a", "a", "b", "b"])
    assert result.base > 0.2 and result.aligned == 0 and result.change == -1 and result.prompts == 2


def test_diversity_of_black_and_white_is_one_and_of_single_images_unknown():
    black, white = Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9), (255, 255, 255))
    result = compare_diversity([black, white], [white, white], ["a", "a"])
    assert result.base == 1 and result.aligned == 0
    assert math.isnan(compare_diversity([black], [white], ["a"]).base)


def test_diversity_in_an_encoders_space_is_one_minus_the_cosine():
    class Encoder:
        name = "encoder"

        def image_features(self, images):
            return np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])

    result = compare_diversity([0, 1, 2], [0, 1, 2], ["a"] * 3, choose_space([object(), Encoder()], PIXELS))
    assert result.base == pytest.approx(2 / 3) and result.space == "encoder"


def test_a_stride_gives_each_prompt_its_own_noises(tmp_path):
    gallery = generate(PlainPolicy(), PROMPTS, [3, 4], tmp_path, stride=2)
    assert [sample.seed for sample in gallery.samples] == [3, 4, 5, 6, 7, 8]
