"""ImageReward against a plain recomputation of its published architecture, from the same random weights under the
published names: a pre-norm vision transformer, a BERT whose layers attend to the image, and a stack of linear layers.
"""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from diffalign.errors import UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.images.image_reward import MEAN, STD
from tests.scorers import tiny
from tests.scorers.images import odd_images

PROMPTS = ["a fox on a red background", "two foxes", "apple " * 60]
IMAGES = [odd_images.noise(57, 41, 1), odd_images.noise(33, 90, 2), odd_images.noise(32, 32, 3)]


def attend(state, name, queries, values, heads, mask=None, split=("query", "key", "value")):
    q, k, v = (
        F.linear(x, state[f"{name}{part}.weight"], state[f"{name}{part}.bias"])
        .unflatten(-1, (heads, -1))
        .transpose(1, 2)
        for x, part in zip((queries, values, values), split, strict=True)
    )
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None] == 0, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def vision(state, pixels, heads):
    p = "blip.visual_encoder."
    norm = lambda x, n: F.layer_norm(x, x.shape[-1:], state[f"{p}{n}.weight"], state[f"{p}{n}.bias"], 1e-6)  # noqa: E731
    linear = lambda x, n: F.linear(x, state[f"{p}{n}.weight"], state[f"{p}{n}.bias"])  # noqa: E731
    patch = state[f"{p}patch_embed.proj.weight"]
    x = F.conv2d(pixels, patch, state[f"{p}patch_embed.proj.bias"], stride=patch.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([state[f"{p}cls_token"].expand(len(x), -1, -1), x], 1) + state[f"{p}pos_embed"]
    for n in range(sum(name.endswith("norm1.weight") for name in state)):
        b = f"blocks.{n}."
        weight, bias = state[f"{p}{b}attn.qkv.weight"].chunk(3), state[f"{p}{b}attn.qkv.bias"].chunk(3)
        parts = {f"{i}.{kind}": value[i] for i in range(3) for kind, value in (("weight", weight), ("bias", bias))}
        h = norm(x, f"{b}norm1")
        x = x + linear(attend(parts, "", h, h, heads, split="012"), f"{b}attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{b}norm2"), f"{b}mlp.fc1")), f"{b}mlp.fc2")
    return norm(x, "norm")


def reward(state, pixels, tokens, mask, heads):
    image, p = vision(state, pixels, 1), "blip.text_encoder."
    norm = lambda x, n: F.layer_norm(x, x.shape[-1:], state[f"{p}{n}.weight"], state[f"{p}{n}.bias"], 1e-12)  # noqa: E731
    linear = lambda x, n: F.linear(x, state[f"{p}{n}.weight"], state[f"{p}{n}.bias"])  # noqa: E731
    words, places = (state[f"{p}embeddings.{kind}_embeddings.weight"] for kind in ("word", "position"))
    x = norm(words[tokens] + places[: tokens.shape[1]], "embeddings.LayerNorm")
    for n in range(sum(name.endswith("intermediate.dense.weight") for name in state)):
        b = f"encoder.layer.{n}."
        for kind, values, seen in (("attention", None, mask), ("crossattention", image, None)):
            h = attend(state, f"{p}{b}{kind}.self.", x, x if values is None else values, heads, seen)
            x = norm(linear(h, f"{b}{kind}.output.dense") + x, f"{b}{kind}.output.LayerNorm")
        h = linear(F.gelu(linear(x, f"{b}intermediate.dense")), f"{b}output.dense")
        x = norm(h + x, f"{b}output.LayerNorm")
    x = x[:, 0]
    for n in (0, 2, 4, 6, 7):
        x = F.linear(x, state[f"mlp.layers.{n}.weight"], state[f"mlp.layers.{n}.bias"])
    return (x[:, 0] - MEAN) / STD


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.image_reward(tmp_path_factory.mktemp("image_reward"))


def test_scores_are_those_of_the_published_architecture(folder):
    scorer = load_scorer(f"image_reward:{folder}")
    state = torch.load(folder / "ImageReward.pt", weights_only=True)
    vocabulary = (folder / "vocab.txt").read_text().split()
    rows = [["[CLS]", *prompt.split()[:33], "[SEP]"] for prompt in PROMPTS]
    tokens = torch.zeros(3, 35, dtype=torch.long)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor([vocabulary.index(word) for word in row])
    mask = torch.tensor([[1] * len(row) + [0] * (35 - len(row)) for row in rows])
    expected = reward(state, scorer.preprocess(IMAGES), tokens, mask, heads=2)
    torch.testing.assert_close(scorer.score(PROMPTS, IMAGES), expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.1  # the scores differ, so that agreement means something


def test_a_file_alone_scores_as_its_folder_and_safetensors_as_pt(folder, tmp_path):
    from safetensors.torch import save_file

    scores = load_scorer(f"image_reward:{folder}").score(PROMPTS, IMAGES)
    assert torch.equal(load_scorer(f"image_reward:{folder}/ImageReward.pt").score(PROMPTS, IMAGES), scores)
    state = torch.load(folder / "ImageReward.pt", weights_only=True)
    save_file(state, tmp_path / "ImageReward.safetensors")
    for name in ("med_config.json", "vocab.txt"):
        (tmp_path / name).write_text((folder / name).read_text())
    assert torch.equal(load_scorer(f"image_reward:{tmp_path}").score(PROMPTS, IMAGES), scores)


def test_it_compares_on_the_scale_of_its_training(folder):
    scorer = load_scorer(f"image_reward:{folder}")
    a, b = (scorer.score(PROMPTS[:1], [image]) for image in IMAGES[:2])
    expected = torch.sigmoid((a - b) * STD)  # of the head's numbers, before they are normalised
    torch.testing.assert_close(scorer.compare(PROMPTS[:1], IMAGES[:1], IMAGES[1:2]), expected)


def test_the_published_sizes_are_those_of_the_published_config():
    from diffalign.scorers.images.image_reward_network import TEXT

    assert TEXT == {"vocab_size": 30524, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}


@pytest.mark.parametrize(
    "fault, words",
    [
        (lambda s: s.pop("blip.text_encoder.embeddings.LayerNorm.bias"), "1 missing .first text.embeddings.LayerNorm"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 left over .first extra"),
        (lambda s: s.update({"mlp.layers.2.weight": torch.zeros(5, 3)}), "no stack of linear layers"),
        (lambda s: s.pop("blip.visual_encoder.pos_embed"), "no vision transformer of BLIP"),
        (lambda s: s["mlp.layers.0.bias"].fill_(torch.inf), "NaN or infinite in 1 of"),
    ],
)
def test_a_file_that_is_not_complete_is_refused_with_counts(folder, tmp_path, fault, words):
    state = torch.load(folder / "ImageReward.pt", weights_only=True)
    fault(state)
    torch.save(state, tmp_path / "ImageReward.pt")
    (tmp_path / "med_config.json").write_text((folder / "med_config.json").read_text())
    with pytest.raises(UserError, match=words):
        load_scorer(f"image_reward:{tmp_path}")


def test_what_is_no_file_of_tensors_is_refused(tmp_path):
    (tmp_path / "ImageReward.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no file of weights"):
        load_scorer(f"image_reward:{tmp_path}")
    torch.save({"state_dict": json.dumps({})}, tmp_path / "ImageReward.pt")
    with pytest.raises(UserError, match="no table of tensors"):
        load_scorer(f"image_reward:{tmp_path}")
    with pytest.raises(UserError, match="holds no ImageReward.pt"):
        load_scorer(f"image_reward:{tmp_path.parent}")
