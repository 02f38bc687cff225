"""The noise schedule: how a latent is mixed with noise at each level, and the meaning of the network's output there.

    x_t = a_t x0 + s_t eps

``a_t`` is the signal's scale, ``s_t`` the noise's. Three parameterisations (epsilon, v_prediction, sample) keep
``a^2 + s^2 = 1`` with ``a_t^2 = alpha_bar_t``; *flow* keeps ``a + s = 1`` at the same signal-to-noise ratio
``alpha_bar / (1 - alpha_bar)``. The meaning of a network's output ``out``:

    ============  ===============  =================  ==================  ===========================
    prediction    target           x0                 eps                 squared error / eps error
    ============  ===============  =================  ==================  ===========================
    epsilon       eps              (x_t - s out)/a    out                 1
    v_prediction  a eps - s x0     a x_t - s out      a out + s x_t       1/alpha_bar
    sample        x0               out                (x_t - a out)/s     (1 - alpha_bar)/alpha_bar
    flow          eps - x0         x_t - s out        x_t + a out         1/a^2
    ============  ===============  =================  ==================  ===========================

Below the first level is the clean latent, level ``CLEAN = -1``: ``a = 1``, ``s = 0``. Levels are kept in float64:
``1 - alpha_bar`` of a half-precision ``alpha_bar`` is off by up to 15 per cent at the clean end, and margins multiply
such differences by thousands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from diffalign.errors import ConfigError, near_miss
from diffalign.latents import alphas_from_config

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]

CLEAN = -1
"""The level of a clean latent."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """Noise levels ``0 .. T - 1`` of a model, from almost clean to almost (or exactly) pure noise.

    Args:
        alphas_cumprod: ``(T,)`` float64 in [0, 1], decreasing. For *flow* it gives the signal-to-noise ratio.
        prediction: The meaning of the network's output.
    """

    alphas_cumprod: Tensor
    prediction: Prediction

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            known = get_args(Prediction)
            raise ConfigError(
                f"a schedule's prediction is one of {', '.join(known)}; got {self.prediction!r}."
                f"{near_miss(str(self.prediction), known)}"
            )
        levels = self.alphas_cumprod.detach().double().cpu()
        ordered = levels.ndim == 1 and len(levels) > 0 and bool((levels.diff() < 0.0).all())
        if not ordered or not 0.0 <= float(levels[-1]) <= float(levels[0]) <= 1.0:
            raise ConfigError(
                "alphas_cumprod is a list of signal shares, each in [0, 1] and below the one before; "
                f"got {levels.numel()} values of shape {tuple(levels.shape)} that are not. Check the scheduler's betas."
            )
        object.__setattr__(self, "alphas_cumprod", levels)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Builds it from a diffusers scheduler's config. Raises ConfigError for an unsupported one."""
        if str(config.get("_class_name", "")).startswith("FlowMatch"):
            return cls.from_flow_levels(alphas_from_config.flow_levels(config))
        return cls(alphas_from_config.alphas_cumprod(config), config.get("prediction_type", "epsilon"))

    @classmethod
    def from_flow_levels(cls, levels: Tensor) -> Schedule:
        """Builds a flow schedule from levels ``r`` in [0, 1], increasing: ``x_r = (1 - r) x0 + r eps``."""
        r = levels.double()
        return cls((1.0 - r) ** 2 / ((1.0 - r) ** 2 + r**2), "flow")

    @property
    def levels(self) -> int:
        """``T``, the number of noise levels."""
        return len(self.alphas_cumprod)

    @property
    def informative(self) -> int:
        """Number of levels at which a preference can be learned. One less than ``levels`` for epsilon prediction that
        ends in pure noise: there, both candidates of a pair have the same input and target, so the margin is 0.
        """
        useless_last = self.prediction == "epsilon" and float(self.alphas_cumprod[-1]) == 0.0
        return self.levels - int(useless_last)

    @property
    def first_time(self) -> int:
        """The first level whose time a network takes: a flow takes that of the clean latent, the others level 0."""
        return CLEAN if self.prediction == "flow" else 0

    def model_time(self, t: Tensor) -> Tensor:
        """Returns the time that the network takes at levels ``t``, ``(B,)``, on the device of ``t``.

        For *flow* it is ``T r``, float32, with ``r`` the level's share of noise: ``1000 r`` for every published model,
        from 0 at the clean latent to 1000. Otherwise it is the level itself.
        """
        if self.prediction != "flow":
            return t
        return (self.levels * self.scales(t.clamp(min=CLEAN))[1]).float().to(t.device)

    def zero_terminal(self) -> Schedule:
        """Returns the schedule rescaled so that its last level is pure noise (Lin et al. 2023, arXiv 2305.08891)."""
        return replace(self, alphas_cumprod=alphas_from_config.rescale_zero_terminal_snr(self.alphas_cumprod))

    def signal_noise(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``(a_t, s_t)`` as ``(B, 1, ...)``, computed in float64, in the dtype of ``like``.

        Args:
            t: ``(B,)`` integer levels, :data:`CLEAN` included, or a scalar.
            like: ``(B, ...)``, gives dtype, device and number of axes.
        """
        return self._scales(t, like, like.dtype)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns ``a x0 + s noise``, computed in at least float32, in the dtype of ``x0``."""
        x0_, noise_, a, s = self._wide(t, x0, noise)
        return (a * x0_ + s * noise_).to(x0.dtype)

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns the output of a perfect network, in the dtype of ``x0``."""
        if self.prediction == "epsilon":
            return noise.to(x0.dtype)
        if self.prediction == "sample":
            return x0
        x0_, noise_, a, s = self._wide(t, x0, noise)
        return (noise_ - x0_ if self.prediction == "flow" else a * noise_ - s * x0_).to(x0.dtype)

    def to_x0(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Returns the clean latent that an output implies. Raises ValueError for epsilon prediction at pure noise."""
        if self.prediction == "sample":
            return out
        out_, x_, a, s = self._wide(t, out, x_t)
        if self.prediction == "epsilon":
            self._check_divisor(t, a, "pure noise, so an epsilon prediction contains no clean latent there", "last")
            return ((x_ - s * out_) / a).to(out.dtype)
        return (x_ - s * out_ if self.prediction == "flow" else a * x_ - s * out_).to(out.dtype)

    def to_epsilon(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Returns the noise that an output implies. Raises ValueError for sample prediction without noise."""
        if self.prediction == "epsilon":
            return out
        out_, x_, a, s = self._wide(t, out, x_t)
        if self.prediction == "sample":
            self._check_divisor(t, s, "free of noise, so a sample prediction contains no noise there", "first")
            return ((x_ - a * out_) / s).to(out.dtype)
        return (x_ + a * out_ if self.prediction == "flow" else a * out_ + s * x_).to(out.dtype)

    def error_factor(self, t: Tensor) -> Tensor:
        """Returns this prediction's squared error over the epsilon error of the same network, ``(B,)`` float64.

        So a constant beta on v errors is ``beta / alpha_bar_t`` on epsilon errors. Infinite at pure noise.
        """
        alpha_bar = self.alphas_cumprod[t.cpu()]
        if self.prediction == "epsilon":
            return torch.ones_like(alpha_bar)
        if self.prediction == "v_prediction":
            return 1.0 / alpha_bar
        if self.prediction == "sample":
            return (1.0 - alpha_bar) / alpha_bar
        return 1.0 / self.scales(t)[0] ** 2

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``(a_t, s_t)``, each ``(B,)`` float64 on the CPU: some devices have no float64. ``t`` as in
        signal_noise.
        """
        t = t.cpu()
        alpha_bar = self.alphas_cumprod[t].where(t != CLEAN, 1.0)
        a, s = alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()
        return (a / (a + s), s / (a + s)) if self.prediction == "flow" else (a, s)

    def _scales(self, t: Tensor, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        shape = (-1,) + (1,) * (like.ndim - 1)
        a, s = self.scales(t)
        return a.reshape(shape).to(like.device, dtype), s.reshape(shape).to(like.device, dtype)

    def _wide(self, t: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        a, s = self._scales(t, x, dtype)
        return x.to(dtype), y.to(dtype), a, s

    def _check_divisor(self, t: Tensor, divisor: Tensor, why: str, end: str) -> None:
        if bool((divisor == 0.0).any()):
            bad = sorted(set(t.reshape(-1)[(divisor == 0.0).reshape(-1).to(t.device)].tolist()))
            raise ValueError(f"level {bad} is {why}. Leave out the {end} level, or use a v or flow prediction.")
