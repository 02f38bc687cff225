"""Fast and slow adapters: worked numbers, who reaches whom, and whole runs."""

import json

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.losses import LOSSES
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.training.loop import train
from diffalign.training.step.fast_slow import FastSlow, gap_terms
from tests.tiny_text import text_pairs
from tests.training.step.test_sums_of_losses import equal, llm, recipe, records  # noqa: F401

DPO = LOSSES["logistic"].bind(beta=0.1)


def numbers(*values):
    return [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in values]


def test_the_objectives_and_slopes_are_those_worked_out_by_hand():
    # Margins 3 and 2, beta 0.1, alpha 0.1: losses 0.554355 and 0.598139, the curve of the gap 0.644397.
    fast, slow = numbers(3.0, 2.0)
    ahead, behind = gap_terms(DPO, fast, slow, 0.1)
    function = lambda m: DPO.loss.function(m, **DPO.arguments)
    objectives = function(fast) + ahead, function(slow) + behind
    assert [x.item() for x in objectives] == pytest.approx([0.618795, 0.533699], abs=5e-7)
    (objectives[0] + objectives[1]).sum().backward()
    assert [fast.grad.item(), slow.grad.item()] == pytest.approx([-0.047306, -0.049767], abs=5e-7)


def test_each_gap_term_has_a_gradient_in_its_own_adapter_and_none_beyond_the_bound():
    fast, slow = numbers(3.0, 2.0)
    ahead, behind = gap_terms(DPO, fast, slow, 0.1)
    assert torch.autograd.grad(ahead, slow, allow_unused=True) == (None,)
    assert torch.autograd.grad(behind, fast, allow_unused=True) == (None,)
    fast, slow = numbers(500.0, 2.0)
    for term, own in zip(gap_terms(DPO, fast, slow, 0.1), (fast, slow), strict=True):
        assert torch.autograd.grad(term, own)[0].item() == 0.0


def test_gap_terms_are_zero_without_alpha_and_have_half_its_slope_at_equal_margins():
    fast, slow = numbers(1.0, 1.0)
    assert [x.item() for x in gap_terms(DPO, fast, slow, 0.0)] == [0.0, 0.0]
    ahead, behind = gap_terms(DPO, fast, slow, 0.4)
    assert torch.autograd.grad(ahead, fast)[0].item() == pytest.approx(-0.4 * 0.1 / 2)
    assert torch.autograd.grad(behind, slow)[0].item() == pytest.approx(-0.4 * 0.1 / 2)


def test_the_adapter_with_the_smaller_loss_is_the_fast_one_and_the_other_has_the_smaller_rate():
    fast_slow = FastSlow(0.1, 0.25, 2, second=None)
    for _ in range(2):
        fast_slow.add_losses(torch.tensor([0.7, 0.6], dtype=torch.float64))
        fast_slow.after_step()
    assert fast_slow.second_is_fast
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    fast_slow.reduce_slow_rate(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 1.0]
    again = FastSlow(0.1, 0.25, 2, second=None)
    again.load_state(json.loads(json.dumps(fast_slow.state())))
    assert again.second_is_fast and again.sums.tolist() == [0.0, 0.0]


def test_a_second_adapter_computes_with_its_own_tensors_and_is_activated_exactly():
    module = torch.nn.Linear(3, 2)
    second = SecondAdapter(dict(module.named_parameters()))
    x = torch.randn(4, 3)
    assert torch.equal(second.network(module)(x), module(x))
    with torch.no_grad():
        second.parameters["second.weight"].add_(1.0)
    before = module(x).detach()
    second.network(module)(x).sum().backward()
    assert module.weight.grad is None and second.parameters["second.weight"].grad is not None
    with second.activated():
        assert torch.equal(module(x), second.network(module)(x) * 0 + module(x)) and not torch.equal(module(x), before)
    assert torch.equal(module(x), before)


FAST_SLOW = {"fast_slow": {"alpha": 0.5, "rate": 0.2, "interval": 2}}


def test_a_run_with_two_adapters_resumes_exactly(llm, tmp_path):  # noqa: F811
    def run(name, steps, resume=False):
        wanted = recipe(llm, tmp_path / name, train={"steps": steps, **FAST_SLOW}, checkpoint={"every": 1})
        return train(wanted, pairs=text_pairs(4), resume=resume).policy

    straight = run("straight", 5)
    run("parts", 3)
    assert equal(run("parts", 5, resume=True).state(), straight.state())
    state = straight.state()
    assert any(
        not torch.equal(state[name], state[f"second.{name}"]) for name in state if not name.startswith("second.")
    )
    assert "fast_slow/gap" in records(tmp_path / "straight")[-1]
    first = records(tmp_path / "straight")[0]
    assert first["loss"] == pytest.approx(2 * 0.693147, rel=1e-4)  # both begin where the reference is


def test_images_are_trained_by_two_adapters_too(model, pairs, tmp_path):
    from tests.training.tiny_runs import losses, run

    run(model, tmp_path / "both", pairs, train={"steps": 3, **FAST_SLOW})
    assert losses(tmp_path / "both")[0] == pytest.approx(2 * 0.693147, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": {"name": "simpo"}}, "no function of one.*margin"),
        ({"model": {"adapter": None}}, "needs a first one"),
        ({"train": {"gradient_checkpointing": True}}, "activations that are not checkpointed"),
    ],
)
def test_settings_that_two_adapters_do_not_allow_are_refused_before_training(llm, tmp_path, changes, said):  # noqa: F811
    given = {"train": {**FAST_SLOW, **changes.pop("train", {})}, **changes}
    if "model" in given:
        given["model"] = {"kind": "text", "path": str(llm), **given["model"]}
    with pytest.raises(ConfigError, match=said):
        train(recipe(llm, tmp_path / "no", **given), pairs=text_pairs(4))
