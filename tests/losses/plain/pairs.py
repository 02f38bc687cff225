"""The formulas of the losses on pairs that need margins or log-probabilities alone."""

import math

from tests.losses.plain.table import Plain, log_sigmoid


def _s(u):
    return 1 / (1 + math.exp(-u)) if u >= 0 else math.exp(u) / (1 + math.exp(u))


def _dpo_gamma(e, beta, gamma):
    policy, reference = e.chosen - e.rejected, e.reference_chosen - e.reference_rejected
    return -log_sigmoid(beta * policy - beta * gamma * reference)


def _flex(e, beta, beta_rejected):
    chosen, rejected = e.logratios
    return -log_sigmoid(beta * chosen - beta_rejected * rejected)


def _cpl(e, beta, lam):
    # -log of exp(a S_w) / (exp(a S_w) + exp(lam a S_l)), the larger exponent taken out.
    won, lost = beta * e.chosen, lam * beta * e.rejected
    top = max(won, lost)
    return top + math.log(math.exp(won - top) + math.exp(lost - top)) - won


def _cpl_kl(e, beta, lam):
    chosen, rejected = e.logratios
    return -log_sigmoid(beta * chosen - lam * beta * rejected)


def _cpo(e, beta, weight, average):
    count = e.chosen_tokens if average else 1
    return -log_sigmoid(beta * e.chosen - beta * e.rejected) - weight * e.chosen / count


def _asft(e, lam, beta, sft_term, per_token):
    a_w, a_l = e.means(per_token)
    if beta == 1.0:
        return -(lam + sft_term) * a_w - lam * math.log(-math.expm1(a_l))
    odds = lambda a: a - math.log(-math.expm1(a))
    return -sft_term * a_w - lam * log_sigmoid(beta * odds(a_w)) - lam * log_sigmoid(-beta * odds(a_l))


def _exo(m, beta, flip):
    # The divergence of two-sided coins, written out.
    said, label = (_s(beta * m), _s(-beta * m)), (1 - flip, flip)
    logs = (log_sigmoid(beta * m), log_sigmoid(-beta * m))
    return sum(q * (log_q - math.log(p)) for q, log_q, p in zip(said, logs, label, strict=True))


def _discopop(m, beta, temperature):
    u = beta * m
    share = _s(u / temperature)
    return -log_sigmoid(u) * _s(-u / temperature) + math.exp(-u) * share


def _apo_zero(e, beta):
    chosen, rejected = e.logratios
    return 1 - _s(beta * chosen) + _s(beta * rejected)


def _apo_down(e, beta):
    chosen, rejected = e.logratios
    return _s(beta * chosen) + 1 - _s(beta * (chosen - rejected))


def _bco_pair(e, beta):
    chosen, rejected = e.logratios
    return -log_sigmoid(beta * chosen) - log_sigmoid(-beta * rejected)


def _nca(e, beta):
    chosen, rejected = (beta * ratio for ratio in e.logratios)
    return -log_sigmoid(chosen) - (log_sigmoid(-chosen) + log_sigmoid(-rejected)) / 2


def _sppo_hard(e, beta, relative):
    chosen, rejected = e.logratios
    total = (chosen - 1 / (2 * beta)) ** 2 + (rejected + 1 / (2 * beta)) ** 2
    return beta**2 * total if relative else total


def _by_rank(ones, others, beta, flip):
    """The k-th smallest of the one side against the k-th smallest of the other, given back in the ones' order."""
    order = sorted(range(len(ones)), key=lambda k: ones[k])
    losses = [0.0] * len(ones)
    for k, other in zip(order, sorted(others), strict=True):
        u = beta * (ones[k] - other)
        losses[k] = -(1 - flip) * log_sigmoid(u) - flip * log_sigmoid(-u)
    return losses


def _aot(examples, beta, flip):
    policy = [e.chosen - e.rejected for e in examples]
    return _by_rank(policy, [e.reference_chosen - e.reference_rejected for e in examples], beta, flip)


def _aot_unpaired(examples, beta, flip):
    chosen, rejected = zip(*(e.logratios for e in examples), strict=True)
    return _by_rank(chosen, rejected, beta, flip)


ON_PAIRS = {
    "dpo_gamma": Plain(
        _dpo_gamma, ({"beta": 0.1, "gamma": 0.5}, {"beta": 1.0, "gamma": 1.0}, {"beta": 5000.0, "gamma": 0.0})
    ),
    "flex_dpo": Plain(
        _flex, ({"beta": 0.1, "beta_rejected": 0.08}, {"beta": 5000.0, "beta_rejected": 4000.0}), apart=True
    ),
    "cpl": Plain(_cpl, ({"beta": 0.1}, {"beta": 1.0, "lam": 0.25})),
    "cpl_kl": Plain(_cpl_kl, ({"beta": 0.2}, {"beta": 5000.0, "lam": 0.5}), apart=True),
    "cpo": Plain(_cpo, ({"beta": 0.1}, {"beta": 0.5, "weight": 0.2, "average": False})),
    "asft": Plain(
        _asft,
        ({}, {"lam": 0.5, "beta": 0.5}, {"beta": 2.0, "sft_term": False}, {"lam": 2.0, "per_token": False}),
        below=-1e-3,
    ),
    "exo": Plain(_exo, ({"beta": 0.1}, {"beta": 5000.0, "flip": 0.005}, {"beta": 1.0, "flip": 0.3})),
    "discopop": Plain(
        _discopop,
        ({"beta": 0.1}, {"beta": 5000.0, "temperature": 0.5}),
        past=True,
        hill=lambda h: (-0.1185, 0.0719) if h["temperature"] == 0.05 else None,
    ),
    "apo_zero": Plain(_apo_zero, ({"beta": 0.1}, {"beta": 5000.0}), apart=True),
    "apo_down": Plain(_apo_down, ({"beta": 0.1}, {"beta": 5000.0}), apart=True, past=True),
    "bco_pair": Plain(_bco_pair, ({"beta": 0.1}, {"beta": 5000.0}), apart=True),
    "nca": Plain(_nca, ({"beta": 0.1}, {"beta": 5000.0}), apart=True),
    "sppo_hard": Plain(
        _sppo_hard, ({"beta": 0.1}, {"beta": 0.001, "relative": True}, {"beta": 5000.0, "relative": True}), apart=True
    ),
    "aot": Plain(_aot, ({"beta": 0.1}, {"beta": 1.0, "flip": 0.1}), needs_whole_batch=True),
    "aot_unpaired": Plain(_aot_unpaired, ({"beta": 0.1}, {"beta": 5000.0, "flip": 0.2}), needs_whole_batch=True),
}
