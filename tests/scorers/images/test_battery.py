"""What every scorer of images promises, checked for every row of the table on tiny random models."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffalign.errors import DataError, UserError
from diffalign.scorers import SCORERS, load_scorer
from diffalign.scorers.registry import BUILT_IN
from diffalign.scorers.scorer import SupportsHits, SupportsImageFeatures, SupportsPromptCheck
from tests.scorers import laws, tiny, tiny_vision_language, tiny_vqa

IMAGES = [name for name, row in SCORERS.items() if row.medium == "image" and name in BUILT_IN]
ABILITIES = {
    SupportsPromptCheck: {"label_hit", "background", "ocr", "hpsv3"},
    SupportsHits: {"label_hit"},
    SupportsImageFeatures: {"clip", "pickscore", "hpsv2", "hpsv2.1", "clip_iqa"},
}
PROMPTS = [
    'a "fox" on a red background',
    '"two" foxes on a green background',
    'a "fox" on a red background',
    'a "pineapple" on a blue background',
]
"""Each names a class, a colour and a text in quotes."""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    dual = tiny.dual_encoder(tmp_path_factory.mktemp("dual"))
    labels = tiny.classifier(tmp_path_factory.mktemp("labels"))
    heads = tiny.aesthetic(tmp_path_factory.mktemp("aesthetic"))
    mine = tmp_path_factory.mktemp("mine") / "mine.py"
    mine.write_text(
        "import numpy as np\n\ndef redness(prompts, images):\n    return [np.asarray(image)[..., 0].mean() for image in"
        " images]\n\ndef read(image):\n    return f'a fox {np.asarray(image).mean():.0f}'\n"
    )
    hps = tmp_path_factory.mktemp("hps")
    for version in ("HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt"):
        tiny.open_clip_folder(hps, version)
    hpsv3 = tmp_path_factory.mktemp("hpsv3")
    tiny_vision_language.hpsv3(hpsv3)
    return {
        "clip": [dual, f"open_clip:{tiny.open_clip_folder(tmp_path_factory.mktemp('open_clip'))}"],
        "pickscore": [dual],
        "hpsv2": [hps],
        "hpsv2.1": [hps],
        "hpsv3": [hpsv3],
        "image_reward": [tiny.image_reward(tmp_path_factory.mktemp("image_reward"))],
        "aesthetic": [heads, f"v1:{heads}"],
        "clip_iqa": [f"quality:{dual}", f"a red fox/a blue fox:{dual}"],
        "jpeg_compressibility": [""],
        "jpeg_incompressibility": [""],
        "label_hit": [labels],
        "mps": [tiny.mps(tmp_path_factory.mktemp("mps"))],
        "ocr": [f"{mine}:read"],
        "vqa": [tiny_vqa.llava(tmp_path_factory.mktemp("llava")), tiny_vqa.blip2(tmp_path_factory.mktemp("blip2"))],
        "function": [f"{mine}:redness"],
        "background": ["red"],
    }


CASES = [*((name, 0) for name in IMAGES), ("clip", 1), ("aesthetic", 1), ("clip_iqa", 1), ("vqa", 1)]
"""Scorers, and which of their arguments."""


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def scorer(request, arguments):
    name, number = request.param
    argument = arguments[name][number]
    return load_scorer(f"{name}:{argument}" if argument else name)


def images(sizes=((40, 56), (32, 32), (33, 31), (90, 35))):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)).resize((w, h)) for w, h in sizes]


def test_every_row_and_every_argument_has_a_case(arguments):
    assert set(arguments) == set(IMAGES)
    assert {(name, i) for name, cases in arguments.items() for i in range(len(cases))} == set(CASES)


@pytest.mark.parametrize("ability", ABILITIES)
def test_a_scorer_has_the_optional_abilities_of_its_row_and_they_agree_with_its_scores(scorer, ability):
    assert isinstance(scorer, ability) == (scorer.name.partition(":")[0] in ABILITIES[ability])
    if not isinstance(scorer, ability):
        return
    if ability is SupportsPromptCheck:
        scorer.check_prompts(PROMPTS)
        if scorer.name == "background:red":  # its colour is given, so it reads no prompt
            return
        with pytest.raises(DataError):
            scorer.check_prompts([*PROMPTS, "nothing that it knows, nor <|Reward|>"])
    elif ability is SupportsHits:
        scores, hits = scorer.scores_and_hits(PROMPTS, images())
        assert torch.equal(scores, scorer.score(PROMPTS, images())) and hits.shape == (4,) and hits.dtype == torch.bool
    else:
        features = scorer.image_features(images())
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(4))


def test_scores_are_one_float32_per_image_within_the_stated_range(scorer):
    scores = scorer.score(PROMPTS, images())
    assert scores.shape == (4,) and scores.dtype == torch.float32 and scores.device.type == "cpu"
    assert scores.isfinite().all()
    assert (scores >= scorer.range[0]).all() and (scores <= scorer.range[1]).all()


def test_no_images_give_no_scores(scorer):
    assert scorer.score([], []).shape == (0,)


def test_a_batch_scores_as_one_at_a_time(scorer):
    together = scorer.score(PROMPTS, images())
    alone = torch.cat([scorer.score([p], [x]) for p, x in zip(PROMPTS, images(), strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_order_does_not_matter(scorer):
    order = [2, 0, 3, 1]
    samples = images()
    shuffled = scorer.score([PROMPTS[i] for i in order], [samples[i] for i in order])
    torch.testing.assert_close(shuffled, scorer.score(PROMPTS, samples)[order], rtol=1e-5, atol=1e-5)


def test_scores_are_deterministic(scorer):
    assert torch.equal(scorer.score(PROMPTS, images()), scorer.score(PROMPTS, images()))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1"])
def test_any_mode_scores_as_its_rgb(scorer, mode):
    sample = images()[0].convert(mode)
    torch.testing.assert_close(scorer.score(PROMPTS[:1], [sample]), scorer.score(PROMPTS[:1], [sample.convert("RGB")]))


def test_paths_bytes_and_arrays_score_as_the_image(scorer, tmp_path):
    image = images()[0]
    image.save(tmp_path / "x.png")
    same = [image, tmp_path / "x.png", (tmp_path / "x.png").read_bytes(), np.asarray(image)]
    scores = scorer.score(PROMPTS[:1] * 4, same)
    torch.testing.assert_close(scores, scores[:1].expand(4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2), (200, 7)])
def test_odd_sizes_are_scored(scorer, size):
    assert scorer.score(PROMPTS[:1], [Image.new("RGB", size, (200, 30, 40))]).isfinite().all()


def test_both_orders_of_a_comparison_sum_to_one_and_the_higher_score_wins(scorer):
    laws.both_orders_sum_to_one_and_the_higher_score_wins(scorer, PROMPTS, images(), images()[::-1])


def test_name_unit_and_range_are_stated(scorer):
    laws.name_unit_and_range_are_stated(scorer, "image")


def test_a_bad_image_is_named(scorer, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        scorer.score(PROMPTS[:2], [images()[0], tmp_path / "broken.png"])


def test_one_prompt_for_two_images_is_refused(scorer):
    with pytest.raises(UserError, match="one prompt for each sample"):
        scorer.score(PROMPTS[:1], images()[:2])
