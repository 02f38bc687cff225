"""GenEval: the share of images that show the objects, numbers, colours and positions that their prompts name.

    diffalign evaluate geneval --model MODEL --prompts evaluation_metadata.jsonl --detector MODULE:FUNCTION
    diffalign evaluate geneval --embedded

Four images per prompt. The detector is yours: ``function(path)`` returns ``{class: [(box, confidence), ...]}`` or with
a mask ``(box, confidence, mask)``; a box is (x0, y0, x1, y1) in pixels, a mask a boolean array of the image's size.
Objects count above a confidence of 0.3, and of 0.9 where a number is to be right; at most 16 per class. An object is
right if there are enough of its class; its colour is the nearest of ten by CLIP on its crop, grey outside its mask; its
position is where its centre lies from the other's. The score is the mean over the six tasks of the shares of images.
Published: SD 1.5 0.43, SD 2.1 0.50, SDXL 0.55, IF-XL 0.61.

Source: Ghosh et al. 2023 (arXiv 2310.11513) and github.com/djghosh13/geneval, evaluation/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diffalign.errors import DataError, UserError
from diffalign.evaluation.stats.rates.share import share
from diffalign.plugins import function_digest
from diffalign.printable import shown
from evaluators.shared.answers import Item, answer_all, items_of, load_function
from evaluators.shared.clip_colours import ClipColours
from evaluators.shared.finish import finish
from evaluators.shared.options import IMAGES, Parser, run_as_program
from evaluators.shared.sides import read_prompts, sample_sides
from evaluators.shared.table import Rate, Table

NEEDS = (
    "--prompts: evaluation_metadata.jsonl of github.com/djghosh13/geneval (553 prompts)",
    "--detector: Mask2Former, mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco of mmdetection, as a function of yours",
    "--colours: OpenAI's CLIP ViT-L/14 (openai/clip-vit-large-patch14)",
    "--seeds 4: four images per prompt",
)
CONFIDENCE, COUNTING_CONFIDENCE, MOST, NEARNESS = 0.3, 0.9, 16, 0.1
Objects = Mapping[str, Sequence[Sequence[Any]]]
Colours = Callable[[Any, Sequence[Sequence[Any]], str], list[str]]


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Generates, detects, and returns the tables."""
    parser = Parser("geneval", __doc__, NEEDS)
    parser.add_argument("--prompts", help="evaluation_metadata.jsonl, or a file in its layout")
    parser.add_argument("--detector", default="", help="MODULE:FUNCTION, your detector")
    parser.add_argument("--colours", default="openai/clip-vit-large-patch14", help="CLIP that names colours of objects")
    parser.add_samples(seeds=4)
    args = parser.read(arguments, {**IMAGES, "detector": "evaluators.shared.embedded:detect", "seeds": 2, "limit": 8})

    prompts = read_prompts(args, "geneval")
    for prompt in prompts:
        for cell, what in (("include", "list of objects"), ("tag", "task")):
            if cell not in prompt.row:
                raise DataError(f"'{prompt.prompt}' has no {what} ('{cell}'). Give a file in GenEval's layout.")
    detect = load_function(args.detector, "--detector", "which finds the objects of an image")
    colours = ClipColours(args.colours, args.device)
    sides = sample_sides(args, prompts, "image")
    rows_of = {prompt.prompt: prompt.row for prompt in prompts}

    def answer(part: list[Item]) -> list[dict[str, Any]]:
        results = []
        for item in part:
            counting = item.about["tag"] == "counting"
            found = confident(detect(item.content), COUNTING_CONFIDENCE if counting else CONFIDENCE)
            problems = _judge(item, found, colours)
            results.append({"right": not problems, "problems": problems})
        return results

    about = {"detector": args.detector, "colours": args.colours}
    names_colours = any("color" in wanted for row in rows_of.values() for wanted in _wanted(row))
    weights = colours.weights if names_colours else ""
    made_by = {"detector": [args.detector, function_digest(detect)], "colours": [args.colours, weights]}
    results = {}
    for side, gallery in sides.items():
        target, items = args.output / "scores" / f"{side}-geneval.jsonl", items_of(gallery, rows_of)
        results[side] = answer_all(items, answer, target, made_by, what=f"{side}, images judged", batch=args.batch)

    rows = []
    for side, gallery in sides.items():
        right = [row["right"] for row in results[side]]
        tags = [rows_of[sample.prompt]["tag"] for sample in gallery.samples]
        texts = [sample.prompt for sample in gallery.samples]
        by_task = [[ok for ok, tag in zip(right, tags, strict=True) if tag == task] for task in dict.fromkeys(tags)]
        for task, hits in zip(dict.fromkeys(tags), by_task, strict=True):
            rows.append([side, task, len(hits), share(sum(hits), len(hits))])
        any_right = {text: any(ok for ok, t in zip(right, texts, strict=True) if t == text) for text in texts}
        rows.append([side, "all images", len(right), share(sum(right), len(right))])
        rows.append(
            [side, "prompts with a right image", len(any_right), share(sum(any_right.values()), len(any_right))]
        )
        rows.append(
            [side, "score: mean over tasks", len(right), Rate(float(np.mean([np.mean(hits) for hits in by_task])))]
        )
    note = "The score is the published one, a mean over tasks. Intervals take images as independent."
    table = Table("GenEval", ["side", "task", "n", "right"], rows, note)
    return finish(args, "GenEval", [table], about=about, sides=sides)


def _wanted(row: Mapping[str, Any]) -> list[Any]:
    """Returns the objects that a row names; none where they are no list, which is found when an image is judged."""
    include = row.get("include")
    return include if isinstance(include, list) else []


def _judge(item: Item, found: Objects, colours: Colours) -> list[str]:
    try:
        return judge(item.about, found, lambda objects, name: colours(item.content, objects, name))
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"the row of '{item.prompt}' or what --detector found has not GenEval's layout ({error!r}): "
            f"{shown(str(item.about))}. Correct it."
        ) from error


def confident(objects: Objects, least: float) -> dict[str, list[Sequence[Any]]]:
    """Returns the objects above a confidence, the most confident first, at most 16 of a class."""
    try:
        kept = {name: [o for o in found if _is_above(o, least)] for name, found in objects.items()}
    except (AttributeError, TypeError, IndexError, ValueError) as error:
        raise UserError(
            f"--detector returns {{class: [(box, confidence), ...]}}; got {shown(str(objects))}. Correct the function."
        ) from error
    return {name: sorted(found, key=lambda o: -o[1])[:MOST] for name, found in kept.items() if found}


def _is_above(found: Sequence[Any], least: float) -> bool:
    """Whether an object's confidence is above ``least``. Raises ValueError where box or confidence are no numbers."""
    box = np.asarray(found[0], np.float64)
    if box.shape != (4,) or not np.isfinite([*box, found[1]]).all():
        raise ValueError("a box has four numbers")
    return bool(found[1] > least)


def judge(row: Mapping[str, Any], objects: Objects, colours: Callable[[Sequence[Any], str], list[str]]) -> list[str]:
    """Returns what is wrong with an image, by a row of the metadata and the confident objects; empty if it is right.

    Colours and positions are read off the most confident objects, as many as are required.
    """
    problems: list[str] = []
    matched: list[Sequence[Any] | None] = []
    for wanted in row.get("include", ()):
        name, count = wanted["class"], wanted["count"]
        found = list(objects.get(name, ()))[:count]
        problem = ""
        if len(found) < count:
            problem = f"{count} of {name} wanted, {len(found)} found"
        elif "color" in wanted and (named := colours(found, name)).count(wanted["color"]) < count:
            problem = f"{wanted['color']} {name} wanted, {', '.join(named)} found"
        elif "position" in wanted:
            relation, target = wanted["position"]
            others = matched[target]
            if others is None or not all(relation in relations(one[0], two[0]) for one in found for two in others):
                problem = f"{name} {relation} the other object wanted"
        matched.append(None if problem else found)
        problems += [problem] if problem else []
    for unwanted in row.get("exclude", ()):
        if len(objects.get(unwanted["class"], ())) >= unwanted["count"]:
            problems.append(f"fewer than {unwanted['count']} of {unwanted['class']} wanted")
    return problems


def relations(one: Sequence[float], other: Sequence[float]) -> set[str]:
    """Returns where box ``one`` lies from ``other``: offsets of the centres, less a tenth of both sizes, at least half
    of the distance of the centres.
    """
    first, second = (np.asarray(box[:4], np.float64).reshape(2, 2) for box in (one, other))
    offset = first.mean(0) - second.mean(0)
    sizes = np.abs(np.diff(first, axis=0)) + np.abs(np.diff(second, axis=0))
    beyond = np.maximum(np.abs(offset) - NEARNESS * sizes[0], 0) * np.sign(offset)
    if np.all(np.abs(beyond) < 1e-3):
        return set()
    x, y = beyond / np.linalg.norm(offset)
    names = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, holds in names.items() if holds}


if __name__ == "__main__":
    run_as_program(main)
