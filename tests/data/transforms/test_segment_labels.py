"""Labels of segments: one pair for each, which together are the mean of the segments' losses."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import Pair
from diffalign.data.transforms.flip import flip
from diffalign.data.transforms.segment_labels import parse_labels, segment_frames, split_pair, split_segments
from diffalign.errors import DataError, UserError
from diffalign.labels import column
from diffalign.policies.diffusion.scoring.batch import frame_weights

PAIR = Pair("a", "a fox", b"one", b"two", scores={"pair": {"gap": 2.0}}, source="t:1")


def test_segments_are_equal_parts_of_the_frames():
    assert [list(segment_frames(s, 2, 4)) for s in range(2)] == [[0, 1], [2, 3]]
    assert [list(segment_frames(s, 3, 8)) for s in range(3)] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    for frames in range(1, 20):
        for count in range(1, frames + 1):
            parts = [segment_frames(s, count, frames) for s in range(count)]
            assert [frame for part in parts for frame in part] == list(range(frames)) and all(map(len, parts))


def test_each_labelled_segment_is_a_pair_swapped_where_the_rejected_clip_is_better():
    first, last = split_pair(PAIR, [1, 0, -1], 6)
    assert (first.id, first.chosen, first.rejected) == ("a-s0", b"one", b"two")
    assert (last.id, last.chosen, last.rejected) == ("a-s2", b"two", b"one")
    assert first.frame_weights == (1, 1, 0, 0, 0, 0) and last.frame_weights == (0, 0, 0, 0, 1, 1)
    assert first.scores["pair"] == {"gap": 2.0, "weight": 0.5} and last.scores["pair"] == {"gap": -2.0, "weight": 0.5}
    weighted = replace(PAIR, scores={"pair": {"weight": 3.0}})
    assert [part.scores["pair"]["weight"] for part in split_pair(weighted, [1, 1, -1], 6)] == [1.0, 1.0, 1.0]


def test_flipping_a_pair_is_changing_the_sign_of_its_labels():
    swapped = split_pair(flip(PAIR), [-1, 0, 1, 1], 8)
    assert swapped == split_pair(PAIR, [1, 0, -1, -1], 8)


def test_the_pairs_have_the_mean_loss_of_the_segments():
    """Errors by frame; worked by hand: u = (0.3, -0.1) of the labelled segments, beta 2, loss = mean of -log s(y u)."""
    policy = {b"one": [0.1, 0.1, 0.5, 0.5, 0.2, 0.4], b"two": [0.3, 0.5, 0.9, 0.9, 0.1, 0.3]}
    reference = {name: [0.2] * 6 for name in policy}
    parts = split_pair(PAIR, [1, 0, -1], 6)
    weights = frame_weights(parts, 6, torch.device("cpu"))
    label = column(parts, weight="weight")

    def logratios(side):
        rows = torch.tensor([[p - r for p, r in zip(policy[m], reference[m], strict=True)] for m in side])
        return -0.5 * (weights * rows).mean(1)

    margin = logratios([part.chosen for part in parts]) - logratios([part.rejected for part in parts])
    torch.testing.assert_close(margin, torch.tensor([0.15, 0.05]))
    losses = label.weight * -torch.nn.functional.logsigmoid(2.0 * margin.double())
    expected = (math.log1p(math.exp(-0.3)) + math.log1p(math.exp(-0.1))) / 2
    assert float(losses.sum()) == pytest.approx(expected, abs=1e-6) and expected == pytest.approx(0.599376, abs=1e-6)


def test_a_cell_is_a_list_of_three_values_or_its_text():
    assert parse_labels([1, -1, 0]) == parse_labels("[1, -1, 0.0]") == [1, -1, 0]
    assert all(parse_labels(cell) is None for cell in ([2], [0.5], [True], [], "x", 1, None, ["1"], [None]))


@pytest.mark.parametrize(
    "cell, change, reason",
    [
        (None, {}, "no label"),
        ([1, 2], {}, "bad label"),
        ([0, 0], {}, "tie"),
        ([1] * 9, {}, "bad label"),
        ([1], {"rejected": None}, "bad label"),
        ([1], {"frame_weights": (1.0, 2.0)}, "bad label"),
    ],
)
def test_rows_that_cannot_be_split_are_dropped_with_the_reason(cell, change, reason):
    rows = [PairRow(PAIR), PairRow(replace(PAIR, source="t:2", **change))]
    result = split_segments(rows, {"t:1": [1, -1], "t:2": cell}, frames=8)
    assert [row.pair.id for row in result.rows] == ["a-s0", "a-s1"]
    assert [(row.source, row.reason) for row in result.dropped] == [("t:2", reason)]


def test_no_labels_and_no_frames_are_named():
    with pytest.raises(DataError, match="no row has a column 'segments'"):
        split_segments([PairRow(PAIR)], {}, frames=8)
    with pytest.raises(UserError, match="--frames is the number of frames"):
        split_segments([PairRow(PAIR)], {"t:1": [1]}, frames=0)
