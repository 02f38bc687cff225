"""Attention by the fused kernel and by the plain formula: both agree, and shape and precision decide which runs."""

import pytest
import torch
import torch.nn.functional as F

from diffalign.policies.language.network import packed_attention
from diffalign.policies.language.network.packed_attention import attend


def heads(rows, columns, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    draw = lambda length: torch.randn(1, 3, length, 8, generator=generator).to(dtype)
    return draw(rows), draw(columns), draw(columns)


def seen(rows, columns):
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(rows, columns, generator=generator) > 0.4
    mask[:, 0] = True
    return mask


def plain(query, key, value, mask, cap=None):
    """In float64, one line per symbol."""
    scores = query.double() @ key.double().transpose(-1, -2) / query.shape[-1] ** 0.5
    scores = scores if cap is None else cap * torch.tanh(scores / cap)
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value.double()


@pytest.mark.parametrize("cap", [None, 0.5])
@pytest.mark.parametrize("added", [True, False])
def test_a_boolean_mask_and_an_additive_one_are_the_same(cap, added):
    query, key, value = heads(5, 9)
    mask = seen(5, 9)
    additive = torch.zeros(5, 9).masked_fill(~mask, -torch.inf) if added else mask
    torch.testing.assert_close(
        attend(query, key, value, additive, cap=cap).double(), plain(query, key, value, mask, cap), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("cap", [None, 0.5])
def test_causal_is_the_mask_of_earlier_positions(cap):
    query, key, value = heads(7, 7)
    past = torch.ones(7, 7, dtype=torch.bool).tril()
    torch.testing.assert_close(
        attend(query, key, value, None, causal=True, cap=cap),
        attend(query, key, value, past, cap=cap),
        atol=1e-5,
        rtol=0,
    )


def test_in_half_precision_few_rows_use_the_formula_and_many_the_kernel(monkeypatch):
    kernel_rows = []
    kernel = F.scaled_dot_product_attention

    def spy(query, *args, **settings):
        kernel_rows.append(query.shape[-2])
        return kernel(query, *args, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    monkeypatch.setattr(packed_attention, "FEW_ROWS", 6)
    for rows in (6, 7):
        query, key, value = heads(rows, 12, torch.bfloat16)
        mask = seen(rows, 12)
        additive = torch.zeros(rows, 12, dtype=torch.bfloat16).masked_fill(~mask, -torch.inf)
        ours = attend(query, key, value, additive)
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.double(), plain(query, key, value, mask), atol=0.03, rtol=0)
    assert kernel_rows == [7]
    attend(*heads(6, 12), None)
    assert kernel_rows == [7, 6], "in float32 the kernel wins"


def test_a_row_that_sees_nothing_gives_no_nan():
    query, key, value = heads(2, 3)
    mask = torch.tensor([[True, False, False], [False, False, False]])
    assert torch.isfinite(attend(query, key, value, mask, cap=1.0)).all()
