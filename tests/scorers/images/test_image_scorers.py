"""Single scorers: their formulas, their preprocessing against the processors of transformers, and their errors."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from diffalign.errors import DataError, UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.images.image_input import Preprocessing, as_rgb, load_preprocessing
from diffalign.scorers.scorer import state_hash
from tests.scorers import tiny


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    return tiny.dual_encoder(tmp_path_factory.mktemp("dual"))


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("labels"))


def image(width=57, height=41, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(57, 41), (41, 57), (32, 32), (20, 90), (31, 33)])
def test_clip_preprocessing_equals_that_of_transformers(dual, size):
    import transformers

    # transformers 5 names the processor that needs no torchvision apart
    processor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    theirs = processor.from_pretrained(dual)(image(*size), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(load_preprocessing(str(dual))([image(*size)]), theirs, rtol=1e-5, atol=1e-5)


def test_an_image_smaller_than_the_crop_is_padded_with_black():
    config = dict(tiny.PREPROCESSOR, do_resize=False, do_normalize=False)
    prepared = Preprocessing.from_config(config)([Image.new("RGB", (16, 16), (255, 255, 255))])
    assert prepared.shape == (1, 3, 32, 32)
    assert prepared[..., 8:24, 8:24].min() == 1 and prepared.sum() == 3 * 16 * 16


def test_old_integer_sizes_mean_the_short_side_where_a_crop_follows():
    old = dict(tiny.PREPROCESSOR, size=32, crop_size=32)
    torch.testing.assert_close(
        Preprocessing.from_config(old)([image()]), Preprocessing.from_config(tiny.PREPROCESSOR)([image()])
    )


def test_a_processor_config_with_an_image_processor_inside_is_read(dual, tmp_path):
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": tiny.PREPROCESSOR}))
    assert load_preprocessing(str(tmp_path)) == load_preprocessing(str(dual))


def test_a_folder_without_preprocessing_is_an_error_with_a_fix(tmp_path):
    with pytest.raises(UserError, match="preprocessor_config.json"):
        load_preprocessing(str(tmp_path))


def test_clip_score_equals_the_models_own_cosine(dual):
    from transformers import AutoTokenizer, CLIPModel

    model, prompt = CLIPModel.from_pretrained(dual).eval(), "a fox on a red background"
    tokens = AutoTokenizer.from_pretrained(dual)([prompt], return_tensors="pt")
    with torch.no_grad():
        pixels = load_preprocessing(str(dual))([image()])
        out = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
    cosine = out.logits_per_image[0] / model.logit_scale.exp()
    torch.testing.assert_close(load_scorer(f"clip:{dual}").score([prompt], [image()]), cosine.detach())


def test_pickscore_is_the_logit_that_the_model_prints(dual):
    clip, pick = load_scorer(f"clip:{dual}"), load_scorer(f"pickscore:{dual}")
    scale = pick.model.logit_scale.exp()
    torch.testing.assert_close(pick.score(["a fox"], [image()]), clip.score(["a fox"], [image()]) * scale)
    assert pick.unit == "logit" and clip.unit == "cosine"


def test_a_dual_encoder_prefers_the_image_whose_embedding_is_the_texts(dual):
    """Higher is better: with the text's embedding taken from one image, that image must win."""
    scorer = load_scorer(f"clip:{dual}")
    scorer.text_features = lambda prompts: scorer.image_features([image()] * len(prompts))
    own, other = scorer.score(["x", "x"], [image(), image(seed=5)])
    assert own == pytest.approx(1, abs=1e-5) and own > other


def test_a_vision_text_dual_encoder_is_scored(tmp_path, dual):
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        BertConfig,
        CLIPModel,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
    )

    vision, small = AutoConfig.from_pretrained(dual).vision_config, {"hidden_size": 16, "intermediate_size": 32}
    text = BertConfig(vocab_size=17, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=12, **small)
    both = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=8)
    VisionTextDualEncoderModel(both).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(dual).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(tiny.PREPROCESSOR))
    assert load_scorer(f"clip:{tmp_path}").score(["a fox"], [image()]).shape == (1,)
    assert CLIPModel.from_pretrained(dual) is not None


def test_a_classifier_is_no_dual_encoder(labels):
    with pytest.raises(UserError, match="label_hit|tokenizer"):
        load_scorer(f"clip:{labels}")


@pytest.mark.parametrize(
    "prompt, expected",
    [("a fox", 0), ("two foxes on a blue background", 0), ("an apple", 1), ("a pineapple", 2), ("An ANANAS!", 2),
     ("a pineapple and an apple", 2), ("three pineapples", 2)],
)  # fmt: skip
def test_the_prompt_names_its_class(labels, prompt, expected):
    assert load_scorer(f"label_hit:{labels}").class_of(prompt) == expected


def test_plurals_of_every_kind_are_found():
    from diffalign.scorers.images.label_hit import _patterns

    patterns = dict(_patterns({0: "snowman", 1: "strawberry", 2: "fish", 3: "octopus"}))
    for index, text in enumerate(["three snowmen", "two strawberries", "two fish", "two octopuses"]):
        assert patterns[index].search(text), text


def test_a_prompt_without_a_class_is_refused_before_images_are_made(labels):
    with pytest.raises(DataError, match="names none of the 3 classes"):
        load_scorer(f"label_hit:{labels}").check_prompts(["a snapple"])


def test_label_score_is_the_probability_and_a_hit_is_the_argmax(labels):
    scorer = load_scorer(f"label_hit:{labels}")
    with torch.no_grad():
        scorer.model.classifier.weight.zero_()
        scorer.model.classifier.bias.copy_(torch.tensor([2.0, 1.0, 0.0]))
    expected = torch.tensor([2.0, 1.0]).exp() / torch.tensor([2.0, 1.0, 0.0]).exp().sum()
    scores, hits = scorer.scores_and_hits(["a fox", "an apple"], [image(), image()])
    torch.testing.assert_close(scores, expected)
    assert hits.tolist() == [True, False] == scorer.hits(["a fox", "an apple"], [image()] * 2).tolist()


def test_background_counts_border_pixels():
    image = Image.new("RGB", (64, 64), (196, 30, 48))
    image.paste((36, 84, 204), (0, 0, 32, 64))  # left half blue
    image.paste((255, 255, 255), (10, 10, 54, 54))  # the middle does not matter
    red, blue, asked = load_scorer("background:red"), load_scorer("background:blue"), load_scorer("background:prompt")
    assert red.score(["x"], [image]).item() == pytest.approx(0.5) == blue.score(["x"], [image]).item()
    full = Image.new("RGB", (64, 64), (180, 40, 60))
    assert asked.score(["a fox on a red background", "a blue fox"], [full, full]).tolist() == [1, 0]
    with pytest.raises(DataError, match="names no colour"):
        asked.check_prompts(["a fox"])


@pytest.mark.parametrize(
    "spec, hint",
    [
        ("clop", "'clip'"),
        ("background:rad", "'red'"),
        ("background", "background:red"),
        ("label_hit", "label_hit:FOLDER"),
        ("clip:/nowhere/at/all", "clip:openai"),
    ],
)
def test_a_wrong_name_names_the_next_step(spec, hint):
    with pytest.raises(UserError, match=hint):
        load_scorer(spec)


def test_something_that_is_no_image_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(UserError, match="uint8"):
        as_rgb(np.zeros((3, 8, 8), np.float32))
    with pytest.raises(DataError, match="nothing.png"):
        as_rgb(tmp_path / "nothing.png")
    with pytest.raises(DataError, match="bytes"):
        as_rgb(b"not an image")


def test_transparency_is_laid_on_white_in_memory_and_on_disk(tmp_path):
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    clear.save(tmp_path / "clear.png")
    for image in (clear, tmp_path / "clear.png", np.asarray(clear), str(tmp_path / "clear.png")):
        assert as_rgb(image).getcolors() == [(64, (255, 255, 255))]


def test_the_weight_hash_follows_one_changed_number_and_not_the_order():
    state = {"a": torch.zeros(3), "b": torch.ones(2, dtype=torch.bfloat16)}
    changed = dict(state, a=torch.tensor([0.0, 1e-30, 0.0]))
    assert state_hash(state) == state_hash(dict(reversed(state.items()))) != state_hash(changed)
