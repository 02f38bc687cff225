"""Scorers with a head on CLIP: aesthetic predictors and CLIP-IQA, each against a plain recomputation on the CLIPModel
of transformers; and sizes of JPEG files against PIL.
"""

import io

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diffalign.errors import UserError
from diffalign.evaluation.scoring.decode_once import decode
from diffalign.scorers import load_scorer
from diffalign.scorers.images.image_input import load_preprocessing
from tests.scorers import tiny
from tests.scorers.images import odd_images

IMAGES = [odd_images.noise(56, 40, 1), odd_images.noise(32, 90, 2), odd_images.noise(32, 32, 3)]
PROMPTS = [""] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.aesthetic(tmp_path_factory.mktemp("aesthetic"))


def features(folder, texts=()):
    """Embeddings of unit length of images and texts, by transformers."""
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(list(texts) or ["a"], padding=True, return_tensors="pt")
    with torch.no_grad():
        pixels = load_preprocessing(str(folder))(IMAGES)
        out = model(tokens["input_ids"], pixel_values=pixels, attention_mask=tokens["attention_mask"])
    return out.image_embeds, out.text_embeds


def test_version_2_is_five_linear_layers_on_the_embedding_of_unit_length(folder):
    x = features(folder / "clip")[0]
    state = torch.load(folder / "aesthetic-model.pth", weights_only=True)
    for n in (0, 2, 4, 6, 7):
        x = x @ state[f"layers.{n}.weight"].T + state[f"layers.{n}.bias"]
    scores = load_scorer(f"aesthetic:{folder}").score(PROMPTS, IMAGES)
    torch.testing.assert_close(scores, x[:, 0], atol=1e-4, rtol=0)
    assert scores.std() > 0.01


def test_version_1_is_one_linear_layer(folder):
    state = torch.load(folder / "sa_0_4_vit_l_14_linear.pth", weights_only=True)
    expected = features(folder / "clip")[0] @ state["weight"][0] + state["bias"]
    for source in (folder, folder / "sa_0_4_vit_l_14_linear.pth"):
        scores = load_scorer(f"aesthetic:v1:{source}").score(PROMPTS, IMAGES)
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_the_encoder_beside_the_head_may_be_open_clip_s(folder, tmp_path):
    (tmp_path / "clip").mkdir()
    tiny.open_clip_folder(tmp_path / "clip")
    save_file(torch.load(folder / "aesthetic-model.pth", weights_only=True), tmp_path / "head.safetensors")
    scorer = load_scorer(f"aesthetic:{tmp_path}/head.safetensors")
    x = load_scorer(f"clip:open_clip:{tmp_path}/clip").image_features(IMAGES)
    torch.testing.assert_close(scorer.score(PROMPTS, IMAGES), scorer.head(x)[:, 0])


def test_its_hash_follows_head_and_encoder(folder):
    first, second = load_scorer(f"aesthetic:{folder}"), load_scorer(f"aesthetic:v1:{folder}")
    assert first.weights != second.weights and first.weights == load_scorer(f"aesthetic:{folder}").weights
    next(first.encoder.model.parameters()).data += 1
    del first.weights
    assert first.weights != load_scorer(f"aesthetic:{folder}").weights


@pytest.mark.parametrize(
    "state, words",
    [
        ({"layers.0.weight": torch.zeros(1, 5), "layers.0.bias": torch.zeros(1)}, "does not fit"),
        ({"layers.0.weight": torch.zeros(1, 8)}, "1 missing .first 0.bias"),
        ({"layers.0.weight": torch.zeros(2, 8), "layers.0.bias": torch.zeros(2)}, "ends in one number"),
        ({"mean": torch.zeros(1)}, "no stack of linear layers"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(folder, tmp_path, state, words):
    (tmp_path / "clip").symlink_to(folder / "clip")
    torch.save(state, tmp_path / "aesthetic-model.pth")
    with pytest.raises(UserError, match=words):
        load_scorer(f"aesthetic:{tmp_path}")


def test_version_1_without_its_file_says_where_it_is():
    with pytest.raises(UserError, match="sa_0_4_vit_l_14_linear.pth of LAION-AI"):
        load_scorer("aesthetic:v1")


@pytest.mark.parametrize(
    "quality, pair",
    [
        ("quality", ("Good photo.", "Bad photo.")),
        ("sharpness", ("Sharp photo.", "Blurry photo.")),
        ("a red fox/a blue fox", ("a red fox", "a blue fox")),
    ],
)
def test_clip_iqa_is_the_softmax_of_two_cosines_times_100(folder, quality, pair):
    images, texts = features(folder / "clip", pair)
    scorer = load_scorer(f"clip_iqa:{quality}:{folder / 'clip'}")
    scores = scorer.score(PROMPTS, IMAGES)
    expected = (100 * images @ texts.T).softmax(-1)[:, 0]
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    assert scorer.name == f"clip_iqa:{quality}:{folder / 'clip'}" and scorer.unit == "probability"


def test_an_unknown_property_names_those_there_are():
    with pytest.raises(UserError, match="Did you mean 'brightness'.*sharpness"):
        load_scorer("clip_iqa:brightnes")


def test_a_jpeg_is_as_large_as_pil_writes_it():
    sizes = []
    for image in IMAGES:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=95)
        sizes.append(len(buffer.getvalue()) / 1000)
    torch.testing.assert_close(load_scorer("jpeg_incompressibility").score(PROMPTS, IMAGES), torch.tensor(sizes))
    torch.testing.assert_close(load_scorer("jpeg_compressibility").score(PROMPTS, IMAGES), -torch.tensor(sizes))


def test_the_comment_of_a_file_does_not_count_as_detail(tmp_path):
    IMAGES[0].convert("RGB").save(tmp_path / "a.jpg", comment=b"made by hand " * 50)
    file, decoded = tmp_path / "a.jpg", decode(tmp_path / "a.jpg", "image")
    scores = load_scorer("jpeg_incompressibility").score(["", ""], [file, decoded])
    assert scores[0] == scores[1]


def test_noise_is_less_compressible_than_one_colour():
    flat = Image.new("RGB", IMAGES[0].size, (9, 120, 60))
    noisy, plain = load_scorer("jpeg_incompressibility").score(["", ""], [IMAGES[0], flat])
    assert noisy > 2 * plain
    with pytest.raises(UserError, match="takes no argument"):
        load_scorer("jpeg_compressibility:95")
