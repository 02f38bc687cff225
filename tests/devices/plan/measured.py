"""The planned memory of each stage beside what it takes: ``python -m tests.devices.plan.measured MEDIUM``.

The resident set of a process has more in it than tensors: the C library keeps pieces of its heap. So it is started with
``MALLOC_MMAP_THRESHOLD_=65536``, with which every larger tensor is given back to the system when it is freed.
"""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

from diffalign.data.records.pair import Pair
from diffalign.devices.peak_growth import PeakGrowth
from diffalign.training.loop import training_step
from diffalign.training.recipe.load import make_recipe
from diffalign.training.setup.assemble_run import open_run
from diffalign.training.setup.plan_stages import PlannedRun, plan_stages
from tests.tiny import tiny_pairs
from tests.tiny_text import tiny_llm
from tests.tiny_video import tiny_clip_pairs

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
ASSETS = Path(__file__).parents[3] / "assets" / "emoji"
IMAGE = {"model": {"kind": "image", "path": str(ASSETS / "model"), "encode_batch": 128}}
VIDEO = {"model": {"kind": "video", "path": str(ASSETS / "model"), "motion": str(ASSETS / "motion")}}
VIDEO["model"] |= {"encode_batch": 16, "clip": {"frames": 8}, "adapter": {"targets": "motion"}}
PREVIEWS = {"prompts": ["a red fox"], "seeds": list(range(16)), "steps": 1}
PAIRS = 8


def recipe(medium, folder):
    """A run with stages that are large beside what an allocator rounds up to."""
    text = {"model": {"kind": "text", "path": _language_model(folder)}} if medium == "text" else {}
    values = {"image": IMAGE, "video": VIDEO, "text": text}[medium]
    train = {"steps": 2, "batch_size": PAIRS, "micro_batch_size": PAIRS if medium != "video" else 2}
    train |= {"learning_rate": 1e-4, "mixed_precision": "no", "ema_decay": 0.9}
    previews = {"prompts": PREVIEWS["prompts"], "seeds": PREVIEWS["seeds"]}
    previews |= {"max_new_tokens": 64} if medium == "text" else {"steps": 1}
    previews |= {"seeds": list(range(4))} if medium == "video" else {}
    common = {"data": {"train": "memory"}, "loss": {"name": "logistic", "beta": 1.0}, "train": train}
    common |= {"previews": previews, "output": str(folder / "run")}
    values["model"]["cache"] = str(folder / "cache")
    return make_recipe({**values, **common})


def measure(medium, folder):
    """Returns ``{stage: (planned bytes, measured bytes)}``; both with the weights that are there before the stage."""
    settings, pairs = recipe(medium, folder), make_pairs(medium, folder / "pairs")
    run = open_run(settings, None, pairs, resume=False, check_only=True)
    opened = run.gradient_computer
    planned = {stage.name: stage for stage in plan_stages(_planned(run))}
    found = {}
    policy = run.policy
    if "encode" in planned:
        found["encode"] = _grown(lambda: policy.prepare(pairs, lambda *_: None), planned["encode"], opened)
    policy.prepare(pairs, lambda *_: None)
    found["update"] = _grown(lambda: training_step(run), planned["update"], opened, planned["update"].resident)
    previews = settings.previews
    prompts = [prompt for prompt in previews.prompts for _ in previews.seeds]

    def sample():
        with policy.sampling():
            policy.sample(prompts, list(previews.seeds), **previews.sampling)

    found["sample"] = _grown(sample, planned["sample"], opened)
    return found


def make_pairs(medium, folder):
    """Pairs of noise images, of clips of noise, or of texts."""
    if medium == "text":
        draw = random.Random(0)
        text = lambda: " ".join(draw.choice(["one", "two", "three", "four"]) for _ in range(60))
        return [Pair(str(k), text(), text(), text()) for k in range(PAIRS)]
    return tiny_clip_pairs(folder, PAIRS, frames=8) if medium == "video" else tiny_pairs(folder, 8 * PAIRS)


def _planned(run):
    from diffalign.training.setup.batch_schedule import BatchSchedule
    from diffalign.training.setup.bind_recipe import BoundRecipe
    from diffalign.training.setup.open_accelerator_and_policy import OpenedModel

    computer = run.gradient_computer
    model = OpenedModel(run.policy, run.module, run.trainable, None)
    bound = BoundRecipe(computer.loss, computer.label, run.source, None, {})
    schedule = BatchSchedule(run.order, computer.micro_batch_size, computer.draws)
    return PlannedRun(run.recipe, run.accelerator, model, bound, schedule, own_memory=False)


def _grown(work, stage, computer, resident=0):
    with PeakGrowth(computer.accelerator.device) as growth:
        work()
    before = sum(stage.weights.values()) if resident else stage.resident
    return stage.total, before + growth.bytes


def _language_model(folder):
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 8}
    return str(tiny_llm(folder / "llm", num_key_value_heads=8, max_position_embeddings=2048, **sizes))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        os.environ["DIFFALIGN_CACHE"] = name
        print(json.dumps(measure(sys.argv[1], Path(name))))
