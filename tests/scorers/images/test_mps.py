"""MPS against a plain recomputation from the same random weights under the published names: CLIP by transformers, the
layers after it one head and one image at a time.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from diffalign.errors import UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.images.mps import CONDITIONS
from tests.scorers import tiny
from tests.scorers.images import odd_images

PROMPTS = ["a fox on a red background", "two foxes", "red apple"]
IMAGES = [odd_images.noise(57, 41, 1), odd_images.noise(33, 90, 2), odd_images.noise(32, 32, 3)]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tiny.mps(tmp_path_factory.mktemp("mps"))


def norm(x, weight):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def gated(x):
    values, gate = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return gate * torch.sigmoid(gate) * values


def attention(queries, key, value, mask):
    heads = [(q @ key.T / math.sqrt(64) + mask).softmax(-1) @ value for q in queries.split(64, dim=-1)]
    return torch.cat(heads, -1)


def turned(x):
    """Each pair of channels (c, c + 32) of the token at position p, as a complex number times exp(i p w_c)."""
    angle = torch.arange(len(x))[:, None] / 10000 ** (torch.arange(32) / 32)
    whole = torch.complex(x[:, :32], x[:, 32:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([whole.real, whole.imag], -1)


def logit(state, clip, pixels, tokens, condition):
    def words(ids):
        output = clip.text_model(input_ids=ids[None])
        return clip.text_projection(output.last_hidden_state)[0], clip.text_projection(output.pooler_output)[0]

    (text, end), (wanted, _) = words(tokens), words(condition)
    close = (text @ wanted.T).max(-1).values
    mask = torch.where(close / close.max() > 0.3, 0.0, -torch.inf)
    x = clip.visual_projection(clip.vision_model(pixel_values=pixels[None]).last_hidden_state)[0]
    for n in range(2):
        p = f"cross_model.layers.{n}.0.fn."
        h = norm(x, state[f"{p}norm.weight"])
        key, value = (text @ state[f"{p}to_kv.weight"].T).split(64, dim=-1)
        out = attention(h @ state[f"{p}to_q.weight"].T, key, value, mask) @ state[f"{p}to_out.weight"].T
        x = x + out + gated(h @ state[f"{p}ff.0.weight"].T) @ state[f"{p}ff.2.weight"].T
        p = f"cross_model.layers.{n}.1.fn."
        h = norm(x, state[f"{p}norm.weight"]) @ state[f"{p}fused_attn_ff_proj.weight"].T
        query, key, value, inner = h.split([128, 64, 64, h.shape[-1] - 256], dim=-1)
        query = torch.cat([turned(q) for q in query.split(64, dim=-1)], -1)
        out = attention(query, turned(key), value, torch.zeros(len(x))) @ state[f"{p}attn_out.weight"].T
        x = x + out + gated(inner) @ state[f"{p}ff_out.1.weight"].T
    return clip.logit_scale.exp() * F.cosine_similarity(x[0], end, dim=0), mask


@pytest.mark.parametrize("condition", ["overall", "semantic"])
def test_scores_are_those_of_the_published_architecture(file, condition):
    from transformers import AutoConfig, AutoTokenizer, CLIPModel

    state = torch.load(file, weights_only=True)
    clip = CLIPModel(AutoConfig.from_pretrained(file.parent / "clip")).eval()
    clip.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    words = AutoTokenizer.from_pretrained(file.parent / "clip")
    scorer = load_scorer(f"mps:{condition}:{file}")
    texts = [*PROMPTS, CONDITIONS[condition]]
    tokens = words(texts, padding="max_length", truncation=True, max_length=12, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found = [
            logit(state, clip, pixels, row, tokens[3])
            for pixels, row in zip(scorer.preprocess(IMAGES), tokens[:3], strict=True)
        ]
    expected = torch.stack([value for value, _ in found])
    torch.testing.assert_close(scorer.score(PROMPTS, IMAGES), expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.01
    assert any(mask.isinf().any() for _, mask in found), "no word is left out, so the threshold is not tried"


def test_a_state_without_the_buffers_and_in_safetensors_scores_alike(file, tmp_path):
    from safetensors.torch import save_file

    state = {k: v for k, v in torch.load(file, weights_only=True).items() if not k.endswith("inv_freq")}
    save_file(state, tmp_path / "mps.safetensors")
    (tmp_path / "clip").symlink_to(file.parent / "clip")
    scores = load_scorer(f"mps:{tmp_path}/mps.safetensors").score(PROMPTS, IMAGES)
    assert torch.equal(scores, load_scorer(f"mps:{file}").score(PROMPTS, IMAGES))


@pytest.mark.parametrize(
    "argument, words",
    [
        ("", "needs a file of its weights"),
        ("/nowhere.pth", "got '/nowhere.pth'"),
        ("ovreall:x", "Did you mean 'overall'"),
    ],
)
def test_what_is_missing_is_said(argument, words):
    with pytest.raises(UserError, match=words):
        load_scorer(f"mps:{argument}")


def test_the_published_pickle_is_refused_and_so_is_another_state(file, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "MPS_overall_checkpoint.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        load_scorer(f"mps:{tmp_path}/MPS_overall_checkpoint.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="holds no layers of MPS"):
        load_scorer(f"mps:{tmp_path}/other.pth")
