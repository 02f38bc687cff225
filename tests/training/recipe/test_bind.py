"""Pairs and latents as a recipe writes them: every form, over presets, through files, and what is refused."""

import pytest
import yaml

from diffalign.errors import ConfigError, DataError, RunError
from diffalign.named_choice import Choice
from diffalign.pairs import from_memory
from diffalign.training.loop import train
from diffalign.training.recipe.bind import bind_pairs
from diffalign.training.recipe.load import load_recipe, make_recipe
from diffalign.training.recipe.model_kinds import MODELS
from diffalign.training.storage.stored_recipe import dump
from tests.data.fixtures import pair_folder
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

BASE = {
    "model": {"path": "somewhere"},
    "data": {"train": "pairs"},
    "loss": {"name": "logistic", "beta": 100.0},
    "train": {"steps": 20, "learning_rate": 1e-4},
    "output": "out",
}
INPO = {key: value for key, value in BASE.items() if key not in ("loss", "train")} | {"method": "ddim_inpo"}


def recipe(**changes):
    return make_recipe({**BASE, **changes})


def typed(values, *overrides, path):
    """As the command line reads it: a file, with values replaced."""
    path.write_text(yaml.safe_dump(values))
    return load_recipe(path, overrides)


@pytest.mark.parametrize("place", ["beside", "within"])
@pytest.mark.parametrize("form", ["renoise", {"name": "renoise"}, {"name": "renoise", "steps": 3, "corrections": 2}])
def test_latents_are_a_name_or_a_table_at_the_top_level_or_in_the_model(place, form):
    if place == "beside":
        found = recipe(latents=form)
    else:
        found = recipe(model={**BASE["model"], "latents": form})
    assert found.model.latents.name == "renoise"
    assert found.model.latents.hyper == ({"steps": 3, "corrections": 2} if "steps" in form else {})


@pytest.mark.parametrize("form", ["checkpoint", {"name": "checkpoint", "every": 5, "seeds": "checkpoint"}])
def test_pairs_are_a_name_or_a_table(form):
    found = recipe(pairs=form)
    assert found.pairs.name == "checkpoint" and found.pairs.hyper.get("every") == (5 if "every" in form else None)
    assert recipe().pairs.name == "dataset" and recipe().model.latents.name == "forward"


def test_one_setting_is_replaced_in_a_presets_choice(tmp_path):
    path = tmp_path / "recipe.yaml"
    found = typed(INPO, "latents.steps=5", path=path)
    assert found.model.latents.name == "ddim_inversion" and found.model.latents.hyper == {"steps": 5}
    both = typed(INPO, "latents.steps=5", "latents.inverter=reference", "latents.store=true", path=path).model.latents
    assert both.hyper == {"steps": 5} and both.inverter == "reference" and both.store
    # Another name leaves the preset's settings behind, wherever it is written.
    assert typed(INPO, "latents=forward", path=path).model.latents.hyper == {}
    assert typed(INPO, "model.latents=heun", path=path).model.latents.hyper == {}
    assert typed(INPO, "model.latents.steps=7", path=path).model.latents.hyper == {"steps": 7}
    seppo = {**INPO, "method": "seppo"}
    found = typed(seppo, "pairs.steps=20", path=path)
    assert found.pairs.hyper["steps"] == 20 and found.pairs.hyper["every"] == 30
    assert found.model.flip == "none" and found.labels.name == "seppo_gate"
    assert typed({**seppo, "model": {"path": "x", "flip": "joint"}}, path=path).model.flip == "joint"


@pytest.mark.parametrize("method", ["diffusion_dpo", "ddim_inpo", "smpo", "seppo", "sft", "mapo", "diffusion_ipo"])
def test_a_written_recipe_reads_back_as_itself_and_can_be_changed(tmp_path, method):
    found = make_recipe({**INPO, "method": method})
    assert make_recipe(dump(found)) == found
    path = tmp_path / "recipe.yaml"
    assert typed(dump(found), path=path) == found
    # Values typed over it count, also where the file names the choice within the model.
    changed = typed(dump(found), "latents={name: heun, steps: 4}", "train.steps=7", path=path)
    assert changed.model.latents.name == "heun" and changed.model.latents.hyper == {"steps": 4}
    if method in ("ddim_inpo", "smpo"):
        assert typed(dump(found), "latents.steps=5", path=path).model.latents.hyper["steps"] == 5


REFUSED = {
    "latents=ddim_invesion": r"there is no latents 'ddim_invesion'.*Did you mean 'ddim_inversion'\?",
    "latents.stps=5": r"'ddim_inversion' takes .*it has no 'stps'\. Did you mean 'steps'\?",
    "latents.steps=0": r"latents: .*steps.*got 0",
    "latents.store=true": r"policy that computes them changes.*latents.inverter=reference.*--set latents.refresh=100",
    "latents={name: forward, inverter: reference}": r"needs no network, so there is no inverter to set",
    "latents={name: ddim_inversion, inverter: reference, refresh: 5}": r"never changes.*--set latents.store=true",
    "latents.inverter=polcy": r"latents.inverter: .*'policy' or 'reference'; got 'polcy'",
    "pairs=checkpiont": r"there is no source of pairs 'checkpiont'.*Did you mean 'checkpoint'\?",
    "pairs={name: checkpoint, evry: 3}": r"'checkpoint' takes .*it has no 'evry'\. Did you mean 'every'\?",
    "labels={name: score_scaled, alpha: 7, gamma: 1}": r"labels: alpha is a share of gamma.*got 7",
    "labels={name: score_scaled}": r"labels: the label 'score_scaled' needs the name of a scorer",
    "labels={name: seppo_gate, kind: sgn}": r"labels: kind of the label 'seppo_gate' is .*got 'sgn'",
    "pairs={name: checkpoint, rondtrip: true}": r"takes .*guidance.*it has no 'rondtrip'\. Did you mean 'roundtrip'\?",
    "pairs={name: checkpoint, steps: 0}": r"pairs: steps must be .*got 0.*--set pairs.steps=50",
    "pairs={name: checkpoint, guidance: -0.1}": r"pairs: guidance must be .*got -0.1.*--set pairs.guidance=7.5",
    "pairs={name: checkpoint, guidance: .nan}": r"pairs: guidance must be .*got nan.*--set pairs.guidance=7.5",
    "pairs={name: checkpoint, eta: 1.1}": r"pairs: eta must be .*got 1.1.*--set pairs.eta=0",
    "pairs={name: checkpoint, eta: much}": r"pairs: eta must be .*got 'much'.*--set pairs.eta=0",
    "pairs={name: checkpoint, roundtrip: 1}": "pairs: roundtrip must be .*got 1.*--set pairs.roundtrip=none",
    "pairs={name: checkpoint, sampler: dim}": r"pairs: sampler must be .*got 'dim'. Did you mean 'ddim'\?.*=ddim",
    "pairs={name: dataset, every: 3}": r"'dataset' takes no settings; it has no 'every'",
}


@pytest.mark.parametrize("override", REFUSED)
def test_the_error_of_a_wrong_choice_names_what_to_type(tmp_path, override):
    with pytest.raises(ConfigError, match=REFUSED[override]):
        typed(INPO, override, path=tmp_path / "recipe.yaml")


def test_a_source_that_samples_has_the_sampling_settings_of_the_models_kind():
    choice = Choice(name="checkpoint", guidance="2e0", every=5)
    image = bind_pairs(choice, MODELS["image"].candidates())(from_memory(toy_pairs()))
    whole = {"steps": 50, "guidance": 2.0, "sampler": "ddim", "eta": 0.0, "roundtrip": "none"}
    assert image.sampling == whole and image.every == 5
    text = bind_pairs(Choice(name="checkpoint", temperature=0.5), MODELS["text"].candidates())(from_memory(toy_pairs()))
    assert text.sampling["temperature"] == 0.5 and "max_new_tokens" in text.sampling and "steps" not in text.sampling
    with pytest.raises(ValueError, match=r"takes every, .*temperature.*it has no 'guidance'"):
        bind_pairs(choice, MODELS["text"].candidates())


def test_settings_out_of_range_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"pairs.every must be .*got 0.*--set pairs.every=30"):
        train(
            toy_recipe(tmp_path / "run", pairs={"name": "checkpoint", "every": 0}),
            policy=ToyPolicy(),
            pairs=toy_pairs(),
        )
    assert not (tmp_path / "run").exists()


def test_the_error_of_missing_scores_names_the_command_that_computes_them(tmp_path):
    data = {"train": str(pair_folder(tmp_path / "pairs")), "scores": [str(tmp_path / "pickscore.jsonl")]}
    labels = {"name": "score_scaled", "scorer": "pickscore"}
    with pytest.raises(DataError, match=r"pickscore.jsonl.*diffalign score"):
        train(toy_recipe(tmp_path / "run", data=data, labels=labels), policy=ToyPolicy())
    with pytest.raises(DataError, match=r"no score of its chosen candidate by 'pickscore'.*data.scores"):
        train(toy_recipe(tmp_path / "run", data={"train": data["train"]}, labels=labels), policy=ToyPolicy())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pairs": {"name": "checkpoint", "every": 5}}, r"pairs.every was 3, now 5"),
        ({"pairs": {"name": "checkpoint", "every": 3, "select": "latest"}}, r"pairs.select was None, now 'latest'"),
        ({"labels": "hard"}, r"labels.name was 'seppo_gate', now 'hard'"),
        (
            {"model": {"kind": "toy", "path": "toy", "latents": "renoise"}},
            r"model.latents was 'forward', now 'renoise'",
        ),
        ({"data__scores": ["other.jsonl"]}, r"data.scores was \[\], now \['other.jsonl'\]"),
    ],
)
def test_a_run_is_not_resumed_with_other_pairs_or_latents(tmp_path, changes, says):
    settings = {"pairs": {"name": "checkpoint", "every": 3}, "labels": "seppo_gate", "train__steps": 2}
    train(toy_recipe(tmp_path, **settings), policy=ToyPolicy(), pairs=toy_pairs())
    with pytest.raises(RunError, match=says):
        train(toy_recipe(tmp_path, **{**settings, **changes}), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)


def test_a_longer_run_is_refused_where_it_would_cut_a_window_of_latents(tmp_path):
    model = {"kind": "toy", "path": "toy", "latents": {"name": "ddim_inversion", "refresh": 4}}

    def go(steps, resume=False):
        recipe = toy_recipe(tmp_path, model=model, train__steps=steps)
        return train(recipe, policy=ToyPolicy(refresh=4), pairs=toy_pairs(), resume=resume)

    go(4)
    assert go(6, resume=True).steps == 6
    with pytest.raises(RunError, match="train.steps was 6, now 10"):
        go(10, resume=True)
