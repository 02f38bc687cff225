"""Faulty models: a folder with a part missing, cut off, exchanged or changed is used, or refused in a sentence."""

import json
import shutil

import pytest
import torch

from diffalign.policies.diffusion.load import ModelConfig
from diffalign.policies.diffusion.load import load_policy as load_image
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_policy as load_text
from diffalign.scorers import load_scorer
from tests.mutations import mutated_folders, mutated_json, try_all
from tests.scorers import tiny
from tests.tiny import tiny_sd
from tests.tiny_text import text_pairs, tiny_llm


def use_image(folder):
    """Opens a pipeline and draws a sample."""
    policy = load_image(ModelConfig(path=str(folder), resolution=16, use_cache=False), "cpu")
    policy.sample(["a fox"], [0], steps=1)


def use_text(folder):
    """Opens a language model and scores a pair."""
    policy = load_text(LanguageConfig(path=str(folder), use_cache=False), "cpu")
    policy.logps(policy.encode(text_pairs(1)), None)


def mutated_settings(folder, names, count, seed):
    """Yields the folder with one of its JSON files changed, in turn, and puts the file back."""
    for number, name in enumerate(names):
        path = folder / name
        content = path.read_bytes()
        for what, changed in mutated_json(json.loads(content), count // len(names), seed + number):
            path.write_bytes(changed)
            yield f"{name}: {what}", folder
        path.write_bytes(content)


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


SETTINGS = ("model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json")
SCHEDULER = "scheduler/scheduler_config.json"


def test_mutated_pipelines(tmp_path, copies):
    folder = tiny_sd(tmp_path / "model")
    use_image(folder)
    try_all("pipelines", use_image, mutated_folders(folder, copies, 20, seed=0)).check()
    settings = mutated_settings(folder, (*SETTINGS, SCHEDULER), 25, seed=0)
    try_all("settings of pipelines", use_image, settings).check()


def test_mutated_language_models(tmp_path, copies):
    folder = tiny_llm(tmp_path / "model")
    use_text(folder)
    try_all("language models", use_text, mutated_folders(folder, copies, 20, seed=0)).check()
    names = ("config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json")
    try_all("settings of language models", use_text, mutated_settings(folder, names, 28, seed=0)).check()


@pytest.mark.parametrize("kind", ["clip", "label_hit", "reward"])
def test_mutated_scorers(tmp_path, copies, kind):
    from PIL import Image

    make = {"clip": tiny.dual_encoder, "label_hit": tiny.classifier, "reward": tiny.reward_model}[kind]
    folder = make(tmp_path / "model")
    candidate = "good" if kind == "reward" else Image.new("RGB", (40, 40))

    def use(folder):
        score = load_scorer(f"{kind}:{folder}").score(["a fox"], [candidate])
        assert isinstance(score, torch.Tensor)

    use(folder)
    try_all(f"scorers {kind}", use, mutated_folders(folder, copies, 20, seed=0)).check()
    names = ("config.json",) if kind == "reward" else ("config.json", "preprocessor_config.json")
    try_all(f"settings of scorers {kind}", use, mutated_settings(folder, names, 12, seed=0)).check()
    shutil.rmtree(folder)
