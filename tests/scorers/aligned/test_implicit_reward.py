"""The implicit reward of an aligned policy: beta times its logratio to its base, for texts, images and clips."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import UserError
from diffalign.scorers import load_scorer, scorer_medium
from tests.evaluators.aligned import ADAPTER, tiny_aligned_images, tiny_aligned_texts
from tests.tiny_video import FRAMES, tiny_animatediff

PROMPTS, ANSWERS = ["why?", "and then?", "why?"], ["because of that", "", "nothing"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return tiny_aligned_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return tiny_aligned_images(tmp_path_factory.mktemp("images"))


def pictures(count=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(count)]


@torch.no_grad()
def token_logratio(model, adapter, prompt, answer):
    """By transformers and peft alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), adapter
    ).eval()
    before = f"<|user|>\n{prompt}<|end|>\n<|assistant|>\n"
    head = tokenizer(before, add_special_tokens=False)["input_ids"]
    own = tokenizer(answer + "<|end|>", add_special_tokens=False)["input_ids"]

    def logp():
        logps = network(torch.tensor([head + own])).logits[0].double().log_softmax(-1)
        return sum(logps[len(head) + k - 1, token].item() for k, token in enumerate(own))

    aligned = logp()
    with network.disable_adapter():
        return aligned - logp()


def test_a_text_scores_the_sum_of_its_tokens_logratios(texts):
    model, adapter = texts
    scorer = load_scorer(f"implicit_reward:{adapter}:{model}")
    scores = scorer.score(PROMPTS, ANSWERS)
    expected = token_logratio(model, adapter, "why?", "because of that")
    assert abs(expected) > 1e-3 and scores[0].item() == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert scores[1] == 0.0 and scores.dtype == torch.float32 and scorer.medium == "text"


def test_scores_do_not_depend_on_the_batch(texts, images):
    scorer = load_scorer(f"implicit_reward:{texts[1]}:{texts[0]}")
    alone = torch.cat([scorer.score([p], [a]) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    torch.testing.assert_close(scorer.score(PROMPTS, ANSWERS), alone, rtol=1e-4, atol=1e-5)
    scorer = load_scorer(f"implicit_reward:{images[1]}:{images[0]}")
    alone = torch.cat([scorer.score(["a fox"], [x]) for x in pictures()[::-1]]).flip(0)
    torch.testing.assert_close(scorer.score(["a fox"] * 3, pictures()), alone, rtol=1e-3, atol=1e-4)


def test_an_image_scores_alike_as_image_array_bytes_and_path(images, tmp_path):
    scorer, image = load_scorer(f"implicit_reward:{images[1]}:{images[0]}"), pictures(1)[0]
    image.save(tmp_path / "x.png")
    path = tmp_path / "x.png"
    scores = scorer.score(["a fox"] * 5, [image, np.asarray(image), path.read_bytes(), path, str(path)])
    assert scores.abs().min() > 0
    torch.testing.assert_close(scores, scores[:1].expand(5), rtol=1e-4, atol=1e-5)


def test_a_comparison_is_the_sigmoid_of_the_margin(texts):
    scorer = load_scorer(f"implicit_reward:{texts[1]}:{texts[0]}")
    scores = scorer.score(["why?"] * 2, ["so", "because"])
    torch.testing.assert_close(scorer.compare(["why?"], ["so"], ["because"]), torch.sigmoid(scores[:1] - scores[1:]))


def run_folder(folder, kind, base, result, **changes):
    """A run's recipe and result, as training leaves them."""
    folder.mkdir()
    shape = {"rank": ADAPTER.rank, "alpha": ADAPTER.alpha}
    recipe = {"model": {"kind": kind, "path": base, "adapter": shape, "reference": "stored", **changes}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "result").symlink_to(result if kind == "text" else result.rpartition("/")[0], target_is_directory=True)
    return folder


def test_the_folder_of_a_run_names_base_and_adapter(texts, images, tmp_path):
    for kind, (model, adapter), samples in (("text", texts, ["so"]), ("image", images, pictures(1))):
        run = run_folder(tmp_path / kind, kind, model, adapter)
        assert scorer_medium(f"implicit_reward:{run}") == kind
        scorer, direct = load_scorer(f"implicit_reward:{run}"), load_scorer(f"implicit_reward:{adapter}:{model}")
        assert scorer.medium == kind and scorer.policy.reference_kind == "adapter_off"
        assert torch.equal(scorer.score(["why?"], samples), direct.score(["why?"], samples))
        assert not (tmp_path / "cache").exists()


def test_clips_are_scored_through_their_run(tmp_path):
    from diffalign.policies.diffusion.load import VideoModelConfig, load_policy

    model = str(tiny_animatediff(tmp_path / "model"))
    settings = {"clip": {"frames": FRAMES}, "adapter": {"rank": 2, "alpha": 2, "targets": "motion"}}
    policy = load_policy(VideoModelConfig.model_validate({"path": model, "cache": tmp_path / "c", **settings}), "cpu")
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.05
    adapter = str(policy.save(tmp_path / "adapter", {"beta": 3.0}))
    run = run_folder(tmp_path / "run", "video", model, adapter, **settings)
    scorer = load_scorer(f"implicit_reward:{run}")
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 40, 40, 3), dtype=np.uint8)
    scores = scorer.score(["a fox"] * 2, [Clip(frames, 8.0), Clip(frames[::-1].copy(), 8.0)])
    assert scorer.medium == "video" and scorer.beta == 3.0 and scores.isfinite().all() and scores.abs().min() > 0
    with pytest.raises(UserError, match="adapter of a model of clips. Give the folder of its run"):
        load_scorer(f"implicit_reward:{adapter}")


def test_beta_is_the_adapters(texts, tmp_path):
    import shutil

    shutil.copytree(texts[1], tmp_path / "a")
    about = json.loads((tmp_path / "a" / "diffalign.json").read_text())
    (tmp_path / "a" / "diffalign.json").write_text(json.dumps({**about, "beta": 0.1}))
    small, one = (load_scorer(f"implicit_reward:{a}:{texts[0]}") for a in (tmp_path / "a", texts[1]))
    torch.testing.assert_close(small.score(["why?"], ["so"]), 0.1 * one.score(["why?"], ["so"]))
    assert small.weights != one.weights


def test_conversations_score_as_their_texts(texts):
    scorer = load_scorer(f"implicit_reward:{texts[1]}:{texts[0]}")
    prompt = Conversation((Message("user", "why?"),))
    answer = Conversation((Message("assistant", "so"),))
    torch.testing.assert_close(scorer.score([prompt], [answer]), scorer.score(["why?"], ["so"]))


def test_what_cannot_be_found_is_said(texts, tmp_path):
    for argument, message in (
        ("", "needs the folder of a run or an adapter"),
        ("/nowhere", "no run and no adapter '/nowhere'"),
        (texts[1], "was trained on 'llm', which is not here. Write implicit_reward:ADAPTER:BASE"),
    ):
        with pytest.raises(UserError, match=message):
            load_scorer(f"implicit_reward:{argument}" if argument else "implicit_reward")
    run = run_folder(tmp_path / "full", "text", *texts, adapter=None)
    with pytest.raises(UserError, match="trained every weight"):
        load_scorer(f"implicit_reward:{run}")
    (tmp_path / "full" / "recipe.yaml").write_text("model: {path: x}")
    with pytest.raises(UserError, match="names no model of a kind"):
        scorer_medium(f"implicit_reward:{run}")
