"""Sums of losses: what a run of several does, and what cannot be summed."""

import json
import math
from dataclasses import replace

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.losses import LOSSES, Objective, Term
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from tests.losses.logps import drawn
from tests.tiny_text import text_pairs, tiny_llm

DPO = {"name": "logistic", "beta": 0.5}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm") / "model")


def recipe(model, output, /, **changes):
    train_ = {"steps": 3, "batch_size": 4, "learning_rate": 3e-3, "mixed_precision": "no", **changes.pop("train", {})}
    values = {
        "model": {"kind": "text", "path": str(model), "adapter": {"rank": 2}},
        "data": {"train": "in memory"},
        "loss": DPO,
        "train": train_,
        "log": {"every": 1},
        "checkpoint": {"every": 0},
        "guard": {"action": "off"},
        "output": str(output),
    }
    return make_recipe({**values, **changes})


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def states_of(model, tmp_path, **runs):
    found = {}
    for name, changes in runs.items():
        pairs = changes.pop("pairs_", text_pairs(4))
        found[name] = train(recipe(model, tmp_path / name, **changes), pairs=pairs).policy.state()
    return found


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_sum_is_the_sum_of_its_terms_times_their_factors():
    scores = drawn(5)
    lead, sft = LOSSES["logistic"].bind(beta=0.5), LOSSES["sft"].bind()
    whole = Objective((Term(lead), Term(sft, 0.2)))
    torch.testing.assert_close(whole(scores), lead(scores) + 0.2 * sft(scores), rtol=1e-15, atol=0)
    assert whole.name == "logistic + 0.2 sft" and whole.needs == {"reference"} and not whole.is_pure_margin
    assert whole.at_zero is None and Objective((Term(lead, 2.0),)).at_zero == pytest.approx(2 * math.log(2))
    assert whole.settings["sft.times"] == 0.2 and whole.shown_settings == {
        "beta": 0.5,
        "flip": 0.0,
        "per_token": False,
    } | {name: value for name, value in whole.shown_settings.items() if name.startswith("sft.")}


def test_rpo_is_the_sum_that_its_paper_writes(llm, tmp_path):
    mean = [DPO, {"name": "sft", "times": 0.2}]
    found = states_of(
        llm,
        tmp_path,
        sum={"loss": mean},
        rpo={"loss": {"name": "rpo", "beta": 0.5, "eta": 0.0, "average": 0.2}},
        dpo={"loss": DPO},
    )
    for name, value in found["sum"].items():
        torch.testing.assert_close(value, found["rpo"][name], rtol=1e-3, atol=1e-5)
    assert not equal(found["sum"], found["dpo"])
    curves = [[r["loss"] for r in records(tmp_path / name)] for name in ("sum", "rpo")]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    assert {"rewards/margins", "rewards/accuracies"} <= records(tmp_path / "sum")[0].keys()


def test_a_list_of_losses_and_plus_are_one_recipe(tmp_path):
    as_list = recipe("m", tmp_path, loss=[DPO, {"name": "sft", "times": 0.1}])
    with_plus = recipe("m", tmp_path, loss={**DPO, "plus": [{"name": "sft", "times": 0.1}]})
    assert as_list == with_plus
    preset = recipe("m", tmp_path, method="dpo", loss=["logistic", "sft"])  # over a preset: its beta stays
    assert preset.loss.hyper["beta"] == 0.1 and preset.loss.hyper["plus"] == ["sft"]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ([DPO, {"name": "kto", "beta": 0.1}], "'kto' on single ones.*cannot be summed"),
        ([DPO, {"name": "sft", "times": 0.0}], "times is the factor of the loss 'sft'.*positive"),
        ([DPO, {"name": "sfft"}], "Did you mean 'sft'"),
        ([], "loss is an empty list"),
        ([DPO, {"name": "sft", "weight": 0.1}], "'sft' takes .* it has no 'weight'"),
    ],
)
def test_losses_that_cannot_be_summed_are_refused_before_anything_is_opened(tmp_path, loss, said):
    with pytest.raises(ConfigError, match=said):
        recipe("m", tmp_path, loss=loss)


def test_an_uncertain_label_leaves_a_term_on_the_chosen_candidate_unchanged(llm, tmp_path):
    pairs = [replace(pair, probability=0.5) for pair in text_pairs(4)]
    half = {"labels": "column", "pairs_": pairs}
    found = states_of(
        llm,
        tmp_path,
        alone={"loss": [{**DPO, "beta": 1e-9}, "sft"], "pairs_": text_pairs(4)},
        sum={"loss": [{**DPO, "beta": 1e-9}, "sft"], **half},
    )
    for name, value in found["sum"].items():  # a beta of nothing: what is left is the sft term, whole
        torch.testing.assert_close(value, found["alone"][name], rtol=1e-4, atol=1e-6)


def test_weights_of_tokens_are_refused_for_images_before_anything_is_computed(model, pairs, tmp_path):
    from tests.training.tiny_runs import run

    with pytest.raises(ConfigError, match="this model makes image, which has none. Type: --set loss.ld_alpha=1"):
        run(model, tmp_path / "no", pairs, loss={"name": "logistic", "beta": 500.0, "ld_alpha": 0.5})


@pytest.mark.parametrize(
    ("model", "loss", "said"),
    [
        ({"masks": {"kind": "activations"}}, DPO, "reads only their sums.*model.masks=null"),
        ({"reference": "stored"}, {"name": "sparse_po", "beta": 0.5}, "part by part.*model.reference=auto"),
        ({"degree": {}}, DPO, "does not use it.*model.degree=null"),
        ({"degree": {}}, [{"name": "sparse_po", "beta": 0.5}, "content_degree"], "one of the two terms"),
        ({}, [DPO, {"name": "content_degree", "times": 0.1}], r"has none.*model.degree=\{\}"),
    ],
)
def test_a_model_and_a_loss_that_do_not_fit_are_refused_before_training(llm, tmp_path, model, loss, said):
    section = {"kind": "text", "path": str(llm), "adapter": {"rank": 2}, **model}
    with pytest.raises(ConfigError, match=said):
        train(recipe(llm, tmp_path / "no", model=section, loss=loss), pairs=text_pairs(4))


def test_a_stored_reference_has_the_prompts_that_a_loss_reads(llm, tmp_path):
    pairs = [replace(pair, rejected_prompt=pair.prompt + " once more") for pair in text_pairs(4)]
    curves = []
    for reference in ("auto", "stored"):
        section = {"kind": "text", "path": str(llm), "adapter": None, "reference": reference}
        section["cache"] = str(tmp_path / "cache")
        loss = {"name": "dove", "beta": 0.5}
        train(recipe(llm, tmp_path / reference, model=section, loss=loss), pairs=pairs)
        curves.append([row["loss"] for row in records(tmp_path / reference)])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4) and curves[0][0] == pytest.approx(math.log(2), rel=1e-5)


def test_losses_with_different_forward_passes_are_summed(llm, tmp_path):
    both = [{"name": "sparse_po", "beta": 0.5}, {"name": "inpo", "beta": 0.5, "relative": True, "times": 0.5}]
    train(recipe(llm, tmp_path / "run", loss=both), pairs=text_pairs(4))
    assert records(tmp_path / "run")[0]["loss"] == pytest.approx(math.log(2) + 0.5 * 0.25, rel=1e-4)
