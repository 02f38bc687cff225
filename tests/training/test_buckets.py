"""Runs on pairs of several shapes: with every method, in any micro-batch, resumed and held out."""

import pytest
import torch
from PIL import Image

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from tests.training.tiny_runs import losses, run, state

SIZES = [(32, 32), (40, 24), (24, 40), (36, 32), (41, 25), (30, 18)]
BUCKETS = {"buckets": True, "flip": "joint"}
SCORES = {"chosen": {"pickscore": 1.0}, "rejected": {"pickscore": 0.2}}


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shaped")

    def picture(name, size):
        pixels = torch.randint(
            0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(len(name) + size[0])
        )
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"{name}.png")
        return folder / f"{name}.png"

    return [
        Pair(f"p{k}", f"prompt {k}", picture(f"{k}a", size), picture(f"{k}bb", size), scores=SCORES)
        for k, size in enumerate(SIZES)
    ]


@pytest.mark.parametrize("method", ["diffusion_dpo", "ddim_inpo", "smpo", "sft", "mapo", "diffusion_ipo"])
def test_every_method_trains_on_pairs_of_several_shapes(model, shaped, tmp_path, method):
    steps = {"latents": {"steps": 2}} if method in ("ddim_inpo", "smpo") else {}
    ranges = {"labels": {"low": 0.0, "high": 1.0}} if method == "smpo" else {}
    run(model, tmp_path / "run", shaped, method=method, model={**BUCKETS, **steps}, train={"batch_size": 6}, **ranges)
    found = losses(tmp_path / "run")
    assert len(found) == 2 and all(loss == loss for loss in found)


def test_the_micro_batch_changes_nothing_but_rounding(model, shaped, tmp_path):
    curves = []
    for size in (1, 2, 6):
        settings = {"batch_size": 6, "micro_batch_size": size, "steps": 3}
        run(model, tmp_path / str(size), shaped, model=BUCKETS, train=settings)
        curves.append(losses(tmp_path / str(size)))
    assert curves[0] == pytest.approx(curves[2], rel=1e-4) and curves[1] == pytest.approx(curves[2], rel=1e-4)


def test_a_run_that_is_resumed_ends_in_the_same_weights(model, shaped, tmp_path):
    settings = {"model": BUCKETS, "checkpoint": {"every": 2}}
    straight = run(model, tmp_path / "straight", shaped, **settings, train={"batch_size": 4, "steps": 4})
    run(model, tmp_path / "parts", shaped, **settings, train={"batch_size": 4, "steps": 2})
    resumed = run(model, tmp_path / "parts", shaped, resume=True, **settings, train={"batch_size": 4, "steps": 4})
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(straight).items())


def test_square_pairs_train_to_the_bit_as_without_buckets(model, pairs, tmp_path):
    one = run(model, tmp_path / "with", pairs, model={"buckets": True})
    other = run(model, tmp_path / "without", pairs)
    assert all(torch.equal(value, state(other)[name]) for name, value in state(one).items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pairs": "checkpoint", "labels": "seppo_gate"}, "samples of the policy are square"),
        ({"loss": {"name": "sparse_po", "beta": 10.0}}, "pairs in buckets have several numbers of them"),
        ({"model": {**BUCKETS, "masks": {"kind": "activations"}}}, "masks are read at one size"),
    ],
    ids=["samples", "positions", "masks"],
)
def test_what_cannot_have_several_shapes_is_refused_before_the_model_is_opened(model, shaped, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=f"{said}.*--set model.buckets=false"):
        run(model, tmp_path / "run", shaped, **{"model": BUCKETS, **changes})
    assert not (tmp_path / "run").exists()
