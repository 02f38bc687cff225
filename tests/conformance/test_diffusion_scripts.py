"""The published diffusion scripts' arithmetic, written from their formulas, with plain diffusers' network.

    Diffusion-DPO    e = mean ||eps(x_t) - eps||^2,   -log sigmoid(-(beta / 2) [(e_w - e_l) - (e_ref,w - e_ref,l)])
    InPO             the same with x_t from the scripts' inversion by the policy and tau = (x_t - a x0) / s for eps
    SmPO             an averaged correction at each step's source time, and a pair's w = gamma (2p - 1) inside

One pair at a time, as the scripts ran them. Compared are each pair's loss and the gradient of their mean.
"""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from diffalign.labels import expected_terms
from diffalign.labels.score_scaled import score_scaled
from diffalign.losses import LOSSES, PairLogps
from diffalign.policies.diffusion.load import AdapterConfig, ModelConfig, load_policy
from diffalign.randomness import Draw
from tests.policies.conftest import shake
from tests.tiny import tiny_sdxl

BETA = 2000.0
NOISED, INVERTED = (2, 402, 950), (2, 50, 150)  # a random network amplifies roundings along longer inversions
SCORES = {"chosen": (0.2, 0.12, 0.27, 0.2), "rejected": (0.15, 0.25, 0.26, 0.2)}
GRID = 100


@pytest.fixture(scope="module")
def folders(sd, tmp_path_factory):
    return {"sd": sd, "sdxl": tiny_sdxl(tmp_path_factory.mktemp("sdxl"))}


@pytest.fixture
def build(folders, tmp_path):
    """A policy that has moved, with its base once more as plain diffusers loads it."""

    def build(family, level, **latents):
        settings = {"caption_dropout": 0.0, "flip": "none", "timesteps": (level,), "dtype": "float32"}
        config = ModelConfig(
            path=str(folders[family]), cache=tmp_path, adapter=AdapterConfig(rank=4), latents=latents, **settings
        )
        policy = shake(load_policy(config, "cpu"), scale=0.05)
        return policy, UNet2DConditionModel.from_pretrained(folders[family], subfolder="unet").eval()

    return build


class Script:
    """One pair's loss by a script; ``network`` is the trained one, ``base`` the frozen one."""

    def __init__(self, policy, base, encoded, draw):
        self.network, self.base = policy.module, base
        self.alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
        rules, count = policy._denoiser, len(encoded.keys)
        self.x0 = rules.clean(encoded, draw).unflatten(0, (2, count))
        self.conditioning = {k: v[:count] for k, v in rules.condition(encoded, draw).items()}
        self.draw = draw

    def predict(self, network, x, time, b):
        rows = {name: value[b : b + 1].repeat(2, *[1] * (value.ndim - 1)) for name, value in self.conditioning.items()}
        states = rows.pop("encoder_hidden_states")
        return network(x, torch.tensor([time, time]), encoder_hidden_states=states, added_cond_kwargs=rows or None)[0]

    def z(self, name, b):
        return torch.stack(
            [self.draw.normal(f"{name}:{role}", self.x0.shape[2:])[b] for role in ("chosen", "rejected")]
        )

    def forward_latent(self, t, b):
        eps = self.draw.normal("noise", self.x0.shape[2:])[b]
        alpha = self.alphas[t]
        return alpha.sqrt() * self.x0[:, b] + (1 - alpha).sqrt() * eps, eps.expand_as(self.x0[:, b])

    @torch.no_grad()
    def inverted_latent(self, t, b, *, corrected, eta):
        x = self.x0[:, b]
        for k, time in enumerate([1 - GRID, *range(1, 1000 - GRID, GRID)]):
            if k and time >= t:
                break
            here, there = self.alphas[max(time, 0)], self.alphas[time + GRID]
            eps = self.predict(self.network, x, time, b)
            if corrected:
                eps = (eps + self.predict(self.network, self.move(x, eps, here, there), time, b)) / 2
            x = self.move(x, eps, here, there)
            std = math.sqrt(max(0.0, (1 - here) / (1 - there) * (1 - there / here)))
            x = x + eta * std * self.z(f"inversion:{k}", b) if eta else x
        alpha = self.alphas[t]
        return x, (x - alpha.sqrt() * self.x0[:, b]) / (1 - alpha).sqrt()

    @staticmethod
    def move(x, eps, here, there):
        clean = (x - (1 - here).sqrt() * eps) / here.sqrt()
        return there.sqrt() * clean + (1 - there).sqrt() * eps

    def loss(self, t, b, latent, weight=1.0):
        x, target = latent
        error = (self.predict(self.network, x, t, b) - target).square().mean((1, 2, 3))
        with torch.no_grad():
            reference = (self.predict(self.base, x, t, b) - target).square().mean((1, 2, 3))
        u = -BETA / 2 * ((error[0] - error[1]) - (reference[0] - reference[1]))
        return -torch.nn.functional.logsigmoid(weight * u)


def both(policy, base, pairs, latent, label=None):
    """Returns losses and gradients of the package and of a script; ``latent(script, t, b)``."""
    encoded, draw = policy.encode(pairs), Draw(0, tuple(pair.id for pair in pairs), (0,) * len(pairs))
    level = policy.config.timesteps[0]
    with torch.no_grad():
        reference = policy.reference_logps(encoded, draw).candidates
    found = policy.logps(encoded, draw).candidates
    label = score_scaled(pairs, alpha=1.0, gamma=1.0) if label is None else label
    ours = expected_terms(LOSSES["logistic"].bind(beta=BETA), PairLogps(*found, *reference), label).total
    script, weights = Script(policy, base, encoded, draw), label.scale.tolist()
    theirs = torch.stack([script.loss(level, b, latent(script, level, b), weights[b]) for b in range(len(pairs))])
    return (*((loss, torch.autograd.grad(loss.mean(), list(policy.trainable().values()))) for loss in (ours, theirs)),)


def assert_alike(ours, theirs):
    torch.testing.assert_close(ours[0].float(), theirs[0], rtol=2e-3, atol=1e-4)
    flat = [torch.cat([g.flatten() for g in gradients]) for _, gradients in (ours, theirs)]
    assert float((flat[0] - flat[1]).norm()) < 1e-2 * float(flat[1].norm())
    assert float(flat[1].norm()) > 0.0
    assert float((theirs[0].detach() - math.log(2.0)).abs().max()) > 1e-3  # the margins are not all zero


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("level", NOISED)
def test_diffusion_dpo_is_the_released_scripts_loss(build, pairs, family, level):
    policy, base = build(family, level, name="forward")
    assert_alike(*both(policy, base, pairs, lambda script, t, b: script.forward_latent(t, b)))


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("level", INVERTED)
@pytest.mark.parametrize("eta", [0.0, 0.1])
def test_released_ddim_inpo_is_the_released_scripts_loss(build, pairs, family, level, eta):
    policy, base = build(family, level, name="ddim_inversion", mode="released", eta=eta)
    latent = lambda script, t, b: script.inverted_latent(t, b, corrected=False, eta=eta)
    assert_alike(*both(policy, base, pairs, latent))


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("level", INVERTED)
def test_released_smpo_is_the_released_scripts_loss(build, pairs, family, level):
    policy, base = build(family, level, name="renoise", mode="released")
    low, high, gamma = 0.11543526500463486, 0.28201571106910706, 10.0
    scored = [
        replace(pair, scores={role: {"judge": SCORES[role][b]} for role in SCORES}) for b, pair in enumerate(pairs)
    ]
    label = score_scaled(scored, scorer="judge", gamma=gamma, low=low, high=high, source="human")
    squashed = {role: [(score - low) / (high - low) for score in SCORES[role]] for role in SCORES}
    odds = [math.exp(w) / (math.exp(w) + math.exp(v)) for w, v in zip(*squashed.values(), strict=True)]
    assert label.scale.tolist() == pytest.approx([gamma * (2 * p - 1) for p in odds])
    latent = lambda script, t, b: script.inverted_latent(t, b, corrected=True, eta=0.0)
    assert_alike(*both(policy, base, pairs, latent, label))
