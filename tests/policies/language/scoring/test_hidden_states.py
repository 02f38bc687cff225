"""Hidden states of responses are the model's own, in every forward mode."""

import pytest
import torch

from diffalign.policies.language.network.choose_fastest_forward import choose_forward_mode
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.scoring.hidden_states import reduce_states
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from tests.tiny_text import FAMILIES, tiny_model


def example_pairs():
    """Two prompts of several lengths, the first twice; an answer with turns between that are not scored."""
    answers = [Response((11, 12, 13), (True,) * 3), Response((14, 15, 16, 17), (True, False, False, True))]
    return [
        TokenPair((7, 8, 9, 10), (answers[0], answers[1])),
        TokenPair((20,), (Response((21,), (True,)), Response((22, 23), (True, True)))),
        TokenPair((7, 8, 9, 10), (answers[1], Response((30, 31), (True, True)))),
    ]


def by_hand(model, prompt, response):
    """Predicting states summed, states at scored tokens averaged, the last of them: one plain forward pass."""
    ids = torch.tensor([[*prompt, *response.ids]])
    states = model(ids, output_hidden_states=True).hidden_states[-1][0]
    at = [len(prompt) + k for k, scored in enumerate(response.scored) if scored]
    return states[[number - 1 for number in at]].sum(0), states[at].mean(0), states[at[-1]]


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", ["shared", "padded", "plain"])
def test_states_equal_those_of_a_plain_pass(family, way):
    model = tiny_model(family)
    network = LanguageNetwork(model).eval()
    if way == "shared":
        assert choose_forward_mode(network).mode == "shared"
    network.forward_mode = way
    token_pairs = example_pairs()
    layout = lay_out(token_pairs)
    states = reduce_states(network.hidden_states(layout), layout)
    assert states.lengths.tolist() == [3, 2, 2, 1, 2]
    for token_pair, numbers in zip(token_pairs, layout.pair_responses, strict=True):
        for response, number in zip(token_pair.responses, numbers, strict=True):
            total, mean, last = by_hand(model, token_pair.prompt, response)
            torch.testing.assert_close(states.total[number], total, atol=2e-4, rtol=1e-4)
            torch.testing.assert_close(states.mean[number], mean, atol=2e-4, rtol=1e-4)
            torch.testing.assert_close(states.last[number], last, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_states_times_the_head_are_the_logits_that_score():
    """The state is what the head reads: with it, the log-probability of each scored token comes out."""
    network = LanguageNetwork(tiny_model()).eval()
    choose_forward_mode(network)
    layout = lay_out(example_pairs())
    logits = network.model.get_output_embeddings()(network.hidden_states(layout)[layout.predict_at])
    logps = logits.log_softmax(-1).gather(1, layout.targets[:, None])[:, 0]
    torch.testing.assert_close(logps, network(layout), atol=1e-5, rtol=1e-5)
