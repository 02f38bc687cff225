"""StepSplitter of an answer are its lines, and their states those of a plain pass."""

import pytest
import torch

from diffalign.losses import CandidateLogps
from diffalign.policies.language.network.choose_fastest_forward import choose_forward_mode
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.scoring.batch import EncodedTexts
from diffalign.policies.language.scoring.step_states import StepSplitter, with_steps
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from diffalign.policies.policy import BatchLogps
from tests.tiny_text import tiny_model

WORDS = ["<end>", "one", " two", "\n", "\n\n", ".\n", "  ", " three"]
STEPS = StepSplitter(lambda ids: "".join(WORDS[k] for k in ids), (0,))


@pytest.mark.parametrize(
    "tokens, steps",
    [
        ([1, 2, 3, 7, 0], [0, 0, 0, 1, 1]),
        ([1, 5, 7, 2, 5, 0], [0, 0, 1, 1, 1, 1]),
        ([1, 3, 3, 4, 6, 2], [0, 0, 0, 0, 0, 1]),
        ([3, 6, 1, 3, 0], [0, 0, 0, 0, 0]),
        ([1], [0]),
    ],
)
def test_a_step_ends_with_its_line_and_the_end_token_begins_no_step(tokens, steps):
    assert STEPS.steps_of(tokens) == steps


@torch.no_grad()
@pytest.mark.parametrize("way", ["shared", "padded", "plain"])
def test_states_of_steps_are_sums_of_a_plain_pass(way):
    model = tiny_model()
    network = LanguageNetwork(model).eval()
    if way == "shared":
        assert choose_forward_mode(network).mode == "shared"
    network.forward_mode = way
    # The second answer is scored in parts, and the first prompt is there twice.
    answers = [Response((1, 3, 2, 5, 7, 0), (True,) * 6), Response((1, 3, 2, 3, 7), (True, True, False, False, True))]
    token_pairs = [
        TokenPair((9, 8), (answers[0], answers[1])),
        TokenPair((9, 8), (answers[1], Response((7,), (True,)))),
    ]
    encoded = EncodedTexts(tuple(token_pairs), lay_out(token_pairs))
    width = max(encoded.layout.lengths)
    scored = BatchLogps(tuple(_scores(width) for _ in range(2)))
    result = with_steps(scored, network, encoded, STEPS)
    for role, one in enumerate(result.candidates):
        assert one.states.shape[2] == 3 and not one.states.requires_grad
        for row, token_pair in enumerate(token_pairs):
            response = token_pair.responses[role]
            tokens = [token for token, is_scored in zip(response.ids, response.scored, strict=True) if is_scored]
            steps = STEPS.steps_of(tokens)
            assert one.steps[row].tolist() == steps + [0] * (width - len(steps))
            ids = torch.tensor([[*token_pair.prompt, *response.ids]])
            states = model(ids, output_hidden_states=True).hidden_states[-1][0]
            at = [len(token_pair.prompt) + k for k, is_scored in enumerate(response.scored) if is_scored]
            sums = torch.zeros(3, states.shape[1])
            sums.index_add_(0, torch.tensor(steps), states[at])
            torch.testing.assert_close(one.states[:, row].T, sums, atol=2e-4, rtol=1e-4)


def _scores(width):
    return CandidateLogps(torch.zeros(2), torch.zeros(2, width))
