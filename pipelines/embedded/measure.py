"""Measures the embedded model on held-out combinations, with 95 % intervals.

    python -m pipelines.embedded.measure --assets assets/emoji
    python -m pipelines.embedded.measure --assets assets/emoji --ceiling --work build/embedded   # on true images

The recogniser classifies subjects; backgrounds, counts and places are read from the pixels. So the judge that made the
pairs has no influence. `--ceiling` grades true images, clean and through the autoencoder, which is the score of a
perfect generator.
"""

import argparse
import math
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from diffalign.evaluation.stats.rates.share import share
from diffalign.files.json_lines import text_lines
from pipelines.embedded import scenes, scorer_images, training_utils

STEPS, GUIDANCE = 15, 2.0  # recommended sampling


def load_pipeline(folder: Path):
    """Loads the generator, without a progress bar."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sample(pipe, prompts: list[str], seeds: list[int], steps: int, guidance: float, half: bool = False) -> np.ndarray:
    """Generates one image for each prompt and seed, ``(N, 64, 64, 3)`` uint8; an image depends on its own seed only.

    `half` computes in bfloat16: nearly twice as fast on a CPU, with no visible difference.
    """
    return sample_with_latents(pipe, prompts, seeds, steps, guidance, half)[0]


def sample_with_latents(
    pipe, prompts: list[str], seeds: list[int], steps: int, guidance: float, half: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Generates as `sample`, and returns the latents too that were decoded, scaled, ``(N, C, h, w)`` float16."""
    images, latents = [], []

    def keep_last(pipe, step, timestep, values):
        if step == pipe.num_timesteps - 1:
            latents.append(values["latents"].half().numpy())
        return values

    for i in range(0, len(prompts), 40):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[i : i + 40]]
        options = {"num_inference_steps": steps, "guidance_scale": guidance, "generator": generators}
        options["callback_on_step_end"] = keep_last
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            drawn = pipe(prompts[i : i + 40], **options).images
        images += [np.asarray(image) for image in drawn]
    return np.stack(images), np.concatenate(latents)


@lru_cache(maxsize=1)
def load_recogniser(folder: Path):
    """Returns the classifier of subjects; a scorer that is called once per side and batch loads it once."""
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(folder).eval()


@torch.no_grad()
def recognise(folder: Path, images: np.ndarray) -> list[str]:
    """Returns the subject of each image, by the recogniser."""
    model = load_recogniser(folder)
    classes = torch.cat([model(part).logits.argmax(-1) for part in training_utils.to_tensor(images).split(64)])
    return [model.config.id2label[int(i)] for i in classes]


def object_boxes(image: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Returns boxes (top, bottom, left, right) of the separate objects on the background, in pixels.

    An object is a connected region unlike the rim's colour, after removing thin bridges and specks.
    """
    from scipy import ndimage

    ground = np.array(scenes.BACKGROUNDS[scenes.nearest_background(image)], np.float32)
    is_foreground = np.abs(image.astype(np.float32) - ground).max(-1) > 45
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(is_foreground))
    regions, _ = ndimage.label(ndimage.binary_opening(filled, iterations=2))
    boxes = []
    for i, (rows, columns) in enumerate(ndimage.find_objects(regions), start=1):
        if (filled[rows, columns] & (regions[rows, columns] == i)).sum() > 70:
            boxes.append((rows.start, rows.stop, columns.start, columns.stop))
    return boxes


def place_of(boxes: list[tuple[int, int, int, int]]) -> str:
    """Returns the place of all objects together: the direction of their common box from the centre, if above 4 px."""
    if not boxes:
        return "nowhere"
    sides = np.array(boxes)
    y = (sides[:, 0].min() + sides[:, 1].max() - scenes.SIDE) / 2
    x = (sides[:, 2].min() + sides[:, 3].max() - scenes.SIDE) / 2
    if max(abs(x), abs(y)) <= 4:
        return "center"
    if abs(x) > abs(y):
        return "left" if x < 0 else "right"
    return "top" if y < 0 else "bottom"


PIXEL_FACTS = ("count", "background", "place")


def pixel_facts(images: np.ndarray, targets: list[scenes.Scene]) -> dict[str, np.ndarray]:
    """Returns per image whether count, background and place are right, read from the pixels; omitted ones are."""
    boxes_of = [object_boxes(image) for image in images]
    backgrounds = [scenes.nearest_background(image) for image in images]
    return {
        "count": np.array([len(boxes) == b.count for boxes, b in zip(boxes_of, targets, strict=True)]),
        "background": np.array([b.background in (None, a) for a, b in zip(backgrounds, targets, strict=True)]),
        "place": np.array([b.place in (None, place_of(boxes)) for boxes, b in zip(boxes_of, targets, strict=True)]),
    }


def subject_fact(images: np.ndarray, targets: list[scenes.Scene], recogniser: Path) -> np.ndarray:
    """Returns per image whether the recogniser sees the subject of its prompt, ``(N,)`` bool."""
    return np.array([a == b.subject for a, b in zip(recognise(recogniser, images), targets, strict=True)])


def grade(images: np.ndarray, targets: list[scenes.Scene], recogniser: Path) -> dict[str, np.ndarray]:
    """Returns per image whether subject, count, background, place, and all four are right; omitted attributes are."""
    right = {"subject": subject_fact(images, targets, recogniser), **pixel_facts(images, targets)}
    right["all four"] = np.logical_and.reduce(list(right.values()))
    return right


def report(title: str, right: dict[str, np.ndarray]) -> None:
    """Prints one line for each measure."""
    print(title)
    for name, hits in right.items():
        hit_share = share(int(hits.sum()), len(hits))
        rates = (100 * value for value in (hit_share.rate, hit_share.low, hit_share.high))
        print("  {:<11}{:5.1f} %  [{:.1f}, {:.1f}]".format(name, *rates), f" n = {hit_share.n}")


@torch.no_grad()
def cosines(folder: Path, prompts: list[str], images: np.ndarray) -> np.ndarray:
    """Returns the cosine similarity of each image to its own prompt, by a dual encoder in `folder`, ``(N,)``."""
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    scores = []
    for i in range(0, len(prompts), 64):
        tokens = tokenizer(prompts[i : i + 64], padding=True, return_tensors="pt")
        out = model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            pixel_values=training_utils.to_tensor(images[i : i + 64]),
        )
        scores.append((out.image_embeds * out.text_embeds).sum(-1).numpy())
    return np.concatenate(scores)


def near_miss_test(folder: Path, images: np.ndarray, shown: list[scenes.Scene], seed: int) -> np.ndarray:
    """Returns whether a judge prefers an image's own prompt to one with a single other attribute, ``(N,)`` bool."""
    rng = np.random.default_rng(seed)
    misses = [scorer_images.near_miss(scene, rng).prompt for scene in shown]
    return cosines(folder, [s.prompt for s in shown], images) > cosines(folder, misses, images)


def ceiling(assets: Path, work: Path, packages: Path | None, n: int) -> None:
    """Grades true images of held-out combinations, clean and reconstructed, and prints the autoencoder's PSNR."""
    from diffusers import AutoencoderKL

    rng = np.random.default_rng(77)
    targets = [scenes.draw(rng, holdout=True) for _ in range(n)]
    clean = np.stack([scenes.render(scene, training_utils.load_art(work, packages), rng) for scene in targets])
    vae = AutoencoderKL.from_pretrained(assets / "model" / "vae")
    with torch.no_grad():
        through = training_utils.to_images(
            torch.cat([vae(part).sample for part in training_utils.to_tensor(clean).split(64)])
        )
    error = np.mean((through.astype(np.float64) - clean) ** 2)
    print(f"autoencoder on unseen combinations: PSNR {10 * math.log10(255**2 / error):.2f} dB, n = {n}")
    report("true images, clean", grade(clean, targets, assets / "scorers" / "recogniser"))
    report("true images, through the autoencoder", grade(through, targets, assets / "scorers" / "recogniser"))
    judges = {name: assets / "scorers" / name for name in ("judge", "heldout")}
    report(
        "prompts distinguished from near misses, through the autoencoder",
        {name: near_miss_test(folder, through, targets, seed=78) for name, folder in judges.items()},
    )


def main() -> None:
    """Measures the embedded model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--assets", type=Path, default=Path("assets/emoji"))
    parser.add_argument("--work", type=Path, default=Path("build/embedded"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--prompts", default="dev", help="name of a list in ASSETS/prompts")
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--ceiling", action="store_true")
    parser.add_argument("--sheet", type=Path, help="write the images there, side by side")
    args = parser.parse_args()
    if args.ceiling:
        return ceiling(args.assets, args.work, args.packages, args.limit)
    prompts = text_lines(args.assets / "prompts" / f"{args.prompts}.txt")[: args.limit]
    pipe = load_pipeline(args.assets / "model")
    began = time.monotonic()
    sample(pipe, prompts[:16], list(range(16)), args.steps, args.guidance)
    print(f"16 images in {time.monotonic() - began:.1f} s ({torch.get_num_threads()} threads)")
    images = sample(pipe, prompts, [args.seed + i for i in range(len(prompts))], args.steps, args.guidance)
    targets = [scenes.parse(prompt) for prompt in prompts]
    title = f"{args.prompts}: {len(prompts)} prompts, {args.steps} steps, guidance {args.guidance}, seed {args.seed}"
    report(title, grade(images, targets, args.assets / "scorers" / "recogniser"))
    if args.sheet:
        training_utils.sheet(images[:96], 12).save(args.sheet)
    return None


if __name__ == "__main__":
    main()
