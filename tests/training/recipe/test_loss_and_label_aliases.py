"""Other names of labels and losses: a recipe that uses them is the same recipe."""

import pytest
import yaml

from diffalign.labels import LABEL_ALIASES, LABELS
from diffalign.losses import LOSS_ALIASES, LOSSES
from diffalign.training.recipe.load import make_recipe
from diffalign.training.storage.check_output import check_output
from diffalign.training.storage.run_folder import RunFolder, claim_output
from diffalign.training.storage.stored_recipe import dump

BASE = {
    "model": {"path": "somewhere"},
    "data": {"train": "pairs"},
    "loss": {"name": "logistic", "beta": 100.0},
    "train": {"steps": 20, "learning_rate": 1e-4, "mixed_precision": "no"},
}
SETTINGS = {"flipped": {"flip": 0.1}, "smoothed": {"scorer": "pickscore", "gamma": 2.0}, "anchor": {"tie": 1}}


def recipe(output="out", **sections):
    return make_recipe({**BASE, "output": str(output), **sections})


def test_every_alias_stands_for_a_name_of_its_table_and_hides_none():
    assert set(LABEL_ALIASES.values()) <= set(LABELS) and set(LABEL_ALIASES).isdisjoint(LABELS)
    assert set(LOSS_ALIASES.values()) <= set(LOSSES) and set(LOSS_ALIASES).isdisjoint(LOSSES)


@pytest.mark.parametrize("alias", LABEL_ALIASES)
def test_a_label_goes_by_each_of_its_names(alias):
    old, new = (recipe(labels={"name": name, **SETTINGS[alias]}) for name in (alias, LABEL_ALIASES[alias]))
    assert old == new and old.labels.name == LABEL_ALIASES[alias]
    if alias == "anchor":
        assert recipe(labels="anchor").labels.name == "seppo_gate"


@pytest.mark.parametrize("alias", LOSS_ALIASES)
def test_a_loss_goes_by_each_of_its_names_first_or_added(alias):
    name = LOSS_ALIASES[alias]
    settings = {"beta": 3.0} if "beta" in LOSSES[name].limits else {}
    kind = LOSSES[name].kind
    assert recipe(loss={"name": alias, **settings}) == recipe(loss={"name": name, **settings})
    if kind == "pair":
        for form in ("plus", "list"):
            old, new = (
                {**BASE["loss"], "plus": {"name": one, **settings}}
                if form == "plus"
                else [BASE["loss"], {"name": one, **settings}]
                for one in (alias, name)
            )
            assert recipe(loss=old) == recipe(loss=new)


def test_an_alias_in_a_recipe_keeps_the_other_settings_of_its_preset():
    def tie(name):
        return make_recipe(
            {"method": "seppo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"}
            | {"labels": {"name": name, "tie": 1}}
        ).labels

    assert tie("anchor") == tie("seppo_gate") and tie("anchor").hyper == {"kind": "sign", "tie": 1}


def test_a_run_that_was_saved_under_other_names_resumes(tmp_path):
    saved = recipe(tmp_path, labels={"name": "label_noise", "flip": 0.1}, loss={"name": "logistic", "beta": 1.0})
    output = RunFolder(tmp_path)
    claim_output(output, saved)
    values = dump(saved)
    values["labels"]["name"], values["loss"]["name"] = "flipped", "dpo"
    output.recipe.write_text(yaml.safe_dump(values))
    check_output(output, saved, resume=True)
    check_output(output, make_recipe(values), resume=True)
