"""VideoReward: its numbers are those of a plain forward pass with the same weights, at the clip's own rate."""

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.errors import DataError, UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.vision_language.instruction import instruction
from tests.scorers import tiny_vision_language as tiny
from tests.scorers.images.test_hpsv3 import CHAT


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    return folder, *tiny.video_reward(folder)


def clip(frames=8, fps=8.0, seed=0, size=(40, 56)):
    return Clip(np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), dtype=np.uint8), fps)


def patches(frames, sides):
    """The definition of Qwen2-VL's sequence of patches, by loops."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, sides, mode="bicubic", antialias=True, align_corners=False).clamp(0, 255).round()
    x = (x / 255 - mean) / std
    rows = []
    for t in range(0, len(frames), 2):
        for y in range(0, sides[0], 28):
            for left in range(0, sides[1], 28):
                for dy, dx in ((0, 0), (0, 14), (14, 0), (14, 14)):
                    part = x[t : t + 2, :, y + dy : y + dy + 14, left + dx : left + dx + 14]
                    rows.append(part.transpose(0, 1).reshape(-1))  # channel, frame, row, column
    return torch.stack(rows), torch.tensor([[len(frames) // 2, sides[0] // 14, sides[1] // 14]])


@torch.no_grad()
def plain(made, prompt, frames, sides):
    """VQ, MQ and TA by transformers' own parts."""
    folder, model, head = made
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    marks = [f"<|{quality}_reward|>" for quality in ("VQ", "MQ", "TA")]
    tokenizer.add_tokens(marks, special_tokens=True)
    pixels, grid = patches(frames, sides)
    text = CHAT.format(image="<|video_pad|>" * (len(pixels) // 4), text=instruction("video_reward", prompt))
    tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    positions = torch.arange(tokens.shape[1]).expand(3, 1, -1)
    output = model.model(
        input_ids=tokens, position_ids=positions, pixel_values_videos=pixels, video_grid_thw=grid
    ).last_hidden_state[0]
    at = [(tokens[0] == tokenizer.convert_tokens_to_ids(mark)).nonzero().item() for mark in marks]
    raw = (output[at] @ head.T).squeeze(1) if len(head) == 1 else (output[at] @ head.T).diagonal()
    norm = tiny.NORM
    return torch.stack([(raw[i] - norm[f"{q}_mean"]) / norm[f"{q}_std"] for i, q in enumerate(("VQ", "MQ", "TA"))])


def test_the_three_qualities_are_those_of_a_plain_forward_pass(made):
    scorer, sample = load_scorer(f"video_reward:{made[0]}"), clip()
    # 40 x 56 pixels become 280 x 392: at least 100,352 pixels; frames 0, 2, 5 and 7 of 8: two a second, at least four
    expected = plain(made, "two foxes", sample.frames[[0, 2, 5, 7]], (280, 392))
    torch.testing.assert_close(scorer.qualities(["two foxes"], [sample])[0], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scorer.score(["two foxes"], [sample]), expected.sum()[None], rtol=1e-4, atol=1e-4)
    for i, quality in enumerate(("VQ", "mq", "TA")):
        one = load_scorer(f"video_reward:{quality}:{made[0]}")
        torch.testing.assert_close(one.score(["two foxes"], [sample]), expected[i : i + 1], rtol=1e-4, atol=1e-4)


def test_a_head_of_three_rows_is_read_along_its_diagonal(tmp_path):
    three = tmp_path, *tiny.video_reward(tmp_path, rows=3)
    sample = clip()
    expected = plain(three, "a fox", sample.frames[[0, 2, 5, 7]], (280, 392))
    found = load_scorer(f"video_reward:{tmp_path}").qualities(["a fox"], [sample])[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_lora_on_its_base_scores_as_the_whole_model(made, tmp_path):
    tiny.video_reward(tmp_path, layout="adapter")
    whole, adapter = load_scorer(f"video_reward:{made[0]}"), load_scorer(f"video_reward:{tmp_path}")
    torch.testing.assert_close(adapter.qualities(["a fox"], [clip()]), whole.qualities(["a fox"], [clip()]))


def test_without_its_lora_the_scores_are_others(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "x")
    config = json.loads((tmp_path / "x" / "model_config.json").read_text())
    config["peft_lora_config"]["lora_alpha"] = 0
    (tmp_path / "x" / "model_config.json").write_text(json.dumps(config))
    with_lora, without = (
        load_scorer(f"video_reward:{f}").score(["a fox"], [clip()]) for f in (made[0], tmp_path / "x")
    )
    assert (with_lora - without).abs() > 1e-2


def test_the_true_rate_of_a_clip_decides_how_many_frames_are_seen(made, tmp_path):
    scorer = load_scorer(f"video_reward:{made[0]}")
    slow, fast = clip(24, fps=4.0), clip(24, fps=24.0)  # 12 frames and 4 frames of the same 24
    slow_score, fast_score = scorer.score(["a fox"] * 2, [slow, fast])
    assert abs(slow_score - fast_score) > 1e-3
    path = write_clip(tmp_path / "x.webp", slow)
    torch.testing.assert_close(scorer.score(["a fox"], [path]), slow_score[None], rtol=1e-5, atol=1e-5)


def test_a_clip_of_one_frame_is_refused(made):
    with pytest.raises(DataError, match="needs 2 or more"):
        load_scorer(f"video_reward:{made[0]}").score(["a"], [clip(1)])


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("data_config", "prompt_template_type", "simple", "data_config.prompt_template_type = .*'detailed_special'"),
        ("data_config", "num_frames", 16, "data_config.num_frames = .*None"),
        ("model_config", "reward_token", "last", "model_config.reward_token = .*'special'"),
        ("inference_config", "TA_std", "much", "cannot be followed"),
        ("peft_lora_config", "lora_r", 0, "a LoRA of rank"),
    ],
)
def test_a_configuration_that_would_give_other_scores_is_refused(made, tmp_path, part, key, value, message):
    shutil.copytree(made[0], tmp_path / "x")
    config = json.loads((tmp_path / "x" / "model_config.json").read_text())
    config[part] = {**config[part], key: value}
    (tmp_path / "x" / "model_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        load_scorer(f"video_reward:{tmp_path / 'x'}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("base_model.model.visual.merger.mlp.0.bias"), r"1 missing \(visual.merger.mlp.0.bias\)"),
        (lambda s: s.update({"base_model.model.other": torch.ones(1)}), r"1 left over \(other\)"),
        (lambda s: s.pop("base_model.model.rm_head.weight"), r"the head of a VideoReward \(rm_head\)"),
        (
            lambda s: s.pop("base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"),
            "without model.layers.0.self_attn.q_proj.lora_A.weight",
        ),
        (
            lambda s: s.pop("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight"),
            "without model.layers.0.mlp.up_proj.weight",
        ),
        (
            lambda s: s.update({"base_model.model.model.embed_tokens.weight": torch.ones(30, 32)}),
            "do not belong together",
        ),
    ],
)
def test_files_of_other_tensors_are_refused_by_name(made, tmp_path, change, message):
    shutil.copytree(made[0], tmp_path / "x")
    file = tmp_path / "x" / "checkpoint-20" / "model.pth"
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)
    with pytest.raises(UserError, match=message):
        load_scorer(f"video_reward:{tmp_path / 'x'}")


def test_a_file_that_would_run_code_is_refused(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "x")
    torch.save({"a": print}, tmp_path / "x" / "checkpoint-20" / "model.pth")
    with pytest.raises(UserError, match="model.pth is no file of weights"):
        load_scorer(f"video_reward:{tmp_path / 'x'}")


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no VideoReward.*model_config.json"):
        load_scorer(f"video_reward:{tmp_path}")
