"""The formulas of losses that read more than two log-ratios: rewards, further answers, an earlier policy, prompts."""

import math

from tests.losses.plain.table import Plain, log_sigmoid


def _gap(e):
    return e.rewards["chosen"] - e.rewards["rejected"]


def _ratio(e, role):
    return e.further[role].policy - e.further[role].reference


def _regression(e, targets, beta, relative):
    unit = beta if relative else 1.0
    return sum((unit * (r - t / beta)) ** 2 for r, t in zip(e.logratios, targets, strict=True)) / 2


def _gpo(e, beta, clamp, relative, centred):
    bound = clamp * beta if clamp else math.inf
    v_w, v_l = e.rewards["chosen"], e.rewards["rejected"]
    targets = [max(-bound, min(bound, v)) for v in (((v_w - v_l) / 2, (v_l - v_w) / 2) if centred else (v_w, v_l))]
    return _regression(e, targets, beta, relative)


def _sppo(e, beta, single, relative):
    p_w = e.rewards["chosen"]
    p_l = 1 - p_w if single else e.rewards["rejected"]
    return _regression(e, (p_w - 0.5, p_l - 0.5), beta, relative)


def _dno(e, beta, scale, target, gap):
    if abs(_gap(e)) < gap:
        return 0.0
    u = beta * e.margin(False)
    z = 1 / (1 + math.exp(-scale * _gap(e))) if target == "soft" else 1
    return -log_sigmoid(u) + (1 - z) * u  # the label's doubt is a straight line


def _rebel(e, beta, relative, per_token):
    n_w, n_l = (e.chosen_tokens, e.rejected_tokens) if per_token else (1, 1)
    margin = e.logratios[0] / n_w - e.logratios[1] / n_l
    return (beta * margin - _gap(e)) ** 2 if relative else (margin - _gap(e) / beta) ** 2


def _odpo(e, beta, alpha, growth):
    offset = math.log(_gap(e)) if growth == "log" else _gap(e)
    return -log_sigmoid(beta * e.margin(False) - alpha * offset)


def _modpo(e, beta, weight, curve):
    reward = lambda r, g: (beta * r - g) / weight
    (r_w, r_l), (g_w, g_l) = e.logratios, (e.rewards["chosen"], e.rewards["rejected"])
    u = reward(r_w, g_w) - reward(r_l, g_l)
    return max(0, 1 - u) if curve == "hinge" else -log_sigmoid(u)


def _inpo(e, beta, tau_over_eta, relative, per_token):
    n_w, n_l = (e.chosen_tokens, e.rejected_tokens) if per_token else (1, 1)
    t_w, t_l = e.extra_models["previous"]
    q = tau_over_eta
    h = (e.chosen - q * e.reference_chosen - (1 - q) * t_w) / n_w
    h -= (e.rejected - q * e.reference_rejected - (1 - q) * t_l) / n_l
    return (beta * h - 0.5) ** 2 if relative else (h - 1 / (2 * beta)) ** 2


def _nll_of_gold(e, per_token=True):
    return -e.further["gold"].policy / (e.further["gold"].tokens if per_token else 1)


def _tpo(e, beta, alpha):
    return -log_sigmoid(beta * (e.chosen - e.rejected)) + alpha * _nll_of_gold(e)


def _tpo_l(e, beta, gamma, alpha, per_token):
    a_w, a_l = e.means(per_token)
    return -log_sigmoid(beta * (a_w - a_l) - gamma) + alpha * _nll_of_gold(e, per_token)


def _vpo(e, beta, alpha, sign, clip, calibration_per_token):
    n = e.further["calibration"].tokens if calibration_per_token else 1
    reward = beta * _ratio(e, "calibration") / n
    reward = max(-clip, min(clip, reward)) if clip else reward
    return -log_sigmoid(beta * e.margin(False)) + {"offline": -1, "online": 1}[sign] * alpha * reward


def _srpo(e, beta, mix):
    (best, worst), part = e.logratios, lambda role: _ratio(e, role)
    wl, lw = part("chosen_after_rejected"), part("rejected_after_chosen")
    ww, ll = part("chosen_after_chosen"), part("rejected_after_rejected")
    joint = (beta * (best + wl - worst - lw) - 1) ** 2
    reviser = ((beta * (wl - ll) - 0.5) ** 2 + (beta * (ww - lw) - 0.5) ** 2) / 2
    return (1 - mix) * reviser + mix * joint


def _rationale(e, gamma, form, per_token):
    answer = e.further["rationale"]
    logp = answer.policy / (answer.tokens if per_token else 1)
    return -gamma * logp if form == "nll" else -log_sigmoid(gamma * logp)


def _margin_contrast(e, beta):
    m = beta * e.margin(False)
    m_augmented = beta * (_ratio(e, "augmented_chosen") - _ratio(e, "augmented_rejected"))
    return -log_sigmoid(m_augmented - m)


def _dove(e, beta):
    p = e.prompts
    prompt = lambda side: p[side] - p[f"reference_{side}"] if p else 0.0
    (r_w, r_l) = e.logratios
    return -log_sigmoid(beta * ((prompt("chosen") + r_w) - (prompt("rejected") + r_l)))


JUDGED = {
    "gpo": Plain(
        _gpo,
        (
            {"beta": 0.1},
            {"beta": 0.1, "centred": False},
            {"beta": 0.001, "relative": True},
            {"beta": 2000.0, "clamp": 2.5e-4, "relative": True},
        ),
        past=True,
        apart=True,
    ),
    "dno": Plain(_dno, ({"beta": 0.1}, {"beta": 5000.0, "scale": 8.0}, {"beta": 0.5, "target": "hard"})),
    "sppo": Plain(
        _sppo,
        ({"beta": 0.1}, {"beta": 0.001, "relative": True}, {"beta": 2000.0, "single": True, "relative": True}),
        past=True,
        apart=True,
    ),
    "rebel": Plain(
        _rebel,
        ({"beta": 0.1}, {"beta": 0.001, "relative": True}, {"beta": 0.5, "per_token": True}),
        past=True,
    ),
    "online_kl": Plain(lambda e: (_ratio(e, "own_1") - _ratio(e, "own_2")) ** 2 / 4, ({},), past=True, aside=True),
    "odpo": Plain(_odpo, ({"beta": 0.1}, {"beta": 5000.0, "alpha": 0.5}, {"beta": 1.0, "growth": "linear"})),
    "modpo": Plain(
        _modpo,
        ({"beta": 0.1, "weight": 0.5}, {"beta": 5000.0, "weight": 1.0}, {"beta": 1.0, "weight": 0.1, "curve": "hinge"}),
    ),
    "inpo": Plain(
        _inpo,
        (
            {"beta": 0.0075},
            {"beta": 0.5, "tau_over_eta": 1.0, "relative": True},
            {"beta": 2000.0, "tau_over_eta": 0.0, "relative": True},
            {"beta": 0.1, "per_token": True},
        ),
        past=True,
    ),
    "tpo": Plain(_tpo, ({}, {"beta": 0.2, "alpha": 0.9})),
    "tpo_l": Plain(_tpo_l, ({}, {"beta": 2.0, "gamma": 0.0, "alpha": 0.1}, {"beta": 0.1, "per_token": False})),
    "vpo": Plain(
        _vpo,
        (
            {"beta": 0.1},
            {"beta": 5000.0, "alpha": 1.0, "sign": "online", "clip": 2.0},
            {"beta": 0.5, "calibration_per_token": True},
        ),
    ),
    "srpo": Plain(_srpo, ({"beta": 0.1}, {"beta": 1.0, "mix": 0.1}, {"beta": 0.01, "mix": 0.9}), past=True),
    "rationale": Plain(
        _rationale,
        ({}, {"form": "logsigmoid"}, {"gamma": 0.001, "form": "logsigmoid"}, {"gamma": 2.0, "per_token": True}),
        aside=True,
    ),
    "content_degree": Plain(lambda e: -e.further["degree"].policy, ({},), aside=True),
    "margin_contrast": Plain(_margin_contrast, ({"beta": 0.1}, {"beta": 5000.0}), past=True),
    "dove": Plain(_dove, ({"beta": 0.1}, {"beta": 5000.0})),
}
