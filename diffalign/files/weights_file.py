"""Reads a file of weights: safetensors, or PyTorch's own without its code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import check_finite
from diffalign.files.model_files import read_tensors


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file, or of a ``.pt`` that holds nothing but tensors, possibly under
    ``state_dict``, ``model`` or ``module``. No code of the file runs.

    Raises:
        UserError: The file cannot be read so, or a value is not finite.
    """
    if path.suffix == ".safetensors":
        state: Any = read_tensors(path)[0]
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
        except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} is no file of weights: it cannot be read, or holds more than tensors ({type(error).__name__})."
                " Download it again, or convert it to safetensors."
            ) from error
        while isinstance(state, Mapping) and (inner := {"state_dict", "model", "module"} & set(state)):
            state = state[min(inner)]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no table of tensors by name. Download it again.")
    tensors = {str(key): value for key, value in state.items()}
    check_finite(tensors, str(path), UserError)
    return tensors
