"""Inversion on the embedded model: converged corrections are the exact inverse of DDIM sampling on the same levels.

Measured on one image, 64 px, float32. The first step, from the clean latent, converges slowest: one iteration reduces
the error to 0.78 of itself where the step ends at level 9, to 0.92 at 19, 0.94 at 49, 0.96 at 99 and 0.97 at 199, since
directions in which images do not vary are pure noise to the network at any strength. Later steps of up to 50 levels
reduce it to 0.3 or less, down to 0.05; steps of 100 to 250 levels to between 0.53 and 0.64. So a long first step does
not converge within 40 corrections, and a short one does. Treated as level 0, the clean latent has a little noise at the
start, and the first step converges faster too.
"""

import json
from pathlib import Path

import pytest
import torch

from diffalign.data.records.pair import Pair
from tests.policies.conftest import draw_for, inputs_of

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "emoji"
pytestmark = pytest.mark.skipif(not (ASSETS / "model").exists(), reason="the embedded assets are not in this checkout")


@pytest.fixture(scope="module")
def winner():
    folder = ASSETS / "pairs" / "train"
    row = json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])
    return Pair(id="winner", prompt=row["prompt"], chosen=folder / row["chosen_file_name"], rejected=None)


@torch.no_grad()
def sample_back(policy, inputs, levels):
    """Samples by DDIM with the policy's network from the last of ``levels`` to the first (clean: -1)."""
    x, schedule = inputs.x_t, policy._denoiser.schedule
    for p, q in zip(levels[-2::-1], levels[:0:-1], strict=True):
        (a_p, a_q), (s_p, s_q) = (part.tolist() for part in schedule.scales(torch.tensor([p, q])))
        states = inputs.conditioning["encoder_hidden_states"]
        noise = policy.module(x, torch.tensor([q]), encoder_hidden_states=states).sample
        x = a_p * (x - s_q * noise) / a_q + s_p * noise
    return x


@pytest.mark.parametrize(
    ("clean", "corrections", "levels"),
    [("alpha0", 10, [0, 9, 19, 29, 39, 49, 59, 69, 79, 89, 99]), ("one", 25, [-1, 9, 19])],
    ids=["from level 0", "from the clean latent"],
)
def test_a_converged_inversion_leads_back_by_sampling(make, winner, clean, corrections, levels):
    errors = {}
    for name, extra in (("renoise", {"corrections": corrections}), ("ddim_inversion", {})):
        rules = {"caption_dropout": 0.0, "flip": "none", "timesteps": (levels[-1], levels[-1] + 1)}
        policy = make(ASSETS / "model", latents={"name": name, "steps": 100, "clean": clean, **extra}, **rules)
        encoded, draw = policy.encode([winner]), draw_for([winner])
        inputs, x0 = inputs_of(policy, encoded, draw), policy._denoiser.clean(encoded, draw)
        assert policy.forward_counts.inversion == (len(levels) - 1) * (1 + extra.get("corrections", 0))
        errors[name] = float((sample_back(policy, inputs, levels) - x0).norm() / x0.norm())
    assert errors["renoise"] < 1e-5 and errors["ddim_inversion"] > 1e-3
