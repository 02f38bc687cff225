"""A function of the user's as a scorer, without a class or a registration: ``function:my_rewards.py:redness``.

    score_b = f(prompts, samples)_b

The function takes two lists of equal length, prompts and samples, and returns one number for each, higher is better: a
list, an array or a tensor. Images arrive as 8-bit RGB PIL images, as a viewer shows them; texts as strings; clips as
:class:`~diffalign.data.media.clips.clip.Clip`. It may have attributes ``unit``, ``range`` and
``weights``; the last is the hash or version of a network that it holds, as scores of another network must not be mixed.

A file is sought from the working directory, a module as Python does. Its code runs with the rights of the command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.plugins import function_digest, load_function
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import check_prompt_count


class UserFunction(ComparesByScore):
    """The function as a scorer.

    Args:
        function: ``function(prompts, samples)`` returns one number a sample.
        prepare: Brings a sample, which may be a path, into the form that the function takes.
        medium: Medium of its samples.
        name: Its name in reports.
    """

    license = "the user's own"
    paper = "none: a function of the user's"

    def __init__(
        self, function: Callable[..., Any], prepare: Callable[[Any], Any], *, medium: str, name: str = "function"
    ) -> None:
        self.function, self.prepare, self.medium, self.name = function, prepare, medium, name
        self.unit = str(getattr(function, "unit", "the function's"))
        given = getattr(function, "range", (float("-inf"), float("inf")))
        try:
            low, high = map(float, given)
        except (TypeError, ValueError):
            raise UserError(
                f"the range of {name} is its lowest and highest number, as in (0, 1); got {given!r}."
            ) from None
        self.range = (low, high)
        self.weights = function_digest(function)  # scores of an earlier text of the file are those of another scorer

    @classmethod
    def load(
        cls, argument: str, device: str = "cpu", *, prepare: Callable[[Any], Any], medium: str, name: str
    ) -> UserFunction:
        """Loads ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``; it uses no device.

        Raises:
            UserError: There is no such function, or importing it raises an error.
        """
        if ":" not in argument:
            raise UserError(
                f"{name} needs a module or file and a function in it: write {name}:my_rewards.py:redness, for example."
            )
        return cls(load_function(argument), prepare, medium=medium, name=f"{name}:{argument}")

    def score(self, prompts: Sequence[Any], samples: Sequence[Any]) -> Tensor:
        """Returns the function's numbers, ``(B,)`` float32.

        Raises:
            UserError: The function raises an error, or does not return one finite number for each sample.
        """
        check_prompt_count(prompts, samples)
        if not len(samples):
            return torch.zeros(0)
        prepared = [self.prepare(sample) for sample in samples]
        try:
            found = self.function(list(prompts), prepared)
            scores = torch.as_tensor(found).detach().to("cpu", torch.float32)
        except Exception as error:  # any, it is the user's code
            raise UserError(f"{self.name} raised {type(error).__name__}: {error}") from error
        if scores.shape != (len(samples),) or not bool(scores.isfinite().all()):
            raise UserError(
                f"{self.name} must return one finite number for each of {len(samples)} samples; got shape "
                f"{tuple(scores.shape)}{'' if scores.isfinite().all() else ' with NaN or infinite values'}."
            )
        return scores
