"""The order of visits is a function of seed and step alone."""

from collections import Counter

import pytest

from diffalign.training.step.batch_order import BatchOrder, micro_batches, process_share


def test_each_epoch_shows_every_pair_once():
    order = BatchOrder(size=10, batch_size=4, seed=3)
    plan = order.plan(10)  # 40 visits: four epochs
    for epoch in range(4):
        assert sorted(index for index, visit in plan if visit == epoch) == list(range(10))
    assert plan == [visit for k in range(10) for visit in order.batch(k)]


def test_a_batch_larger_than_the_set_wraps():
    visits = BatchOrder(size=3, batch_size=8, seed=0).batch(0)
    assert Counter(visit for _, visit in visits) == {0: 3, 1: 3, 2: 2}
    assert len(set(visits)) == 8


def test_epochs_and_seeds_differ_and_repeat():
    order = BatchOrder(size=50, batch_size=50, seed=1)
    indices = [[index for index, _ in BatchOrder(50, 50, seed).batch(k)] for seed in (1, 2) for k in (0, 1)]
    assert len({tuple(row) for row in indices}) == 4
    assert order.batch(7) == BatchOrder(size=50, batch_size=50, seed=1).batch(7)


def test_the_permutation_does_not_depend_on_the_batch():
    small, large = BatchOrder(12, 2, 5).plan(18), BatchOrder(12, 9, 5).plan(4)
    assert small == large


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_cut_a_batch_without_loss(processes):
    batch = list(range(8))
    shares = [process_share(batch, rank, processes) for rank in range(processes)]
    assert [item for part in shares for item in part] == batch
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [item for piece in micro_batches(batch, 3) for item in piece] == batch


def test_epochs_are_counted_in_pairs():
    assert BatchOrder(size=16, batch_size=4, seed=0).epochs(6) == 1.5
