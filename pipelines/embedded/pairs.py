"""Writes the prompt lists and the preference pairs of the embedded model.

    python -m pipelines.embedded.pairs prompts --assets assets/emoji
    python -m pipelines.embedded.pairs pairs --assets assets/emoji --work build/embedded [--latents]

Prompts for measurements have held-out combinations; prompts of the pairs have training combinations. Each prompt is
drawn several times. An image that shows the stated count, background and place (read from the pixels) is paired with
one that does not; the judge sees to it that both show the subject: among the right and among the wrong images, those
that it likes best come first. Images are kept in the work folder, so an interrupted command resumes.

`--latents` also writes the latents of the pairs' images to `latents.safetensors`, for `data.latents` of a recipe.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diffalign.data.storage.kept_latents import LATENTS, LatentSpace, write_latents
from diffalign.files.json_lines import intact_values, text_lines, write_json_lines
from diffalign.policies.diffusion.families.autoencoder_kl import AutoencoderKLCodec
from diffalign.policies.module_utils import weights_digest
from pipelines.embedded import measure, scenes, training_utils

FIRST_SEED = 1_000_000
CARD = """---
license: apache-2.0
task_categories: [text-to-image]
tags: [preference, emoji, synthetic]
configs:
  - config_name: default
    data_files:
      - split: train
        path: train/**
---
# Preference pairs of the embedded emoji model

{count} pairs for {prompts} prompts of the training combinations. Both images of a pair were drawn by the embedded
model for the same prompt ({steps} steps, guidance {guidance}, bfloat16). The chosen one shows the stated count,
background and place, as far as the pixels tell; the rejected one does not. The judge in `../scorers/judge` gives the
rejected one at most {slack} more of cosine similarity. `chosen_score` and `rejected_score` are the
judge's cosine similarity minus the number of wrong facts, `seed_chosen` and `seed_rejected` the seeds of the images'
noise. There are no human labels.
"""


def unique_prompts(count: int, seed: int, make, taken: set[str]) -> list[str]:
    """Returns `count` different prompts that are not in `taken`, and adds them to it."""
    rng, prompts = np.random.default_rng(seed), []
    while len(prompts) < count:
        prompt = make(rng).prompt
        if prompt not in taken:
            taken.add(prompt)
            prompts.append(prompt)
    return prompts


def held_out_prompt(rng: np.random.Generator) -> scenes.Scene:
    """Returns a prompt with a held-out combination; style and place may be omitted."""
    scene = scenes.draw(rng, holdout=True)
    return scenes.replace(scenes.unsay(scene, rng), background=scene.background)


def placed(rng: np.random.Generator) -> scenes.Scene:
    """Returns a prompt that says its place, unless three objects fill the image."""
    scene = scenes.draw(rng)
    return scenes.replace(scenes.unsay(scene, rng), place=scene.place)


def held_out_and_placed(rng: np.random.Generator) -> scenes.Scene:
    """Returns a prompt for one object with a held-out combination that says its place."""
    while (scene := scenes.draw(rng, holdout=True)).count != 1:
        pass
    return scenes.replace(scenes.unsay(scene, rng), background=scene.background, place=scene.place)


def unnamed_background(rng: np.random.Generator) -> scenes.Scene:
    """Returns a prompt without a background."""
    return scenes.replace(scenes.unsay(scenes.draw(rng), rng), background=None)


def write_prompts(out: Path, train: int) -> None:
    """Writes ``test``, ``dev``, ``unnamed_background``, ``train`` and ``placed``, disjoint lists of .txt files."""
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    lists = {"test": (300, held_out_prompt), "dev": (200, held_out_prompt),
             "unnamed_background": (200, unnamed_background),
             "train": (train, placed), "placed": (300, held_out_and_placed)}  # fmt: skip
    for seed, (name, (count, make)) in enumerate(lists.items(), start=51):
        (out / f"{name}.txt").write_text("\n".join(unique_prompts(count, seed, make, taken)) + "\n")


PART = 20  # prompts per file of drawn images


def draw_part(
    work: Path, pipe, prompts: list[str], start: int, args: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns images of `PART` prompts from `start` on, ``(n, samples, 64, 64, 3)`` uint8, drawn once and cached, and
    with `--latents` their latents ``(n, samples, C, h, w)`` float16."""
    path = work / f"drawn-{start:04d}-{args.samples}-{args.steps}-{args.guidance}.npz"
    part = prompts[start : start + PART]
    if not path.exists() or (args.latents and "latents" not in np.load(path)):
        seeds = [FIRST_SEED + args.samples * start + i for i in range(len(part) * args.samples)]
        repeated = [prompt for prompt in part for _ in range(args.samples)]
        images, latents = measure.sample_with_latents(pipe, repeated, seeds, args.steps, args.guidance, half=True)
        training_utils.save_arrays(path, images=images, latents=latents)
        print(f"{start + len(part)} of {len(prompts)} prompts", flush=True)
    drawn, shape = np.load(path), (len(part), args.samples)
    latents = drawn["latents"].reshape(*shape, *drawn["latents"].shape[1:]) if args.latents else None
    return drawn["images"].reshape(*shape, 64, 64, 3), latents


def choose(wrong: np.ndarray, scores: np.ndarray, slack: float) -> list[tuple[int, int, int]]:
    """Returns (prompt, chosen, rejected): the k-th best of the right images and the k-th best of the others.

    Args:
        wrong: Number of facts that an image gets wrong, ``(prompts, samples)``.
        scores: The judge's, of the same shape.
        slack: A pair whose rejected image scores higher by more is left out.
    """
    pairs = []
    for prompt, (errors, row) in enumerate(zip(wrong, scores, strict=True)):
        order = [int(i) for i in np.argsort(-row, kind="stable")]
        right, others = ([i for i in order if (errors[i] == 0) == is_right] for is_right in (True, False))
        ranked = zip(right, others, strict=False)
        pairs += [(prompt, best, other) for best, other in ranked if row[best] >= row[other] - slack]
    return pairs


def earlier_images(folder: Path) -> list[Path]:
    """Returns the images of an earlier call, which its metadata name."""
    rows = [row for row in intact_values(folder / "metadata.jsonl") if isinstance(row, dict)]
    names = {Path(row[f"{role}_file_name"]).name for row in rows for role in ("chosen", "rejected")}
    return [folder / "images" / name for name in names]


def space_of(pipe) -> LatentSpace:
    """Returns what decides what a latent of the pipeline is, as training states it."""
    return LatentSpace(weights_digest([pipe.vae]), AutoencoderKLCodec().scale(pipe.vae).identity)


def write_pairs(args: argparse.Namespace) -> None:
    """Draws and scores images, chooses pairs, and writes their folder."""
    prompts = text_lines(args.assets / "prompts" / "train.txt")
    (args.work / "drawn").mkdir(parents=True, exist_ok=True)
    pipe, starts = measure.load_pipeline(args.assets / "model"), range(0, len(prompts), PART)
    parts = [draw_part(args.work / "drawn", pipe, prompts, start, args) for start in starts]
    images = np.concatenate([part[0] for part in parts])
    latents = np.concatenate([part[1] for part in parts]) if args.latents else None
    flat = images.reshape(-1, 64, 64, 3)
    repeated = [prompt for prompt in prompts for _ in range(args.samples)]
    scores = measure.cosines(args.assets / "scorers" / "judge", repeated, flat).reshape(len(prompts), args.samples)
    facts = measure.pixel_facts(flat, [scenes.parse(prompt) for prompt in repeated])
    wrong = np.sum([~right for right in facts.values()], axis=0).reshape(scores.shape)
    chosen = choose(wrong, scores, args.slack)
    folder, rows = args.assets / "pairs" / "train", []
    places: dict[str, tuple[int, int]] = {}  # of the images: prompt and sample
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for stale in earlier_images(folder):
        stale.unlink(missing_ok=True)
    for prompt, *pair in chosen:
        row = {"prompt": prompts[prompt]}
        for name, i in zip(("chosen", "rejected"), pair, strict=True):
            row[f"{name}_file_name"] = f"images/{prompt:04d}-{i}.png"
            places[row[f"{name}_file_name"]] = prompt, i
            row[f"{name}_score"] = round(float(scores[prompt, i]) - int(wrong[prompt, i]), 4)
            row[f"seed_{name}"] = FIRST_SEED + args.samples * prompt + i
            Image.fromarray(images[prompt, i]).save(folder / row[f"{name}_file_name"], optimize=True)
        rows.append(row)
    write_json_lines(folder / "metadata.jsonl", rows)
    (folder / LATENTS).unlink(missing_ok=True)  # of the images of an earlier call
    if latents is not None:
        kept = {name: torch.from_numpy(latents[place]) for name, place in places.items()}
        write_latents(folder / LATENTS, kept, space_of(pipe))
    counts = {"count": len(rows), "prompts": len({row["prompt"] for row in rows}), "slack": args.slack}
    (args.assets / "pairs" / "README.md").write_text(CARD.format(steps=args.steps, guidance=args.guidance, **counts))
    print(counts, f"{(wrong == 0).mean():.3f} of the images are right")


def main() -> None:
    """Writes the prompt lists or the pairs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("what", choices=["prompts", "pairs"])
    parser.add_argument("--assets", type=Path, default=Path("assets/emoji"))
    parser.add_argument("--work", type=Path, default=Path("build/embedded"))
    parser.add_argument("--train-prompts", type=int, default=400)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--slack", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=measure.STEPS)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--latents", action="store_true", help="keep the latents of the pairs' images")
    args = parser.parse_args()
    if args.what == "prompts":
        write_prompts(args.assets / "prompts", args.train_prompts)
    else:
        write_pairs(args)


if __name__ == "__main__":
    main()
