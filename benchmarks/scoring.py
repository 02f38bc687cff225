"""Compares the scoring of a folder of images with a hand-written loop over the same model, as ratios.

    python -m benchmarks.scoring [--rounds 3] [--images 48] [--side 512]

Two models, float32 on one CPU thread: a random CLIP of 224 px, and the embedded held-out encoder of 64 px, for which
decoding is most of the work. A step is a whole pass: images are opened, prepared and embedded with their prompts; ours
also keeps its progress on disk and writes the table. The scores of both are compared before anything is timed. Then the
same for several scorers in one pass, which decodes once, next to one command after another.

Bars: at least 0.95 of the raw loop's images per second; one pass faster than several.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Measurement, measure_interleaved
from benchmarks.raw_scoring import raw_scores

EMBEDDED = Path(__file__).parents[1] / "assets" / "emoji" / "scorers" / "heldout"
BATCH = 16
SEEDS = 4
PLAIN = ("background:red", "background:blue")
"""Scorers without weights, for the passes with several."""
BAR = 0.95


def main() -> None:
    """Measures, and prints a table of ratios."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="measured passes per variant and round")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--side", type=int, default=512, help="pixels of an image's side")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_images(root / "images", args.images, args.side)
        models = make_models(root)
        for name, model in models.items():
            difference = largest_difference(root / "images", model)
            assert difference < 1e-5, f"the scores of {name} differ by {difference}"
        results = measure_interleaved(variants(root, models), rounds=args.rounds, steps=args.steps)
    print(table(results, list(models), args.images))


def make_images(folder: Path, count: int, side: int) -> None:
    """Writes a folder of smooth random images as PNG with ``metadata.jsonl``, several seeds a prompt."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "prompt": f"a flat drawing of fox number {number // SEEDS}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_models(root: Path) -> dict[str, Path]:
    """Writes a random CLIP and returns the folders of both models by name."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    size = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4}
    text = {
        **size,
        "num_hidden_layers": 2,
        "vocab_size": 800,
        "bos_token_id": 794,
        "eos_token_id": 795,
        "max_position_embeddings": 32,
    }
    vision = {**size, "image_size": 224, "patch_size": 32}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)).save_pretrained(root / "clip")
    for file in EMBEDDED.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, root / "clip")
    values = json.loads((EMBEDDED / "preprocessor_config.json").read_text())
    values |= {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True}
    (root / "clip" / "preprocessor_config.json").write_text(json.dumps(values))
    return {"random CLIP, 224 px": root / "clip", "embedded encoder, 64 px": EMBEDDED}


def variants(root: Path, models: Mapping[str, Path]) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Returns what is measured, by name."""
    images, found = root / "images", dict[str, Callable[[], Callable[[], Any]]]()
    for name, model in models.items():
        found[f"raw, {name}"] = partial(prepare_raw, images, model)
        found[f"diffalign, {name}"] = partial(prepare_passes, images, [[f"clip:{model}"]])
    several = [*(f"clip:{model}" for model in models.values()), *PLAIN]
    found["one pass"] = partial(prepare_passes, images, [several])
    found["one after another"] = partial(prepare_passes, images, [[spec] for spec in several])
    return found


def prepare_raw(images: Path, model: Path) -> Callable[[], list[float]]:
    """Loads a model and returns the hand-written pass."""
    from diffalign.scorers import load_scorer

    scorer: Any = load_scorer(f"clip:{model}")
    return partial(raw_scores, scorer.model, scorer.encoder.tokenizer, model, images, BATCH)


def prepare_passes(images: Path, passes: Sequence[Sequence[str]]) -> Callable[[], list[list[float]]]:
    """Loads scorers and returns passes of diffalign, one after the other; each writes its table and removes it."""
    from diffalign.evaluation.scoring.score_samples import score_samples
    from diffalign.evaluation.scoring.sources import open_samples
    from diffalign.scorers import SCORERS, ScorerEntry, load_scorer

    loaded = {spec: load_scorer(spec) for specs in passes for spec in specs}
    names = {spec: f"loaded{number}" for number, spec in enumerate(loaded)}
    for spec, name in names.items():  # weights are loaded before the clock starts, as in the raw loop
        SCORERS[name] = ScorerEntry(lambda *_, scorer=loaded[spec]: scorer, "nothing", "loaded before")  # type: ignore[misc]

    def score() -> list[list[float]]:
        columns = []
        for specs in passes:
            samples = open_samples(images)
            assert samples is not None
            scores = score_samples(samples, [names[spec] for spec in specs], images / "scores.jsonl", batch=BATCH)
            rows = [json.loads(line) for line in scores.path.read_text().splitlines()]
            columns.append([row["score"] for row in rows])
            scores.path.unlink()
        return columns

    return score


def largest_difference(images: Path, model: Path) -> float:
    """Returns the largest difference of a score between both loops."""
    (ours,) = prepare_passes(images, [[f"clip:{model}"]])()
    return max(abs(a - b) for a, b in zip(ours, prepare_raw(images, model)(), strict=True))


def table(results: Mapping[str, Measurement], models: Sequence[str], images: int) -> str:
    """Returns images per second and the ratios, each with its bar."""
    lines = ["", f"{'':<40} {'images/s':>9} {'ratio':>6}   bar"]
    for name in models:
        raw, ours = results[f"raw, {name}"].step, results[f"diffalign, {name}"].step
        lines.append(f"{name + ', next to a raw loop':<40} {images / ours:9.1f} {raw / ours:6.2f}   >= {BAR}")
    one, several = results["one pass"].step, results["one after another"].step
    title = f"{len(models) + len(PLAIN)} scorers, one pass next to several"
    lines.append(f"{title:<40} {images / one:9.1f} {several / one:6.2f}   > 1")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
