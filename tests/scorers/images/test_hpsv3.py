"""HPSv3: its numbers are those of a plain forward pass with the same weights, and other files are refused by name."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from diffalign.errors import DataError, UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.images.hpsv3 import HPSv3
from diffalign.scorers.vision_language.instruction import instruction
from tests.scorers import tiny_vision_language as tiny

CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|>{image}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hpsv3")
    return folder, *tiny.hpsv3(folder)


@pytest.fixture(scope="module")
def scorer(made):
    return load_scorer(f"hpsv3:{made[0]}")


def image(width=61, height=43, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def their_pixels(picture):
    """Patches by the image processor of transformers that works with PIL."""
    import transformers

    name = "Qwen2VLImageProcessorPil" if hasattr(transformers, "Qwen2VLImageProcessorPil") else "Qwen2VLImageProcessor"
    return getattr(transformers, name)(min_pixels=200704, max_pixels=200704)(images=[picture], return_tensors="pt")


@torch.no_grad()
def plain(made, scorer, prompt, picture, positions=None):
    """(mu, log sigma) by transformers' own parts, one example at a time."""
    _, model, head = made
    inputs = their_pixels(picture)
    image_tokens = "<|image_pad|>" * (inputs["pixel_values"].shape[0] // 4)
    text = CHAT.format(image=image_tokens, text=instruction("hpsv3", prompt))
    tokens = scorer.network.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    positions = (
        torch.arange(tokens.shape[1]).expand(3, 1, -1) if positions is None else positions(model, tokens, inputs)
    )
    output = model.model(
        input_ids=tokens, position_ids=positions, pixel_values=inputs["pixel_values"],
        image_grid_thw=inputs["image_grid_thw"],
    )  # fmt: skip
    mark = scorer.network.tokenizer.convert_tokens_to_ids("<|Reward|>")
    return head(output.last_hidden_state[0, (tokens[0] == mark).nonzero().item()])


def test_mean_and_spread_are_those_of_a_plain_forward_pass(made, scorer):
    prompts, pictures = ["a fox", "two foxes on a red background"], [image(), image(200, 90, seed=1)]
    expected = torch.stack([plain(made, scorer, *pair) for pair in zip(prompts, pictures, strict=True)])
    found = scorer.mean_and_log_spread(prompts, pictures)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scorer.score(prompts, pictures), expected[:, 0], rtol=1e-4, atol=1e-4)


def test_tokens_are_numbered_in_a_row_and_not_by_row_and_column_of_the_image(made, scorer):
    def by_place(model, tokens, inputs):
        rope = model.model.get_rope_index
        newer = "mm_token_type_ids" in rope.__code__.co_varnames
        types = {"mm_token_type_ids": (tokens == model.config.image_token_id).int()} if newer else {}
        return rope(input_ids=tokens, image_grid_thw=inputs["image_grid_thw"], **types)[0]

    found = scorer.mean_and_log_spread(["a fox"], [image()])[0]
    assert (found - plain(made, scorer, "a fox", image(), by_place)).abs().max() > 1e-3


def test_a_comparison_is_the_sigmoid_of_the_difference_of_the_means(scorer):
    pictures = [image(seed=3), image(seed=4)]
    scores = scorer.score(["a fox"] * 2, pictures)
    found = scorer.compare(["a fox"], pictures[:1], pictures[1:])
    torch.testing.assert_close(found, torch.sigmoid(scores[:1] - scores[1:]))


def test_one_file_scores_as_its_folder(made, scorer, monkeypatch):
    monkeypatch.setattr("diffalign.scorers.images.hpsv3.SETTINGS_OF", str(made[0]))
    alone = load_scorer(f"hpsv3:{made[0] / 'HPSv3.safetensors'}")
    assert torch.equal(alone.score(["a fox"], [image()]), scorer.score(["a fox"], [image()]))
    assert alone.weights == scorer.weights


def test_names_of_todays_transformers_are_read_as_the_published_ones(made, scorer, tmp_path):
    folder, model, head = made
    state = dict(model.state_dict()) | {f"rm_head.{key}": value for key, value in head.state_dict().items()}
    assert "model.language_model.norm.weight" in state
    save_file({key: value.clone() for key, value in state.items()}, tmp_path / "model.safetensors")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert torch.equal(load_scorer(f"hpsv3:{tmp_path}").score(["a"], [image()]), scorer.score(["a"], [image()]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual.merger.mlp.0.bias"), r"1 missing \(visual.merger.mlp.0.bias\)"),
        (lambda state: state.update({"model.layers.9.x": torch.ones(1)}), r"1 left over \(language_model.layers.9.x\)"),
        (lambda state: state.update({"other": torch.ones(1)}), r"1 left over \(other\)"),
        (lambda state: state.update({"model.norm.weight": torch.ones(3)}), r"1 of another shape \(language_model.norm"),
        (lambda state: state.pop("rm_head.3.weight"), r"the head of an HPSv3 \(rm_head\).*1 missing \(3.weight\)"),
        (lambda state: state["rm_head.5.bias"].fill_(torch.nan), "NaN or infinite in 1 of"),
        (lambda state: state["model.norm.weight"].fill_(torch.inf), "NaN or infinite in 1 of"),
    ],
)
def test_files_of_other_tensors_are_refused_by_name(made, tmp_path, change, message):
    state = load_file(made[0] / "HPSv3.safetensors")
    change(state)
    save_file(state, tmp_path / "HPSv3.safetensors")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    with pytest.raises(UserError, match=message):
        load_scorer(f"hpsv3:{tmp_path}")


def test_a_folder_without_weights_says_which_files_are_expected(tmp_path):
    with pytest.raises(UserError, match="HPSv3.safetensors or model.safetensors.index.json or model.safetensors"):
        HPSv3.load(str(tmp_path))


def test_a_file_that_is_no_safetensors_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="x.safetensors cannot be read"):
        HPSv3.load(str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("mark", ["<|Reward|>", "<|image_pad|>", "<|im_end|>"])
def test_a_prompt_with_a_mark_of_the_input_is_refused(scorer, mark):
    with pytest.raises(DataError, match="marks a place in the input of hpsv3"):
        scorer.score([f"a {mark} fox"], [image()])


def test_an_image_that_is_too_narrow_is_refused(scorer):
    with pytest.raises(DataError, match="1 x 300 pixels is too narrow"):
        scorer.score(["a"], [image(1, 300)])
