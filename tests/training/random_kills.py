"""A tiny run that is killed (SIGKILL) at random moments and resumed until it ends, beside one that is not killed.

``python -m tests.training.random_kills RUN KILLS SEED`` prints how many kills hit which part, and whether adapter,
metrics and previews are those of the straight run. RUN is ``image``, ``text``, or of either ``-rounds``: rounds of the
policy's own answers, judged, with pairs of earlier rounds among them and a rule at their borders.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from safetensors import safe_open

from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm

STEPS = 12
ROUNDS = {"name": "rounds", "every": 3, "answers": 3, "batch": 4, "replay": 0.3, "reference": "previous"}
JUDGED = {
    "image": {"judge": "jpeg_compressibility", "border": "momentum", "steps": 2, "guidance": 1.0},
    "text": {"judge": "length", "border": "extragradient", "max_new_tokens": 6},
}


def recipe_of(folder, model, kind):
    from diffalign.training.recipe.load import make_recipe

    medium, _, rounds = kind.partition("-")
    previews = {"prompts": ["a fox"], "every": 3} | ({"max_new_tokens": 8} if medium == "text" else {"steps": 2})
    settings = {"kind": medium, "path": str(model), "cache": str(folder / "cache"), "adapter": {"rank": 2}}
    train = {"steps": STEPS, "batch_size": 4, "learning_rate": 1e-3, "mixed_precision": "no", "ema_decay": 0.9}
    values = {"model": settings, "data": {"train": "memory"}, "loss": {"name": "logistic", "beta": 10.0}}
    values |= {"train": train, "log": {"every": 2}, "checkpoint": {"every": 2}, "previews": previews}
    if medium == "image":  # samples of the policy itself, renewed in rounds
        values["pairs"] = {"name": "checkpoint", "every": 6, "steps": 2}
        settings["flip"] = "none"
    if rounds:
        values |= {"pairs": {**ROUNDS, **JUDGED[medium]}, "guard": {"action": "skip"}}
    return make_recipe({**values, "output": str(folder / "run")})


def train_in_child(folder, model, pairs, medium):
    """Forks a child that begins or resumes the run; returns its number."""
    child = os.fork()
    if child:
        return child
    from diffalign.errors import UserError
    from diffalign.training.loop import train
    from diffalign.training.storage.run_folder import RunFolder

    status = 1
    try:
        os.dup2(os.open(folder / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(2, 1)
        train(recipe_of(folder, model, medium), pairs=pairs, resume=RunFolder(folder / "run").is_claimed)
        status = 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def import_all():
    """Imports in the parent what each child would otherwise import by itself."""
    import accelerate  # noqa: F401
    import diffusers.loaders  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401

    import diffalign.policies.diffusion.load
    import diffalign.policies.language.load
    import diffalign.training.loop  # noqa: F401


def ended(child):
    """Waits for a child; returns its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def part_of(folder):
    """Which part a killed run was in, by what it left."""
    run = folder / "run"
    if not (run / "run.json").exists():
        return "opening"
    if (run / "result").exists():
        return "result"
    steps = sorted((run / "checkpoints").glob("step-*")) if (run / "checkpoints").exists() else []
    return f"after checkpoint {int(steps[-1].name[5:])}" if steps else "encoding, samples or first steps"


def left_by(folder):
    """Metrics without times, previews, and the tensors and facts of the result."""
    run = folder / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if not key.startswith("time/")} for line in lines]
    files = {str(path.relative_to(run)): path.read_bytes() for path in run.glob("previews/*/[!.]*")}
    for path in (run / "result").rglob("[!.]*.safetensors"):
        with safe_open(path, "np") as opened:  # its header has the same entries in any order
            tensors = {name: opened.get_tensor(name).tobytes() for name in opened.keys()}  # noqa: SIM118
            files[str(path.relative_to(run))] = sorted(tensors.items()), sorted((opened.metadata() or {}).items())
    return kept, files


def check_same(folder, straight):
    """Raises AssertionError with what differs."""
    (metrics, files), (expected, others) = left_by(folder), left_by(straight)
    assert files.keys() == others.keys(), sorted(files.keys() ^ others.keys())
    assert not (wrong := [name for name in files if files[name] != others[name]]), wrong
    assert metrics == expected, [pair for pair in zip(metrics, expected, strict=False) if pair[0] != pair[1]][:1]


def main(medium, kills, seed):
    draw, hits = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make, pairs = (
            (tiny_llm, text_pairs(8)) if medium.startswith("text") else (tiny_sd, tiny_pairs(root / "pairs", 8))
        )
        model = make(root / "model")
        for folder in ("straight", "killed"):
            (root / folder).mkdir()
        import_all()
        (root / "first").mkdir()
        started = 0.0
        for folder in ("first", "straight"):  # the first one warms the system's caches
            started = time.monotonic()
            status = ended(train_in_child(root / folder, model, pairs, medium))
            assert status == 0, (root / folder / "said.txt").read_text()[-2000:]
        whole = time.monotonic() - started
        killed, runs, folder, done = 0, 0, root / "killed", False
        while not done:
            child = train_in_child(folder, model, pairs, medium)
            if killed < kills:
                time.sleep(draw.uniform(0.0, whole))
                os.kill(child, signal.SIGKILL)
            status = ended(child)
            killed += status == -signal.SIGKILL
            hits[part_of(folder)] += status == -signal.SIGKILL
            assert status in (0, -signal.SIGKILL), (folder / "said.txt").read_text()[-2000:]
            if status == 0 and killed < kills:  # it ended before the kill: the next kills hit a run of its own
                check_same(folder, root / "straight")
                runs += 1
                folder = root / f"killed-{runs}"
                folder.mkdir()
            done = status == 0 and killed >= kills
        check_same(folder, root / "straight")
    print(json.dumps({"kills": killed, "seconds of a straight run": round(whole, 1), "hits": dict(hits)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
