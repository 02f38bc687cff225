"""Padded rows: the tokens of a packed layout with a row for each response, padded on the right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diffalign.policies.language.network.layout import Layout, PromptGroup


class PaddedRows(NamedTuple):
    """A layout as padded rows.

    Args:
        ids: ``(R, L)`` token ids.
        mask: ``(R, L)`` 1 for tokens, 0 for padding.
        rows: ``(N,)`` row of the position that predicts each scored token.
        columns: ``(N,)`` its column.
    """

    ids: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor


def pad_rows(layout: Layout) -> PaddedRows:
    """Returns a row for each response with its prompt."""
    pieces: list[tuple[PromptGroup, int, int]] = [
        (group, *response_range) for group in layout.groups for response_range in group.response_ranges()
    ]
    lengths = [group.prompt_length + end - begin for group, begin, end in pieces]
    ids = layout.ids.new_zeros(len(pieces), max(lengths))
    mask = torch.zeros_like(ids)
    for row, (group, begin, end) in enumerate(pieces):
        ids[row, : group.prompt_length] = layout.ids[group.start : group.prompt_end]
        ids[row, group.prompt_length : lengths[row]] = layout.ids[begin:end]
        mask[row, : lengths[row]] = 1
    # A prompt is read from the row of its first response.
    first_rows = [layout.group_of_response.index(number) for number in range(len(layout.groups))]
    rows = layout.ids.new_tensor([*range(len(pieces)), *first_rows])[layout.response_index]
    return PaddedRows(ids, mask, rows, layout.position_ids[layout.predict_at])


def pack_rows(layout: Layout, values: Tensor) -> Tensor:
    """Returns values ``(R, L, ...)`` of padded rows in the order of the packed row, ``(T, ...)``."""
    return torch.cat([values[row, columns] for row, columns in _packed_slices(layout)])


def _packed_slices(layout: Layout) -> Iterator[tuple[int, slice]]:
    """Yields where each piece of the packed row is in the padded rows: a prompt, then each of its responses."""
    row = 0
    for group in layout.groups:
        length = group.prompt_length
        yield row, slice(0, length)
        for begin, end in group.response_ranges():
            yield row, slice(length, length + end - begin)
            row += 1
