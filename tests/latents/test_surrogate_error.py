"""The surrogate error: one float32 number per example, cast before the subtraction."""

import pytest
import torch

from diffalign.latents import mean_squared_error


def _two(dtype=torch.float64, shape=(3, 2, 4, 4)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]


def test_the_error_is_the_mean_over_all_axes_but_the_batch():
    x, y = _two()
    by_hand = [
        sum((a - b) ** 2 for a, b in zip(p.flatten(), q.flatten(), strict=True)) / 32 for p, q in zip(x, y, strict=True)
    ]
    torch.testing.assert_close(mean_squared_error(x, y), torch.stack(by_hand))


def test_an_image_and_a_video_of_one_frame_have_the_same_error():
    x, y = _two(torch.float32)
    assert torch.equal(mean_squared_error(x, y), mean_squared_error(x[:, :, None], y[:, :, None]))


def test_a_sum_is_the_mean_times_the_elements():
    x, y = _two()
    torch.testing.assert_close(mean_squared_error(x, y, reduction="sum"), 32 * mean_squared_error(x, y))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_cast_before_the_subtraction(dtype):
    x, y = _two(dtype)
    found = mean_squared_error(x, y)
    assert found.dtype == torch.float32
    assert torch.equal(found, mean_squared_error(x.float(), y.float()))
    after = (x - y).float().square().flatten(1).mean(1)
    assert (2500 * (found - after)).abs().max() > 0.01  # the error of the other order in a margin at beta 5000


def test_masked_elements_do_not_count():
    x, y = _two()
    mask = torch.zeros(3, 1, 4, 4)
    mask[:, :, :2] = 1
    mask[2] = 0
    found = mean_squared_error(x, y, mask=mask)
    torch.testing.assert_close(found[:2], mean_squared_error(x[:2, :, :2], y[:2, :, :2]))
    assert found[2] == 0
    torch.testing.assert_close(mean_squared_error(x, y, mask=mask, reduction="sum"), 16 * found)
    assert torch.equal(mean_squared_error(x, y, mask=torch.ones(3, 1, 1, 1)), mean_squared_error(x, y))


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        mean_squared_error(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        mean_squared_error(torch.zeros(2, 3), torch.zeros(2, 3), reduction="none")
