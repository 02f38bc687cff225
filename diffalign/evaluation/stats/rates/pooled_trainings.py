"""Several trainings pooled: a method's win rate over training seeds, with an interval for another seed and prompt.

    y_sp = rate of training s on prompt p,        rate = mean over s, p
    variance of the rate = (MS_s + MS_p - MS_e) / (S P)

with the mean squares of trainings, prompts and the rest of a two-way table. Trainings are drawn from all seeds and
prompts from all prompts, so both add variance that more samples do not remove: three trainings on a thousand prompts
are three trainings. The interval is the wider of two: Student's with Satterthwaite's degrees of freedom (near S - 1 = 2
where trainings differ by more than their prompts explain), and one that gives each part its own quantile,

    half width^2 = t_{S-1}^2 max(0, MS_s - MS_e) / (S P) + t_{P-1}^2 MS_p / (S P)

because the first is too narrow where trainings and prompts matter alike. In simulation three trainings or more cover at
about their rate or above it (93 to 99 % for 95 %), two trainings at 90 % and more.

Source: the variance of the grand mean of crossed random effects, Searle, Casella and McCulloch 1992, chapter 4;
Satterthwaite 1946, Biometrics 2; the second in the manner of Graybill and Wang 1980, JASA 75.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffalign.errors import UserError
from diffalign.evaluation.stats.rates.bootstrap import LEVEL
from diffalign.evaluation.stats.rates.share import share


@dataclass(frozen=True)
class Pooled:
    """A mean over trainings and prompts.

    Args:
        rate: The mean.
        low, high: Its interval: where the mean over all seeds and prompts lies.
        degrees: Degrees of freedom of the interval.
        by_training: ``(S,)``, the mean of each training.
        seed_deviation: Estimated standard deviation of a training's true rate over seeds; 0 where the differences are
            no larger than chance makes them.
        prompts: Number of prompts.
    """

    rate: float
    low: float
    high: float
    degrees: float
    by_training: tuple[float, ...]
    seed_deviation: float
    prompts: int


def pool_trainings(outcomes: np.ndarray, *, level: float = LEVEL, limits: tuple[float, float] = (0.0, 1.0)) -> Pooled:
    """Pools the outcomes of several trainings on the same prompts.

    Args:
        outcomes: ``(S, P)``: of training s on prompt p, wins with ties as a half, averaged over the prompt's samples.
        level: Rate of coverage.
        limits: Lowest and highest possible value; the interval is cut there. Of rates that are all equal it is Wilson's
            over prompts.

    Raises:
        UserError: There are fewer than two trainings or prompts, or a value is not finite.
    """
    from scipy.stats import t as student

    table = np.asarray(outcomes, np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise UserError(
            f"pooling needs finite outcomes of two trainings or more on two prompts or more; got shape {table.shape}. "
            "Compare each training with the same prompts."
        )
    trainings, prompts = table.shape
    rows, columns, mean = table.mean(1), table.mean(0), table.mean()
    rest = table - rows[:, None] - columns[None, :] + mean
    freedom = np.array([trainings - 1, prompts - 1, (trainings - 1) * (prompts - 1)], float)
    squares = np.array(
        [prompts * ((rows - mean) ** 2).sum(), trainings * ((columns - mean) ** 2).sum(), (rest**2).sum()]
    )
    squares /= freedom
    of_seeds, of_prompts, of_rest = squares / table.size
    # Each part alone is a lower bound of the variance, which the difference may undercut by chance.
    variance = max(of_seeds + of_prompts - of_rest, of_seeds, of_prompts)
    spent = (squares / table.size) ** 2 / freedom
    degrees = variance**2 / spent.sum() if variance > 0 else float(trainings - 1)
    degrees = max(degrees, float(trainings - 1))
    if np.ptp(table) == 0 and limits == (0.0, 1.0):  # of equal outcomes, nothing says how they vary
        equal = share(float(mean) * prompts, prompts)
        return Pooled(float(mean), equal.low, equal.high, float(degrees), tuple(map(float, rows)), 0.0, prompts)
    quantile = lambda freedom: float(student.ppf((1 + level) / 2, freedom))
    apart = quantile(trainings - 1) ** 2 * max(0.0, of_seeds - of_rest) + quantile(prompts - 1) ** 2 * of_prompts
    half = math.sqrt(max(quantile(degrees) ** 2 * variance, apart))
    return Pooled(
        rate=float(mean),
        low=max(limits[0], float(mean) - half),
        high=min(limits[1], float(mean) + half),
        degrees=float(degrees),
        by_training=tuple(map(float, rows)),
        seed_deviation=math.sqrt(max(0.0, (squares[0] - squares[2]) / prompts)),
        prompts=prompts,
    )
