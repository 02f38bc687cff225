"""Settings of ``pairs: rounds``, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.pairs.making.judge_samples import WAYS
from diffalign.pairs.making.pairings import PairingSettings, check_pairing
from diffalign.pairs.rounds.answers import FROM_DATA
from diffalign.pairs.rounds.borders import BORDERS, PLAIN
from diffalign.pairs.rounds.form_pairs import BEST_ONLY, LIST, PLACES
from diffalign.pairs.rounds.judging import LABEL, RoundJudges
from diffalign.pairs.rounds.who import REFERENCES, SAMPLERS
from diffalign.scorers.registry import scorer_entry


@dataclass(frozen=True)
class RoundSettings:
    """How rounds are made.

    Args:
        every: Optimizer steps per round.
        answers: Samples of each prompt.
        from_data: Which answers of the data join them.
        samplers: Who gives them, in turn.
        further: By the role of a further sample, which is not judged, who gives it.
        offline: Share of the places that hold the data's own pairs.
        replay: Share of the places that hold pairs of the round before; half of it, those of the round before that.
        reference: Who the reference is.
        judges: What ranks them.
        border: What happens to the policy between rounds.
        momentum: For ``momentum``: how far it is moved on.
        pairing: Which of them are compared.
        choice: Settings of the pairing.
        batch: Samples made at once.
        sampling: Settings of the sampler.
    """

    every: int
    answers: int
    from_data: str
    samplers: tuple[str, ...]
    further: Mapping[str, str]
    offline: float
    replay: float
    reference: str
    judges: RoundJudges
    border: str
    momentum: float
    pairing: str
    choice: PairingSettings
    batch: int
    sampling: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, number, least, usual in (
            ("every", self.every, 1, 30),
            ("batch", self.batch, 1, 8),
            ("answers", self.answers, 0, 4),
        ):
            if isinstance(number, bool) or number < least:
                raise _invalid(name, number, f"a whole number of at least {least}", usual)
        _check_name("from_data", self.from_data, FROM_DATA)
        _check_name("reference", self.reference, REFERENCES)
        _check_name("border", self.border, BORDERS)
        if not 0 <= self.momentum < 1:
            raise _invalid("momentum", self.momentum, "0 or more, and below 1", 0.3)
        _check_name("pairing", self.pairing, PLACES)
        _check_name("by", self.judges.by, WAYS)
        for sampler in self.samplers or ("",):
            _check_name("answers_by", sampler, SAMPLERS)
        for role, sampler in self.further.items():
            _check_name(f"further.{role}", sampler, SAMPLERS)
            if role.isdigit() or role in ("chosen", "rejected"):
                raise _invalid("further", dict(self.further), "roles that a loss reads, with who gives them", "{}")
        for name, share in (("offline", self.offline), ("replay", self.replay)):
            if not 0 <= share < 1:
                raise _invalid(name, share, "a share, 0 or more and below 1", 0.3)
        if self.offline + 1.5 * self.replay > 1 or (self.offline and self.pairing in (LIST, BEST_ONLY)):
            raise ConfigError(
                f"pairs.offline {self.offline:g} and 1.5 times pairs.replay {self.replay:g} are shares of the same "
                "places, 1 together at most, and 'offline' is for pairs of two. Type: --set pairs.offline=0"
            )
        if self.sampling.get("roundtrip") == "both":
            raise ConfigError(
                "pairs.roundtrip 'both' sends winners of the data through the autoencoder too, and rounds do not. "
                "Type: --set pairs.roundtrip=samples"
            )
        if self.total < 2:
            raise _invalid("answers", self.answers, "2 or more, or as many with those of the data (from_data)", 4)
        self._check_judges()
        if self.pairing != BEST_ONLY:
            try:
                check_pairing(self.pairing, self.choice)
            except UserError as error:
                raise ConfigError(str(error).replace("--threshold 0.5", "--set pairs.threshold=0.5")) from error

    @property
    def total(self) -> int:
        """Answers of a prompt that are judged."""
        return self.answers + FROM_DATA[self.from_data]

    @property
    def places(self) -> int:
        """Pairs of a prompt in a round."""
        return PLACES[self.pairing](self.total, self.choice)

    def check_run(self, medium: str, steps: int, guard: str) -> None:
        """Raises ConfigError where these rounds do not fit a run; arguments as for
        :class:`~diffalign.pairs.source.ChecksRun`.
        """
        self.judges.check_medium(medium)
        if self.border != PLAIN and guard == "rollback":
            raise ConfigError(
                f"pairs.border {self.border} changes weights between two steps, and guard.action 'rollback' would go "
                "back to weights from before. Type: --set guard.action=skip"
            )
        if self.border == "extragradient" and steps % (2 * self.every):
            raise ConfigError(
                f"pairs.border extragradient trains in two phases of {self.every} steps each, but train.steps is "
                f"{steps}. Type: --set train.steps={max(1, round(steps / (2 * self.every))) * 2 * self.every}"
            )

    def _check_judges(self) -> None:
        specs = self.judges.specs
        if not all(specs) or not specs or len(set(specs)) < len(specs):
            raise ConfigError(
                f"pairs.judge names who ranks the answers, a scorer or several that differ; got "
                f"{', '.join(specs) or 'none'}. Type for example: --set pairs.judge=pickscore   (`diffalign score "
                "--help` lists scorers)"
            )
        if LABEL in specs:
            if len(specs) > 1 or self.from_data == "none":
                raise ConfigError(
                    "the judge 'label' is the data's own label: it judges alone, and needs answers of the data. "
                    "Type: --set pairs.from_data=chosen   or another judge: --set pairs.judge=SCORER"
                )
            return
        for spec in specs:
            scorer_entry(spec)  # raises where there is none of this name


def _check_name(setting: str, value: str, known: Any) -> None:
    if value not in known:
        raise _invalid(setting, value, f"one of {', '.join(known)}", next(iter(known)), near_miss(value, known))


def _invalid(name: str, value: Any, expected: str, usual: Any, near: str = "") -> ConfigError:
    return ConfigError(
        f"pairs.{name} must be {expected}; got {value!r}.{near} Type for example: --set pairs.{name}={usual}"
    )
