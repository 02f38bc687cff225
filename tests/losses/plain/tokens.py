"""The formulas of the losses on tokens, on Python floats and from the papers."""

from tests.losses.plain.table import Plain, log_sigmoid


def _sparse(e, beta, l1_reward, l1_divergence):
    def sides(role):
        p = e.parts[role]
        rewards, apart = p.masks
        gain = sum(m * (a - b) for m, a, b in zip(rewards, p.policy, p.reference, strict=True))
        return gain, sum(m * k for m, k in zip(apart, p.divergence, strict=True)), sum(rewards), sum(apart)

    u_w, d_w, n_w, k_w = sides("chosen")
    u_l, d_l, n_l, k_l = sides("rejected")
    u, delta = u_w - u_l, d_l - d_w
    return -log_sigmoid(beta * (u - delta)) + l1_reward * (n_w + n_l) + l1_divergence * (k_w + k_l)


def _tdpo2(e, beta, alpha):
    def sides(role):
        p = e.parts[role]
        rewards, apart = p.masks
        gain = sum(m * (a - b) for m, a, b in zip(rewards, p.policy, p.reference, strict=True))
        return gain, sum(m * k for m, k in zip(apart, p.divergence, strict=True))

    (u_w, d_w), (u_l, d_l) = sides("chosen"), sides("rejected")
    return -log_sigmoid(beta * (u_w - u_l) - beta * alpha * (d_l - d_w))


def _segment(e, beta, discount):
    def advantage(role):
        p = e.parts[role]
        return sum(discount**t * (a - b) for t, (a, b) in enumerate(zip(p.policy, p.reference, strict=True)))

    return -log_sigmoid(beta * advantage("chosen") - beta * advantage("rejected"))


ON_TOKENS = {
    "sparse_po": Plain(
        _sparse, ({"beta": 0.8}, {"beta": 5000.0}, {"beta": 0.1, "l1_reward": 0.001, "l1_divergence": 0.01})
    ),
    "tdpo2": Plain(_tdpo2, ({"beta": 0.8}, {"beta": 0.1, "alpha": 1.5}, {"beta": 5000.0, "alpha": 0.0})),
    "segment": Plain(_segment, ({"beta": 0.1}, {"beta": 2.0, "discount": 0.9})),
}
