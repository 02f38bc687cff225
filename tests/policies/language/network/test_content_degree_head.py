"""Degrees of removed content: which tokens are removed, the cost of an untrained head, and a run with the loss."""

import json
import math

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.language.config import DegreeConfig
from diffalign.policies.language.network.content_degree_head import (
    DEGREE_FILE,
    DegreeHead,
    TokenRarity,
    kept_tokens,
)
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from diffalign.training.loop import train
from tests.tiny_text import text_pairs, tiny_llm
from tests.training.step.test_sums_of_losses import DPO, recipe

TERM = [DPO, {"name": "content_degree", "times": 0.1}]
REMOVED = (0.0, 0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm") / "model")


def response(*ids):
    return Response(ids, (True,) * len(ids))


def test_the_rarest_tokens_are_removed_first_and_prompts_never():
    rarity = TokenRarity()
    for ids in ((5, 6), (5, 6), (5, 7), (5, 8)):
        rarity.add(TokenPair((1,), (response(*ids),)))
    assert rarity.of(5) == pytest.approx(math.log(5 / 5)) and rarity.of(8) == pytest.approx(math.log(5 / 2))
    layout = lay_out(
        [
            TokenPair(
                (1, 2, 3),
                (
                    response(5, 8, 6, 5),
                    response(
                        6,
                    ),
                ),
            )
        ]
    )
    kept = kept_tokens(layout, rarity, REMOVED)
    assert kept.shape == (5, 4)
    assert kept[:4].T.int().tolist() == [[1, 1, 1, 1], [1, 0, 1, 1], [1, 0, 0, 1], [1, 0, 0, 0]]
    assert kept[4].all()  # one token at least stays


def test_an_untrained_head_costs_the_logarithm_of_the_degrees_and_degree_zero_is_the_plain_mean():
    head, states = DegreeHead(6, 4), torch.randn(5, 6)
    owners = torch.tensor([0, 0, 0, 1, 1])
    kept = torch.ones(5, 4, dtype=torch.bool)
    cost, right = head(states, owners, kept, 2)
    torch.testing.assert_close(cost, torch.full((2,), math.log(4)))
    assert right.tolist() == [0.25, 0.25]
    torch.nn.init.normal_(head.linear.weight)
    pooled = torch.stack([states[:3].mean(0), states[3:].mean(0)])
    logits = head.linear(head.norm(pooled))
    by_hand = torch.stack([torch.logsumexp(logits, 1) - logits[:, k] for k in range(4)], 1).mean(1)
    torch.testing.assert_close(head(states, owners, kept, 2)[0], by_hand)


def test_the_cross_entropy_of_three_degrees_is_the_number_computed_by_hand():
    # Logits (1.2, 0.3, -0.5): 0.463264 for the first degree, 1.363264 for the second.
    head = DegreeHead(2, 3)
    head.linear.bias.data = torch.tensor([1.2, 0.3, -0.5])
    cost, _ = head(torch.ones(1, 2), torch.tensor([0]), torch.ones(1, 3, dtype=torch.bool), 1)
    assert cost.item() == pytest.approx((0.463264 + 1.363264 + 2.163264) / 3, abs=1e-6)


def test_a_run_learns_to_predict_degrees_and_saves_the_head(llm, tmp_path):
    model = {"kind": "text", "path": str(llm), "adapter": {"rank": 2}, "degree": {}}
    run_recipe = recipe(llm, tmp_path / "run", loss=TERM, model=model, train={"steps": 8, "learning_rate": 1e-2})
    result = train(run_recipe, pairs=text_pairs(4))
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(math.log(2) + 0.1 * math.log(4), rel=1e-4)
    assert rows[-1]["loss"] < rows[0]["loss"] and {"degree/accuracy", "rewards/accuracies"} <= rows[0].keys()
    assert any(name.startswith("degree.") for name in result.policy.state())
    assert (result.artifact / DEGREE_FILE).is_file() and (result.artifact / "adapter_model.safetensors").is_file()


def test_a_term_of_tiny_weight_does_not_change_training(llm, tmp_path):
    plain = {"kind": "text", "path": str(llm), "adapter": {"rank": 2}}
    states = []
    for name, loss in (("with", [DPO, {"name": "content_degree", "times": 1e-12}]), ("without", DPO)):
        model = {**plain, "degree": {}} if name == "with" else plain
        states.append(train(recipe(llm, tmp_path / name, loss=loss, model=model), pairs=text_pairs(4)).policy.state())
    for name, value in states[1].items():
        if not name.startswith("degree."):
            torch.testing.assert_close(value, states[0][name], rtol=1e-4, atol=1e-6)


def test_a_model_without_degrees_and_invalid_shares_are_refused(llm, tmp_path):
    with pytest.raises(ConfigError, match="Type: --set model.degree={}"):
        train(recipe(llm, tmp_path / "none", loss=TERM), pairs=text_pairs(4))
    with pytest.raises(ValueError, match="grow from 0 and stay below 1"):
        DegreeConfig(removed=(0.1, 0.5))
