"""Noise levels of a diffusers scheduler config: from its keys to ``alpha bar``, in float64.

``beta_t`` is here the variance added at step ``t`` (no relation to a loss's beta); ``alpha_bar_t = prod (1 - beta_i)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import ConfigError, near_miss

COSINE = "squaredcos_cap_v2"
SPACINGS = ("linear", "scaled_linear", COSINE, "sigmoid")
SAMPLERS = (
    *("DDIM", "DDIMInverse", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep", "DPMSolverMultistep"),
    *("DPMSolverMultistepInverse", "DPMSolverSinglestep", "EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete"),
    *("KDPM2AncestralDiscrete", "KDPM2Discrete", "LCM", "LMSDiscrete", "PNDM", "SASolver", "TCD", "UniPCMultistep"),
)
"""Schedulers of diffusers, without "Scheduler", whose levels are a variance-preserving list of betas."""


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """Returns ``alpha_bar`` of a variance-preserving scheduler config, ``(T,)`` float64, decreasing.

    Raises:
        ConfigError: A scheduler of another kind, missing keys (their defaults differ between schedulers), an unknown
            spacing.
    """
    _check_kind(config)
    alpha_bar = torch.cumprod(1.0 - _betas(config), dim=0)
    return rescale_zero_terminal_snr(alpha_bar) if config.get("rescale_betas_zero_snr") else alpha_bar


def rescale_zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """Returns the levels, shifted and stretched so that the last is pure noise and the first is unchanged.

        a_t = sqrt(alpha_bar_t);      a_t <- (a_t - a_last) a_0 / (a_0 - a_last);      alpha_bar_t = a_t^2

    Source: Lin et al. 2023 (arXiv 2305.08891), algorithm 1.
    """
    a = alpha_bar.double().sqrt()
    return ((a - a[-1]) * a[0] / (a[0] - a[-1])) ** 2


def flow_levels(config: Mapping[str, Any]) -> Tensor:
    """Returns the levels ``r`` in (0, 1] of a flow-matching scheduler config, ``(T,)`` float64, increasing: the static
    shift ``r = shift q / (1 + (shift - 1) q)`` of ``q = (t + 1) / T`` (Esser et al. 2024, arXiv 2403.03206, eq. 23).
    """
    if config.get("use_dynamic_shifting"):
        raise ConfigError(
            "this scheduler shifts its noise levels by the size of each image (use_dynamic_shifting: true), which is "
            "not supported yet. Set use_dynamic_shifting: false and a constant shift in its scheduler_config.json."
        )
    levels, shift = int(config.get("num_train_timesteps", 1000)), float(config.get("shift", 1.0))
    q = torch.arange(1, levels + 1, dtype=torch.float64) / levels
    return shift * q / (1.0 + (shift - 1.0) * q)


def _check_kind(config: Mapping[str, Any]) -> None:
    name = str(config.get("_class_name", "DDPMScheduler"))
    if name.removesuffix("Scheduler") not in SAMPLERS:
        raise ConfigError(
            f"the model's scheduler is {name}, whose noise levels are not a list of betas (EDM's, for example, are "
            "standard deviations). Supported are FlowMatchEulerDiscreteScheduler and "
            f"{', '.join(f'{sampler}Scheduler' for sampler in SAMPLERS)}."
        )
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        raise ConfigError(
            f"the model's {name} samples a flow (use_flow_sigmas or prediction_type flow_prediction), which is read "
            "from FlowMatchEulerDiscreteScheduler only. Write that class and its shift into scheduler_config.json."
        )


def _betas(config: Mapping[str, Any]) -> Tensor:
    if config.get("trained_betas") is not None:
        return torch.as_tensor(config["trained_betas"], dtype=torch.float64)
    spacing = config.get("beta_schedule")
    needed = ["num_train_timesteps", "beta_schedule", "beta_start", "beta_end"][: 2 if spacing == COSINE else 4]
    if absent := [key for key in needed if config.get(key) is None]:
        raise ConfigError(
            f"the scheduler's config lacks {', '.join(absent)}, without which its noise levels are unknown. Copy the "
            "scheduler_config.json of the model that this one was trained from."
        )
    levels = int(config["num_train_timesteps"])
    if spacing == COSINE:  # Nichol and Dhariwal 2021 (arXiv 2102.09672), eq. 17
        edges = torch.arange(levels + 1, dtype=torch.float64) / levels
        alpha_bar = torch.cos((edges + 0.008) / 1.008 * math.pi / 2.0) ** 2
        return (1.0 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)
    low, high = float(config["beta_start"]), float(config["beta_end"])
    if spacing == "linear":
        return torch.linspace(low, high, levels, dtype=torch.float64)
    if spacing == "scaled_linear":
        return torch.linspace(math.sqrt(low), math.sqrt(high), levels, dtype=torch.float64) ** 2
    if spacing == "sigmoid":
        return torch.sigmoid(torch.linspace(-6.0, 6.0, levels, dtype=torch.float64)) * (high - low) + low
    raise ConfigError(
        f"beta_schedule is the spacing of a scheduler's noise levels, one of {', '.join(SPACINGS)}; got {spacing!r}."
        f"{near_miss(str(spacing), SPACINGS)}"
    )
