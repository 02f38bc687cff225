"""Laws that scorers of every medium obey; the batteries of images, clips and texts check them for their rows."""

import torch


def both_orders_sum_to_one_and_the_higher_score_wins(scorer, prompts, a, b):
    first, second = scorer.compare(prompts, a, b), scorer.compare(prompts, b, a)
    assert first.shape == (len(prompts),) and torch.equal(first + second, torch.ones(len(prompts)))
    better = scorer.score(prompts, a) - scorer.score(prompts, b)
    clear = better.abs() > 1e-5  # below, another batch may round to another order
    assert torch.equal(first[clear] > 0.5, better[clear] > 0)


def name_unit_and_range_are_stated(scorer, medium):
    assert isinstance(scorer.preprocessing, str)
    assert scorer.name and scorer.unit and scorer.license and scorer.paper and scorer.medium == medium
    assert scorer.range[0] < scorer.range[1]
    assert isinstance(scorer.weights, str) and scorer.weights == scorer.weights
