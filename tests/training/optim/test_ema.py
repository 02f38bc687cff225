"""The moving average of the weights."""

import torch
from torch import nn

from diffalign.training.optim.ema import Ema


def test_the_average_follows_ten_plain_lines():
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    ema, plain = Ema({"w": weight}, decay=0.3), weight.detach().clone()
    for n in range(1, 6):
        with torch.no_grad():
            weight.mul_(1.5)
        ema.update()
        decay = min(0.3, (1 + n) / (10 + n))
        plain = decay * plain + (1 - decay) * weight.detach()
    assert torch.allclose(ema.shadow["w"], plain)
    trained = weight.detach().clone()
    with ema.swapped():
        assert torch.allclose(weight, plain)
    assert torch.equal(weight, trained)
