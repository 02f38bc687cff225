"""Dual encoders of open_clip and HPSv2 against open_clip itself, with the same random weights, and their files."""

import pytest
import torch
from safetensors.torch import save_file

from diffalign.errors import UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.images.encoders import open_clip_encoder
from diffalign.scorers.images.encoders.open_clip_encoder import OpenClipEncoder
from tests.scorers import tiny
from tests.scorers.images import odd_images
from tests.scorers.images.test_preprocessing import of_hpsv2, of_open_clip

PROMPTS = ["a fox on a red background", "two foxes", "x " * 40]
IMAGES = [odd_images.noise(57, 41, 1), odd_images.noise(33, 90, 2), odd_images.noise(32, 32, 3)]


def cosines(model, prepare):
    """Of open_clip: its tokenizer, its networks, its normalisation."""
    import open_clip

    tokens = open_clip.SimpleTokenizer(context_length=12)(PROMPTS)
    with torch.no_grad():
        images, texts, _ = model(torch.cat([prepare(image) for image in IMAGES]), tokens)
    return (images * texts).sum(-1)


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "model.pt"])
def test_an_open_clip_model_scores_as_open_clip_does(tmp_path, name):
    folder = tiny.open_clip_folder(tmp_path, name)
    expected = cosines(tiny.open_clip_model(), of_open_clip)
    for source in (folder, folder / name):
        scores = load_scorer(f"clip:open_clip:{source}").score(PROMPTS, IMAGES)
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.05  # the scores differ, so that agreement means something


@pytest.mark.parametrize("version, file", [("hpsv2", "HPS_v2_compressed.pt"), ("hpsv2.1", "HPS_v2.1_compressed.pt")])
def test_hpsv2_scores_as_open_clip_with_the_published_letterbox(tmp_path, version, file):
    folder = tiny.open_clip_folder(tmp_path, file)
    expected = cosines(tiny.open_clip_model(), of_hpsv2)
    for source in (folder, folder / file):
        scorer = load_scorer(f"{version}:{source}")
        torch.testing.assert_close(scorer.score(PROMPTS, IMAGES), expected, atol=1e-4, rtol=0)
    assert (expected - cosines(tiny.open_clip_model(), of_open_clip)).abs().max() > 1e-3


def test_hpsv2_compares_on_the_scale_of_its_training(tmp_path):
    scorer = load_scorer(f"hpsv2.1:{tiny.open_clip_folder(tmp_path, 'HPS_v2.1_compressed.pt')}")
    scale = tiny.open_clip_model().logit_scale.exp()
    a, b = scorer.score(PROMPTS[:1], IMAGES[:1]), scorer.score(PROMPTS[:1], IMAGES[1:2])
    expected = torch.stack([a * scale, b * scale]).softmax(0)[0]
    torch.testing.assert_close(scorer.compare(PROMPTS[:1], IMAGES[:1], IMAGES[1:2]), expected, atol=1e-4, rtol=0)


def test_the_tag_decides_whether_openai_s_activation_is_used(tmp_path, monkeypatch):
    import open_clip.pretrained

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", lambda config: tmp_path / "weights")
    assert open_clip_encoder._find("ViT-L-14/openai")[2]["quick_gelu"]
    assert not open_clip_encoder._find("ViT-H-14/laion2b_s32b_b79k")[2].get("quick_gelu")
    folder = tiny.open_clip_folder(tmp_path)
    file, images = folder / "open_clip_model.safetensors", torch.cat([of_open_clip(image) for image in IMAGES])
    for quick in (False, True):
        model = tiny.open_clip_model({**tiny.OPEN_CLIP, "quick_gelu": quick})
        encoder = OpenClipEncoder.from_file(f"local-dir:{folder}", file, settings={"quick_gelu": quick})
        torch.testing.assert_close(encoder.embed_images(images), model.encode_image(images))


def test_an_architecture_takes_a_file(tmp_path, monkeypatch):
    import open_clip

    tiny.open_clip_folder(tmp_path)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.OPEN_CLIP)
    file = tmp_path / "open_clip_model.safetensors"
    scores = load_scorer(f"clip:open_clip:Tiny/{file}").score(PROMPTS, IMAGES)
    torch.testing.assert_close(scores, cosines(tiny.open_clip_model(), of_open_clip), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "fault, words",
    [
        (lambda state: state.pop("visual.proj"), "1 missing .first visual.proj"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 left over .first extra"),
        (lambda state: state.update({"visual.proj": torch.zeros(3, 3)}), "1 tensors of another shape"),
        (lambda state: state["visual.proj"].fill_(float("nan")), "NaN or infinite in 1 of"),
    ],
)
def test_a_file_that_is_not_complete_is_refused_with_counts(tmp_path, fault, words):
    folder = tiny.open_clip_folder(tmp_path)
    state = {key: value.clone() for key, value in tiny.open_clip_model().state_dict().items()}
    fault(state)
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(UserError, match=words):
        load_scorer(f"clip:open_clip:{folder}")


@pytest.mark.parametrize(
    "spec, words",
    [
        ("clip:open_clip:ViT-Q-99/x", "no architecture 'ViT-Q-99'"),
        ("clip:open_clip:ViT-H-14", "names no weights.*laion2b_s32b_b79k"),
        ("clip:open_clip:ViT-H-14/laion", "neither a file nor a tag.*laion2b_s32b_b79k"),
        ("hpsv2:/nowhere/HPS_v2_compressed.pt", "There is no '/nowhere/HPS_v2_compressed.pt'"),
    ],
)
def test_a_wrong_name_says_what_there_is(spec, words):
    with pytest.raises(UserError, match=words):
        load_scorer(spec)


def test_a_file_alone_needs_its_architecture(tmp_path):
    (tmp_path / "alone.pt").write_bytes(b"x")
    with pytest.raises(UserError, match="does not say its architecture.*open_clip:ViT-H-14/"):
        load_scorer(f"clip:open_clip:{tmp_path}/alone.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    folder = tiny.open_clip_folder(tmp_path, "HPS_v2_compressed.pt")
    torch.save({"state_dict": tiny.open_clip_model()}, folder / "HPS_v2_compressed.pt")  # a pickled object
    with pytest.raises(UserError, match="Cannot load hpsv2"):
        load_scorer(f"hpsv2:{folder}")


def test_siglip_scores_as_transformers_with_padded_texts(tmp_path):
    from transformers import AutoTokenizer, SiglipModel

    folder = tiny.siglip(tmp_path)
    tokens = AutoTokenizer.from_pretrained(folder)(
        PROMPTS[:2], padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    )
    scorer = load_scorer(f"clip:{folder}")
    with torch.no_grad():
        pixels = scorer.encoder.preprocess(IMAGES[:2])
        out = SiglipModel.from_pretrained(folder).eval()(input_ids=tokens["input_ids"], pixel_values=pixels)
    expected = (out.image_embeds * out.text_embeds).sum(-1)
    torch.testing.assert_close(scorer.score(PROMPTS[:2], IMAGES[:2]), expected, atol=1e-4, rtol=0)
    assert (expected[0] - expected[1]).abs() > 1e-3
