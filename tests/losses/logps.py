"""Batches of log-probabilities for the tests of losses: from margins, from errors, or random."""

from dataclasses import fields, replace

import torch

from diffalign.losses import AnswerLogps, CandidateLogps, PairLogps
from tests.losses.plain import PLAIN, Answer, Example, Parts

SIDES = ("chosen", "rejected", "reference_chosen", "reference_rejected")


def from_logps(chosen, rejected, reference_chosen, reference_rejected, dtype=torch.float64, tokens=None):
    """Returns a batch from four lists or tensors; ``tokens`` are lists of lengths, chosen and rejected."""
    lengths = [None if tokens is None else torch.tensor(tokens[k % 2]) for k in range(4)]
    as_tensor = lambda x: x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=dtype)
    given = (chosen, rejected, reference_chosen, reference_rejected)
    return PairLogps(*(CandidateLogps(as_tensor(x), lengths=n) for x, n in zip(given, lengths, strict=True)))


def from_margins(margins, dtype=torch.float64):
    """Returns a batch with exactly these margins, all in the chosen candidate."""
    margins = torch.as_tensor(margins, dtype=dtype)
    zeros = torch.zeros_like(margins)
    return PairLogps(*map(CandidateLogps, (margins, zeros, zeros, zeros)))


def drawn(count, seed=0, dtype=torch.float64, scale=1.0):
    """``count`` pairs of ordinary size."""
    generator = torch.Generator().manual_seed(seed)
    rows = scale * torch.randn(4, count, generator=generator, dtype=torch.float64)
    return PairLogps(*(CandidateLogps(row.to(dtype)) for row in rows))


def fit(loss, batch, baseline=0.25):
    """Returns the batch with the further inputs of a loss: log-probabilities in its range; for one on single examples
    judgements in turn and a point, in units of 1 / beta; rewards, further answers, further models, prompts, parts."""
    row, below, unit = loss.loss, PLAIN[loss.name].below, 1 / loss.beta
    further = {role: _answer(batch, 11 + k, unit) for k, role in enumerate(_roles(row))}
    batch = replace(batch, further=further)
    if below is not None:
        batch = with_logps(batch, lambda x: below - x.abs())
    count, dtype = len(batch.chosen.logps), batch.chosen.logps.dtype
    if "rewards" in row.needs:
        drawn_ = torch.rand(len(further) + 2, count, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        ordered = drawn_.sort(0, descending=True).values
        roles = ("chosen", *(r for r in further if r.isdigit()), "rejected", *(r for r in further if not r.isdigit()))
        batch = replace(batch, rewards=dict(zip(roles, ordered, strict=True)))
    for k, name in enumerate(("previous",)):
        if name in row.needs:
            one, other = _answer(batch, 21 + 2 * k, unit), _answer(batch, 22 + 2 * k, unit)
            batch = replace(batch, extra_models={**batch.extra_models, name: (one.policy, other.policy)})
    if "prompts" in row.needs:
        prompts = {s: unit * _normal(30 + k, count).to(dtype) for k, s in enumerate(SIDES)}
        batch = replace(batch, **{s: replace(getattr(batch, s), prompts=p) for s, p in prompts.items()})
    if "parts" in row.needs:
        batch = _with_parts(batch, divergence="divergence" in row.needs)
    if "steps" in row.needs:
        batch = _with_steps(batch)
    if not row.accepts_undesirable:
        return batch
    desirable = torch.arange(count) % 3 != 1
    share = torch.tensor(0.6, dtype=torch.float64) if "desirable_share" in row.needs else None
    point = torch.tensor(baseline / loss.beta, dtype=dtype)
    return replace(batch, desirable=desirable, baseline=point, desirable_share=share)


def everywhere_equal(batch):
    """Returns the batch with every reference, prompt and previous policy equal to the policy."""
    further = {role: AnswerLogps(answer.policy, answer.policy) for role, answer in batch.further.items()}
    sides = {s: replace(getattr(batch, f"reference_{s}"), prompts=getattr(batch, s).prompts) for s in SIDES[:2]}
    previous = (
        {"previous": (batch.reference_chosen, batch.reference_rejected)} if "previous" in batch.extra_models else {}
    )
    sides = {f"reference_{side}": value for side, value in sides.items()}
    own = dict(zip(SIDES[:2], batch.pair, strict=True))
    sides |= {s: replace(c, divergence=0 * c.divergence) for s, c in own.items() if c.divergence is not None}
    return replace(batch, **sides, further=further, extra_models={**batch.extra_models, **previous})


def bared(batch):
    """Log-probabilities alone: without parts and lengths."""
    bare = lambda s: None if s is None else CandidateLogps(s.logps)
    sides = {side: bare(getattr(batch, side)) for side in SIDES}
    further = {role: AnswerLogps(bare(a.policy), bare(a.reference)) for role, a in batch.further.items()}
    return replace(
        batch, **sides, further=further, extra_models={n: tuple(map(bare, p)) for n, p in batch.extra_models.items()}
    )


def _roles(row):
    return (("2", "3") if row.kind == "list" else ()) + row.roles + (("degree",) if "degree" in row.needs else ())


def _normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _answer(batch, seed, unit):
    rows = unit * _normal(seed, 2, len(batch.chosen.logps)).to(batch.chosen.logps.dtype)
    lengths = batch.chosen.lengths
    return AnswerLogps(*(CandidateLogps(row, lengths=lengths) for row in rows))


def _with_parts(batch, divergence):
    """Each candidate's log-probability, split into three parts (those that it has stay), with masks for each."""

    def split(batch, seed, policy):
        if batch.parts is None:
            weights = _normal(seed, len(batch.logps), 3).softmax(1).to(batch.logps.dtype)
            batch = replace(batch, parts=batch.logps[:, None] * weights)
        shape = batch.parts.shape
        masks = _normal(seed + 1, 2, *shape).abs().to(batch.logps.dtype)
        return replace(
            batch,
            divergence=_normal(seed + 2, *shape).abs().to(masks) if divergence and policy else None,
            masks=masks if policy else None,
        )

    # One seed for policy and reference of a candidate: where their sums agree, so do their parts.
    return replace(batch, **{s: split(getattr(batch, s), 40 + 3 * (k % 2), k < 2) for k, s in enumerate(SIDES)})


def _with_steps(batch):
    """Each candidate's parts as steps, of several numbers, with a state for each; those of further answers too."""

    def stepped(batch, seed):
        count, width = batch.parts.shape
        steps = torch.arange(width) * (1 + torch.arange(count)[:, None] % 2 + seed % 2) // 2
        steps = steps.clamp(max=width - 1)
        there = torch.arange(width) <= steps.amax(1, keepdim=True)
        return replace(batch, steps=steps, states=_normal(seed, 4, count, width) * there)

    def split(batch, width):
        return replace(batch, parts=batch.logps[:, None] * torch.full((width,), 1 / width, dtype=batch.logps.dtype))

    width, further = batch.chosen.parts.shape[1], {}
    for k, (role, answer) in enumerate(batch.further.items()):
        further[role] = AnswerLogps(stepped(split(answer.policy, width), 62 + k), split(answer.reference, width))
    return replace(batch, chosen=stepped(batch.chosen, 60), rejected=stepped(batch.rejected, 61), further=further)


def taken(batch, rows):
    """Returns some rows of the batch, with all of their further inputs."""

    def pick(value, name=""):
        if isinstance(value, CandidateLogps):
            return CandidateLogps(**{f.name: pick(getattr(value, f.name), f.name) for f in fields(CandidateLogps)})
        if isinstance(value, AnswerLogps):
            return AnswerLogps(pick(value.policy), pick(value.reference))
        if isinstance(value, dict):
            return {k: pick(v) for k, v in value.items()}
        if isinstance(value, tuple):
            return tuple(pick(v) for v in value)
        if value is None or value.dim() == 0:
            return value
        return value[:, rows] if name in ("masks", "states") else value[rows]

    return PairLogps(**{f.name: pick(getattr(batch, f.name)) for f in fields(PairLogps)})


def with_logps(batch, change):
    """Returns the batch with a function applied to the log-probabilities of each candidate and further answer."""
    changed = lambda s: None if s is None else replace(s, logps=change(s.logps))
    sides = {side: changed(getattr(batch, side)) for side in SIDES}
    further = {r: AnswerLogps(changed(a.policy), changed(a.reference)) for r, a in batch.further.items()}
    beside = {name: tuple(map(changed, pair)) for name, pair in batch.extra_models.items()}
    return replace(batch, **sides, further=further, extra_models=beside)


def examples(batch):
    """The rows as plain examples."""
    return [_example(batch, k) for k in range(len(batch.chosen.logps))]


def _example(batch, k):
    tokens = lambda s: 1 if s.lengths is None else int(s.lengths[k])
    number = lambda x: x[k].item()
    sides = [getattr(batch, side) for side in SIDES]
    parts = {}
    pairs = {"chosen": sides[::2], "rejected": sides[1::2]}
    pairs |= {role: (a.policy, a.reference) for role, a in batch.further.items()}
    for role, (policy, reference) in pairs.items():
        if policy.parts is not None:
            row = lambda x: () if x is None else tuple(x[k].tolist())
            masks = () if policy.masks is None else tuple(map(tuple, policy.masks[:, k].tolist()))
            states = () if policy.states is None else tuple(map(tuple, policy.states[:, k].T.tolist()))
            known = row(policy.parts), () if reference is None else row(reference.parts)
            parts[role] = Parts(*known, row(policy.divergence), masks, row(policy.steps), states)
    return Example(
        *(number(side.logps) for side in sides),
        tokens(batch.chosen),
        tokens(batch.rejected),
        True if batch.desirable is None else bool(batch.desirable[k]),
        0.0 if batch.baseline is None else batch.baseline.item(),
        0.5 if batch.desirable_share is None else batch.desirable_share.item(),
        further={
            role: Answer(number(a.policy.logps), number(a.reference.logps), tokens(a.policy))
            for role, a in batch.further.items()
        },
        extra_models={
            name: (number(one.logps), number(other.logps)) for name, (one, other) in batch.extra_models.items()
        },
        rewards={role: number(x) for role, x in batch.rewards.items()},
        prompts={s: number(x.prompts) for s, x in zip(SIDES, sides, strict=True) if x.prompts is not None},
        parts=parts,
    )


def with_tokens(count=6, tokens=5, seed=1, scale=1.0, reference_lengths=True):
    """Returns a batch of sums of token log-probabilities, of answers of several lengths; zero behind each end."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, tokens + 1, (2, count), generator=generator)
    mask = torch.arange(tokens) < lengths[..., None]
    parts = -scale * torch.rand(2, 2, count, tokens, generator=generator, dtype=torch.float64) * mask
    sides = [
        CandidateLogps(p.sum(1), p, n if reference_lengths or k < 2 else None)
        for k, (p, n) in enumerate((parts[i, j], lengths[j]) for i in range(2) for j in range(2))
    ]
    return PairLogps(*sides)


def from_errors(chosen, rejected, reference_chosen, reference_rejected):
    """Returns a batch of a denoiser: a log-probability is minus half a squared error."""
    return from_logps(
        *(
            -torch.as_tensor(e, dtype=torch.float64) / 2
            for e in (chosen, rejected, reference_chosen, reference_rejected)
        )
    )
