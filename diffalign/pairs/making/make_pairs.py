"""Makes pairs of a model's own samples: samples several per prompt, has them judged, and pairs them.

For images, clips and texts alike. The result is a folder with all samples and their scores (``metadata.jsonl``),
``pairs.jsonl``, which trains like any dataset, and ``lists.jsonl`` with all samples of a prompt, for losses on ranked
lists. Which samples become pairs is a row of :data:`~diffalign.pairs.making.pairings.PAIRINGS`; the default,

    chosen = argmax_k score(sample_k),      rejected = argmin_k score(sample_k),

is the best against the worst. Each side of a pair has up to three numbers, under names that say which is which:

    chosen_score       the scorer's score as it is, in its own unit; none where a judge only compares
    chosen_win         how often it wins against its prompt's samples, itself counted as a half: the target of `sppo`
    chosen_advantage   its score centred over its prompt's samples, in logits: the target of `gpo`

(:mod:`~diffalign.pairs.making.judged_answers`). Several scorers are added after each is normalised over all samples
(:mod:`~diffalign.scorers.composed.sum_of_scores`); then each side also has every scorer's own score, ``chosen_NAME``,
and a pair the share of the scorers that agree with it, ``agreement``.

Source: pairs of the best and the worst of n samples are the on-policy recipe of SimPO (Meng et al. 2024, arXiv
2405.14734: five samples per prompt at temperature 0.8), which uses a reward model where any scorer serves here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.data.storage.kept_latents import LATENTS
from diffalign.data.suites.suite import Categories
from diffalign.devices.processes import ALONE, Processes
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.generate import generate
from diffalign.files.json_lines import write_json_lines
from diffalign.pairs.making.judge_samples import By, Judges, judge_samples
from diffalign.pairs.making.pair_rows import list_row, pair_row
from diffalign.pairs.making.pairings import PAIRINGS, PairingSettings, check_pairing
from diffalign.policies.policy import Policy, Progress
from diffalign.randomness import stream
from diffalign.scorers.composed.sum_of_scores import Normalise, Term
from diffalign.scorers.scorer import Scorer, SupportsNotes


@dataclass(frozen=True)
class MadePairs:
    """The result of :func:`make_pairs`.

    Args:
        path: The table of pairs; that of lists where only lists are made.
        pairs: Number of pairs.
        tied: Number of prompts without a pair, because their samples have equal scores, or nearly.
        gap: Mean difference of the two scores; of the two win rates where a judge only compared.
        latents: The file of the samples' latents; None where they are not kept.
        terms: The terms of the score, where several scorers are added.
        disagreeing: Number of pairs on which the scorers disagree; None for a single one.
        lists: Number of ranked lists.
        unit: What the gap is of: scores or win rates.
        notes: What judges say of the pass.
    """

    path: Path
    pairs: int
    tied: int
    gap: float
    latents: Path | None = None
    terms: tuple[Term, ...] = ()
    disagreeing: int | None = None
    lists: int = 0
    unit: str = "scores"
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Returns one line, and one per term of a sum of scorers."""
        left_out = f"; {self.tied} prompts left out, their answers were judged alike" if self.tied else ""
        kept = f"; to train on their latents type: --set data.latents={self.latents}" if self.latents else ""
        terms = "".join(f"\n  {'+' if number else '='} {term}" for number, term in enumerate(self.terms))
        made = f"{self.pairs} pairs in {self.path}, mean gap of {self.unit} {self.gap:.3g}"
        if not self.pairs:
            made = f"{self.lists} ranked lists in {self.path}"
        disagreeing = ""
        if self.disagreeing is not None and self.pairs:
            disagreeing = f"\nthe scorers disagree on {self.disagreeing} of {self.pairs} pairs (agreement below 1)"
        added = f"\nscore, normalised over all samples:{terms}" if terms else ""
        return "\n".join([f"{made}{left_out}{kept}{added}{disagreeing}", *self.notes])


def make_pairs(
    policy: Policy,
    prompts: Sequence[str],
    scorer: Scorer | Sequence[Scorer],
    folder: Path,
    *,
    pairing: str = "best_worst",
    by: By = "auto",
    weights: Mapping[str, float] | None = None,
    normalise: Normalise = "z-score",
    answers: int = 4,
    gap: float = 0.0,
    threshold: float | None = None,
    beta: float = 0.5,
    keep: int = 8,
    seed: int = 0,
    batch_size: int = 8,
    keep_latents: bool = False,
    categories: Mapping[str, Categories] | None = None,
    processes: Processes = ALONE,
    progress: Progress | None = None,
    **settings: Any,
) -> MadePairs:
    """Samples ``answers`` times per prompt, has the samples judged and pairs them.

    Args:
        policy: The model that samples.
        prompts: Each gives the pairs of its own samples.
        scorer: Ranks the samples; of the policy's medium. Several are normalised over all samples and added.
        folder: Gets the samples, ``metadata.jsonl`` with their scores, ``pairs.jsonl`` and ``lists.jsonl``. An
            interrupted call resumes.
        pairing: Which samples become pairs, a name of :data:`~diffalign.pairs.making.pairings.PAIRINGS`.
        by: ``"scores"``, or ``"comparisons"`` of every two samples of a prompt by the scorer's own ``compare`` (a
            tournament needs fewer); ``"auto"`` compares where the scorer gives no scores.
        weights: By name of a scorer its weight in the sum; 1 for the others.
        normalise: ``"z-score"`` or ``"min-max"``, for several scorers.
        answers: Samples per prompt, 2 or more, each with its own noise.
        gap: Smallest difference of the two scores (or win rates) of a pair, 0 or more; a tie is never a pair.
        threshold, beta, keep: Settings of pairings, as in :class:`~diffalign.pairs.making.pairings.PairingSettings`.
        seed: Seed of the first sample, and of the pairings' draws.
        batch_size: Samples made at once, which does not change them.
        keep_latents: Keep the clean latent of every image or clip beside it, for `data.latents`.
        categories: Categories of prompts in their suites, kept in ``metadata.jsonl``.
        processes: The processes that share the work; the files are those of one process, bit for bit.
        progress: Called after each batch.
        settings: Sampling settings of the policy's kind.

    Raises:
        UserError: There are fewer than two samples per prompt, a scorer is of another medium, a weight is of none, or a
            setting does not fit the pairing.
        DataError: No prompt has two samples with different scores, or a sample could not be scored.
    """
    if answers < 2:
        raise UserError(f"a pair needs two answers of a prompt; got answers = {answers}. Four is a usual number.")
    choice = PairingSettings(gap, threshold, beta, min(keep, answers))
    check_pairing(pairing, choice)
    scorers = tuple(scorer) if isinstance(scorer, Sequence) else (scorer,)
    judges = Judges(scorers, by, weights, normalise)
    judges.check(policy.medium, prompts)
    options: dict[str, Any] = {"stride": answers, "batch_size": batch_size, "keep_latents": keep_latents, **settings}
    seeds = range(seed, seed + answers)
    options |= {"categories": categories, "processes": processes, "progress": progress}
    gallery = generate(policy, prompts, seeds, Path(folder), **options)
    draw = lambda prompt: stream(seed, prompt, 0, "pairing")
    order = draw if pairing == "tournament" else None
    judgement = judge_samples(gallery, judges, order, batch=batch_size, processes=processes, progress=progress)

    def write() -> MadePairs:
        judged = judgement()
        pairs, lists, gaps, disagreeing = list[dict[str, Any]](), list[dict[str, Any]](), list[float](), 0
        paired = 0
        for item in judged.prompts:
            prompt, samples = policy.format_prompt(item.prompt, **settings), item.samples
            made = PAIRINGS[pairing](item.judged, choice, draw(item.prompt))
            new = [pair_row(prompt, samples[i], samples[j], policy.medium) for i, j in made]
            pairs += new
            gaps += [samples[i].value - samples[j].value for i, j in made]
            disagreeing += sum(row.get("agreement", 1.0) < 1.0 for row in new)
            has_order = len(set(item.judged.values)) > 1
            if made or pairing == "list" and has_order:
                paired += 1
                lists.append(list_row(prompt, samples))
        _check_any(lists, judges, choice, len(judged.prompts), pairing)
        path = write_json_lines(gallery.folder / "lists.jsonl", lists)
        if pairing != "list":
            path = write_json_lines(gallery.folder / "pairs.jsonl", pairs)
        judged.clean_up()
        return MadePairs(
            path,
            len(pairs),
            len(judged.prompts) - paired,
            sum(gaps) / len(gaps) if gaps else 0.0,
            gallery.folder / LATENTS if keep_latents else None,
            judged.terms,
            disagreeing if judges.add and len(scorers) > 1 else None,
            len(lists),
            "win rates" if judges.compare else "scores",
            tuple(line for one in scorers if isinstance(one, SupportsNotes) for line in one.notes()),
        )

    return processes.from_main(write)


def _check_any(lists: Sequence[Any], judges: Judges, settings: PairingSettings, prompts: int, pairing: str) -> None:
    """Raises DataError where no prompt gives a pair or a list."""
    if lists:
        return
    if pairing == "threshold":
        raise DataError(
            f"no prompt has answers on both sides of the threshold {settings.threshold:g} by {judges.names}, in "
            f"{prompts} prompts. metadata.jsonl holds the scores: choose a threshold among them, or another pairing."
        )
    raise DataError(
        f"{judges.names} tell{'s' * (len(judges.scorers) == 1)} no two answers of a prompt apart by more than "
        f"{settings.gap:g}, in {prompts} prompts. Ask for more answers, a higher temperature, or another scorer."
    )
