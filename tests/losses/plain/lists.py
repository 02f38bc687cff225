"""The formulas of losses on ranked lists."""

import math

from tests.losses.plain.plain import Plain, log_sigmoid


def log_sum(xs):
    top = max(xs)
    return top + math.log(sum(math.exp(x - top) for x in xs))


def _plackett_luce(e, beta):
    rewards = [beta * (answer.policy - answer.reference) for answer, _ in e.ranked]
    return sum(log_sum(rewards[k:]) - rewards[k] for k in range(len(rewards) - 1))


def _pro(e, sft):
    means = [answer.policy / answer.tokens for answer, _ in e.ranked]
    r = [reward for _, reward in e.ranked]
    n, total = len(r), 0.0
    for k in range(n - 1):
        own = max(r[k] - r[i] for i in range(k + 1, n))
        total += log_sum([means[k] * own, *(means[i] * (r[k] - r[i]) for i in range(k + 1, n))]) - means[k] * own
    return total - sft * (n - 1) ** 2 * e.chosen


def _tree_po(e, beta, weights):
    s = [beta * (answer.policy - answer.reference) for answer, _ in e.ranked]
    v = [reward for _, reward in e.ranked]
    order = sorted(range(len(s)), key=lambda i: -s[i])
    rank = [order.index(i) + 1 for i in range(len(s))]
    total = 0.0
    for i in range(len(s)):
        for j in range(len(s)):
            if v[i] > v[j]:
                swap = abs(2 ** v[i] - 2 ** v[j]) * abs(1 / math.log(1 + rank[i]) - 1 / math.log(1 + rank[j]))
                total -= (swap if weights == "lambda" else 1.0) * log_sigmoid(s[i] - s[j])
    return total


LISTS = {
    "plackett_luce": Plain(_plackett_luce, ({"beta": 0.1}, {"beta": 5000.0})),
    "pro": Plain(_pro, ({}, {"sft": 1.0})),
    "tree_po": Plain(_tree_po, ({"beta": 0.5}, {"beta": 5000.0}, {"beta": 1.0, "weights": "uniform"})),
}
