"""Linear heads of published scorers: a stack of linear layers under the names of the file that holds them.

    y = W_n (... (W_1 x + b_1) ...) + b_n

ImageReward's head and that of the LAION aesthetic predictor have no activation between their layers (the published code
has them commented out), and dropout, which does nothing when scoring. The sizes are those of the tensors.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from diffalign.errors import UserError


def linear_head(state: Mapping[str, Tensor], what: str) -> nn.Sequential:
    """Returns the layers of a state, without its values, in the order of their numbers.

    Args:
        state: ``"0.weight"``, ``"0.bias"``, ``"2.weight"``, ...; other names are not read.
        what: The file, for messages.

    Raises:
        UserError: There are no layers, or the output of one does not fit the next.
    """
    numbers = sorted({int(match[1]) for name in state if (match := re.fullmatch(r"(\d+)\.weight", name))})
    shapes = [tuple(state[f"{number}.weight"].shape) for number in numbers]
    fits = all(len(shape) == 2 for shape in shapes) and all(
        one[0] == two[1] for one, two in zip(shapes, shapes[1:], strict=False)
    )
    if not numbers or not fits or shapes[-1][0] != 1:
        raise UserError(
            f"{what} holds no stack of linear layers that ends in one number (shapes {shapes}). Download the published "
            "file again."
        )
    return nn.Sequential(
        OrderedDict((str(number), nn.Linear(shape[1], shape[0])) for number, shape in zip(numbers, shapes, strict=True))
    )
