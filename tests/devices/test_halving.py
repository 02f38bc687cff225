"""Work in pieces goes on in halves when memory runs out, with the same results in the same order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffalign.devices.halving import Pieces, heard_by

ERRORS = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: you tried")]


def doubled(most, error=ERRORS[0], sizes=None):
    def compute(piece):
        if len(piece) > most:
            raise error
        if sizes is not None:
            sizes.append(len(piece))
        return [2 * item for item in piece]

    return compute


@given(st.integers(0, 40), st.integers(1, 20), st.integers(1, 20))
def test_every_item_is_computed_once_and_in_order(count, size, most):
    sizes, said = [], []
    with heard_by(said.append):
        pieces = Pieces("items are doubled", size)
        assert list(pieces.each(range(count), doubled(most, sizes=sizes))) == [2 * k for k in range(count)]
    assert sum(sizes) == count and max(sizes, default=0) <= min(size, most)
    assert bool(said) == (min(size, count) > most)
    assert list(pieces.each(range(3), doubled(most))) == [0, 2, 4]  # and it stays so


@pytest.mark.parametrize("error", ERRORS, ids=["machine", "accelerator", "CPU allocator"])
def test_every_kind_of_the_error_counts_and_is_said(error, capsys):
    assert list(Pieces("items are doubled", 8).each(range(8), doubled(2, error))) == list(range(0, 16, 2))
    assert "out of memory while items are doubled: 4 at once from now on" in capsys.readouterr().err


def test_one_item_that_does_not_fit_and_other_errors_pass():
    with pytest.raises(MemoryError):
        list(Pieces("items are doubled", 4).each(range(4), doubled(0)))
    with pytest.raises(RuntimeError, match="shapes"):
        list(Pieces("items are doubled", 4).each(range(4), doubled(0, RuntimeError("shapes differ"))))


def test_no_more_is_read_ahead_than_a_piece():
    read = []
    items = (read.append(k) or k for k in range(100))
    results = Pieces("items are doubled", 4).each(items, doubled(4))
    assert next(results) == 0 and read == [0, 1, 2, 3]
