"""The layout of a batch: every prompt once; a response sees its prompt and itself, nothing else."""

import pytest
import torch

from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.network.padding import pad_rows
from diffalign.policies.language.tokens.token_pair import Response, TokenPair


def response(*ids, scored=None):
    return Response(ids, (True,) * len(ids) if scored is None else scored)


A, B, C = response(7, 8, 9), response(5, 6), response(4)
FIRST, SECOND = TokenPair((1, 2, 3), (A, B)), TokenPair((2, 3), (B, C))


def test_a_prompt_occurs_once_for_all_its_responses_and_pairs():
    again = TokenPair((1, 2, 3), (C, A))
    layout = lay_out([FIRST, SECOND, again])
    assert layout.ids.tolist() == [1, 2, 3, 7, 8, 9, 5, 6, 4, 2, 3, 5, 6, 4]
    assert [(g.start, g.prompt_end, g.response_ends) for g in layout.groups] == [(0, 3, (6, 8, 9)), (9, 11, (13, 14))]
    assert layout.pair_responses == ((0, 1), (3, 4), (2, 0))


def test_positions_of_every_response_continue_those_of_its_prompt():
    assert lay_out([FIRST]).position_ids.tolist() == [0, 1, 2, 3, 4, 5, 3, 4]


def test_first_tokens_are_predicted_at_the_last_token_of_the_prompt():
    layout = lay_out([FIRST])
    assert layout.predict_at.tolist() == [2, 3, 4, 2, 6]
    assert layout.targets.tolist() == [7, 8, 9, 5, 6]
    assert layout.response_index.tolist() == [0, 0, 0, 1, 1] and layout.token_index.tolist() == [0, 1, 2, 0, 1]


def test_tokens_that_are_not_scored_are_visible_but_no_targets():
    layout = lay_out([TokenPair((1,), (response(7, 8, 9, scored=(True, False, True)), C))])
    assert layout.targets.tolist() == [7, 9, 4] and layout.predict_at.tolist() == [0, 2, 0]
    assert layout.lengths == (2, 1) and len(layout.ids) == 5


def test_a_response_sees_its_prompt_and_itself_and_no_other_response():
    layout = lay_out([FIRST])
    seen = layout.response_mask(layout.groups[0], None, torch.float32) == 0
    assert seen.int().tolist() == [
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0, 1, 1],
    ]


def test_a_window_counts_positions_not_indices_in_the_row():
    layout = lay_out([FIRST])
    seen = layout.response_mask(layout.groups[0], 2, torch.float32) == 0
    assert seen[3].int().tolist() == [0, 0, 1, 0, 0, 0, 1, 0], "the second response's first token follows the prompt"
    prompt = layout.prompt_mask(layout.groups[0], 2, torch.float32) == 0
    assert prompt.int().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("token_pairs", [[FIRST], [FIRST, SECOND], [SECOND, FIRST, TokenPair((9,), (A,))]])
def test_padded_rows_predict_the_same_tokens_at_the_same_positions(token_pairs):
    layout = lay_out(token_pairs)
    ids, mask, rows, columns = pad_rows(layout)
    assert torch.equal(ids[rows, columns], layout.ids[layout.predict_at])
    assert torch.equal(columns, layout.position_ids[layout.predict_at])
    assert torch.equal(ids[rows, columns + 1], layout.targets)
    assert mask.sum() == sum(len(q.prompt) + len(r.ids) for q in token_pairs for r in q.responses)
