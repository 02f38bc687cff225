"""Single values of a YAML text change; comments and order stay."""

import pytest
import yaml

from diffalign.errors import ConfigError
from diffalign.files.yaml_edit import with_values

TEXT = """# my recipe
model:
  path: a/b   # the base
  adapter: {rank: 16}

train:
  steps: 10     # few
loss: {name: logistic, beta: 1.0}
data: memory
"""


def test_values_are_replaced_or_put_beside_their_section_and_comments_stay():
    settings = {"train.steps": 20, "train.micro_batch_size": 2, "model.adapter.rank": 8, "model.adapter.alpha": 4}
    settings |= {"loss.beta": 0.5, "train.gradient_checkpointing": True, "model.reference": "stored", "log.every": 5}
    changed = with_values(TEXT, settings, "recipe.yaml")
    for comment in ("# my recipe", "# the base", "# few"):
        assert comment in changed
    values = yaml.safe_load(changed)
    assert values["train"] == {"steps": 20, "micro_batch_size": 2, "gradient_checkpointing": True}
    assert values["model"] == {"path": "a/b", "reference": "stored", "adapter": {"rank": 8, "alpha": 4}}
    assert values["loss"] == {"name": "logistic", "beta": 0.5} and values["log"] == {"every": 5}
    assert changed.count("\n") == TEXT.count("\n") + 4


def test_a_section_that_is_a_single_value_becomes_one_and_a_shared_one_is_refused():
    assert yaml.safe_load(with_values("a: null\n", {"a.b": 1}, "it")) == {"a": {"b": 1}}
    with pytest.raises(ConfigError, match=r"writes two\.x in a way"):
        with_values("one: &x {x: 1}\ntwo: *x\n", {"two.x": 2}, "it")
