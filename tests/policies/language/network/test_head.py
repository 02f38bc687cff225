"""Log-probabilities of given tokens equal those of full logits, and so do their gradients, whatever is kept."""

import pytest
import torch
import torch.nn.functional as F

from diffalign.policies.language.network.head import LogitTransform, token_logps

N, D, V = 11, 6, 17


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()
    return draw(N, D), draw(V, D), draw(V), torch.randint(V, (N,), generator=generator)


def plain(hidden, weight, bias, targets, transform):
    z = F.linear(hidden, weight, bias) * transform.scale
    z = z if transform.cap is None else transform.cap * torch.tanh(z / transform.cap)
    return F.log_softmax(z, -1).gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize(
    "transform",
    [LogitTransform(), LogitTransform(scale=0.3), LogitTransform(cap=1.5), LogitTransform(scale=2.0, cap=0.7)],
)
@pytest.mark.parametrize("keep", [0, 2**30])
@pytest.mark.parametrize("rows", [1, 4, N])
def test_values_and_gradients_equal_the_plain_formula(transform, keep, rows):
    hidden, weight, bias, targets = inputs()
    scale = torch.linspace(0.5, -1.5, N, dtype=torch.float64)
    want = torch.autograd.grad((plain(hidden, weight, bias, targets, transform) * scale).sum(), (hidden, weight, bias))
    ours = token_logps(
        hidden, weight, targets, bias=bias, transform=transform, keep_bytes=keep, chunk_bytes=rows * 4 * V
    )
    have = torch.autograd.grad((ours * scale).sum(), (hidden, weight, bias))
    torch.testing.assert_close(ours, plain(hidden, weight, bias, targets, transform))
    for a, b in zip(have, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("transform", [LogitTransform(), LogitTransform(scale=2.0, cap=0.7)])
def test_a_second_backward_pass_gives_the_same_gradients(transform):
    hidden, weight, bias, targets = inputs()
    logps = token_logps(hidden, weight, targets, bias=bias, transform=transform, chunk_bytes=4 * 4 * V)
    first = torch.autograd.grad(logps.sum(), (hidden, weight, bias), retain_graph=True)
    second = torch.autograd.grad(logps.sum(), (hidden, weight, bias))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b)


def test_a_frozen_head_gets_no_gradient_and_the_states_do():
    hidden, weight, _, targets = inputs()
    token_logps(hidden, weight.detach(), targets).sum().backward()
    assert weight.grad is None and hidden.grad.abs().sum() > 0


def test_only_a_chunk_of_logits_exists_when_none_are_kept():
    made = []
    hidden, weight, _, targets = inputs(torch.float32)
    linear = F.linear

    def spy(*args):
        made.append(len(args[0]))
        return linear(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "linear", spy)
        token_logps(hidden, weight, targets, keep_bytes=0, chunk_bytes=3 * 4 * V).sum().backward()
    assert max(made) == 3 and sum(made) == 2 * N, "once forward and once backward"


def test_under_autocast_products_are_half_precision_and_sums_are_not():
    hidden, weight, _, targets = inputs(torch.float32)
    want = token_logps(hidden, weight, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        have = token_logps(hidden, weight, targets)
    assert have.dtype == torch.float32 and not torch.equal(have, want)
    torch.testing.assert_close(have, want, atol=0.05, rtol=0.05)
    have.sum().backward()
    assert hidden.grad.dtype == torch.float32 and weight.grad.dtype == torch.float32


def test_no_tokens_give_an_empty_tensor_with_a_graph():
    hidden, weight, _, targets = inputs(torch.float32)
    none = token_logps(hidden[:0], weight, targets[:0])
    assert none.shape == (0,) and none.requires_grad
