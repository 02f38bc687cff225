"""Files of weights: tensors and nothing else, in either of PyTorch's formats or as safetensors."""

import pytest
import torch
from safetensors.torch import save_file

from diffalign.errors import UserError
from diffalign.files.weights_file import read_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.bfloat16)}


@pytest.mark.parametrize("form", ["new", "old", "nested", "safetensors"])
def test_the_tensors_are_those_that_were_written(tmp_path, form):
    path = tmp_path / ("x.safetensors" if form == "safetensors" else "x.pt")
    if form == "safetensors":
        save_file(STATE, path)
    else:
        content = {"state_dict": {"module": STATE}} if form == "nested" else STATE
        torch.save(content, path, _use_new_zipfile_serialization=form != "old")
    found = read_weights(path)
    assert found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": print}, "is no file of weights"),
        ({"a": 3}, "holds no table of tensors"),
        ([torch.ones(1)], "holds no table of tensors"),
        ({"a": torch.tensor([torch.nan])}, "NaN or infinite"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "x.pt")
