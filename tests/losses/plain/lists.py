"""The formulas of losses on ranked lists."""

import math

from tests.losses.plain.table import Plain, log_sigmoid


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
    return _tree(e, s, lambda i, j: s[i] - s[j], weights)


def _tree_po_steps(e, beta, weights):
    between = sorted((role for role in e.further if role.isdigit()), key=int)
    answers = [steps_of(e.parts[role], beta) for role in ("chosen", *between, "rejected")]
    s = [sum(reward for reward, _ in steps) for steps in answers]
    return _tree(e, s, lambda i, j: step_margin(answers[i], answers[j]), weights)


def steps_of(parts, beta):
    """Reward and state of each step."""
    rewards = [0.0] * (max(parts.steps) + 1)
    for step, policy, reference in zip(parts.steps, parts.policy, parts.reference, strict=True):
        rewards[step] += beta * (policy - reference)
    return list(zip(rewards, parts.states, strict=False))


def step_margin(one, other):
    """With the steps that the longer answer has more merged into its last shared one."""
    shared = min(len(one), len(other))
    total = 0.0
    for (r, e), (q, f) in zip(_merged(one, shared), _merged(other, shared), strict=True):
        dot, sizes = sum(a * b for a, b in zip(e, f, strict=True)), math.hypot(*e) * math.hypot(*f)
        total += (1 + dot / sizes) * (r - q)
    return total


def _merged(steps, count):
    rest = steps[count - 1 :]
    return [*steps[: count - 1], (sum(r for r, _ in rest), [sum(x) for x in zip(*(e for _, e in rest), strict=True)])]


def _tree(e, s, margin, weights):
    v = [reward for _, reward in e.ranked]
    order = sorted(range(len(s)), key=lambda i: -s[i])
    rank = [order.index(i) + 1 for i in range(len(s))]
    total = 0.0
    for i in range(len(s)):
        for j in range(len(s)):
            if v[i] > v[j]:
                swap = abs(2 ** v[i] - 2 ** v[j]) * abs(1 / math.log(1 + rank[i]) - 1 / math.log(1 + rank[j]))
                total -= (swap if weights == "lambda" else 1.0) * log_sigmoid(margin(i, j))
    return total


def _ratios(e):
    return [answer.policy - answer.reference for answer, _ in e.ranked]


def _from_others(xs):
    return [x - (sum(xs) - x) / (len(xs) - 1) for x in xs]


def _leave_one_out(e, beta, relative):
    ratios, rewards = _from_others(_ratios(e)), _from_others([reward for _, reward in e.ranked])
    squares = [(r - v / beta) ** 2 for r, v in zip(ratios, rewards, strict=True)]
    return (beta**2 if relative else 1.0) * sum(squares) / len(squares)


def _best_of_n(e, n):
    v = [reward for _, reward in e.ranked]
    shares = _from_others([math.log(sum(other <= own for other in v) / len(v)) for own in v])
    ratios = _from_others(_ratios(e))
    return sum((r - (n - 1) * q) ** 2 for r, q in zip(ratios, shares, strict=True)) / len(v)


def _reward_weighted(e, temperature):
    v = [reward / temperature for _, reward in e.ranked]
    total = log_sum(v)
    return -sum(math.exp(x - total) * answer.policy for x, (answer, _) in zip(v, e.ranked, strict=True))


def _group_kl(e):
    r = _ratios(e)
    mean = sum(r) / len(r)
    return sum((x - mean) ** 2 for x in r) / (2 * (len(r) - 1))


LISTS = {
    "leave_one_out": Plain(
        _leave_one_out, ({"beta": 0.1}, {"beta": 5000.0, "relative": True}, {"beta": 2.0}), past=True
    ),
    "best_of_n": Plain(_best_of_n, ({"n": 4.0}, {"n": 1.0}), past=True),
    "reward_weighted": Plain(_reward_weighted, ({"temperature": 1.0}, {"temperature": 0.05}), past=True),
    "group_kl": Plain(_group_kl, ({},), past=True),
    "plackett_luce": Plain(_plackett_luce, ({"beta": 0.1}, {"beta": 5000.0})),
    "pro": Plain(_pro, ({}, {"sft": 1.0})),
    "tree_po_steps": Plain(_tree_po_steps, ({"beta": 0.5}, {"beta": 5000.0}, {"beta": 1.0, "weights": "uniform"})),
    "tree_po": Plain(_tree_po, ({"beta": 0.5}, {"beta": 5000.0}, {"beta": 1.0, "weights": "uniform"})),
}
