"""The laws of a policy's fingerprint: it changes when a stored number would, and only then."""

from __future__ import annotations

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig
from tests.policies.cases import close, numbers
from tests.policies.conftest import draw_for, shake

NUMBERS = {
    "sd": {
        "sum": {"reduction": "sum"},
        "no mirroring": {"flip": "none"},
        "images mirrored one by one": {"flip": "independent"},
        "lower noise levels": {"timesteps": (0, 300)},
        "listed noise levels": {"timesteps": (249, 499, 749)},
        "prompts always dropped": {"caption_dropout": 1.0},
        "inverted latents": {"latents": {"name": "ddim_inversion", "steps": 2, "inverter": "reference"}},
        "bfloat16": {"dtype": "bfloat16"},
    },
    "sdxl": {"true sizes": {"size_ids": "true"}},
    "animatediff": {
        "fewer frames": {"clip": {"frames": 2}},
        "frames of the whole clip": {"clip": {"frames": 2, "rule": "span"}},
        "other levels": {"schedule": "linear"},
        "mirroring": {"flip": "joint"},
    },
    "llama": {
        "shorter prompts": {"max_prompt_length": 12, "long_prompts": "keep_end"},
        "a system turn": {"system": "Be brief."},
        "another template": {"chat_template": "{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"},
        "another end": {"end_token": "<unk>"},
        "no end": {"add_end": False},
        "a shared start in the prompt": {"shared_start": "prompt"},
        "bfloat16": {"dtype": "bfloat16"},
    },
}
"""Settings that change a log-probability, by case."""

SHARED = {
    "a copy as reference": {"reference": "copy"},
    "checkpointing": {"gradient_checkpointing": True},
    "another rank": {"adapter": AdapterConfig(rank=2)},
    "every weight": {"adapter": None},
    "no cache": {"use_cache": False},
}
SAME_NUMBERS = {
    "sd": {**SHARED, "images encoded one by one": {"encode_batch": 1}},
    "sdxl": SHARED,
    "animatediff": {
        **SHARED,
        "motion modules": {"adapter": None, "trains": "motion"},
        "one frame": {"encode_batch": 1},
    },
    "modelscope": {"checkpointing": {"gradient_checkpointing": True}, "one frame": {"encode_batch": 1}},
    "llama": {**SHARED, "padded rows": {"forward": "padded"}, "logits computed twice": {"head_memory": 0}},
}
"""Settings that change none, but for rounding, by case."""


def by_case(table):
    rows = [(case, name, settings) for case, named in table.items() for name, settings in named.items()]
    return [pytest.param(case, settings, id=f"{case}-{name}") for case, name, settings in rows]


def both_visits(policy, pairs):
    """Log-probabilities under the reference at two visits."""
    encoded = policy.encode(pairs)
    return torch.cat([numbers(policy.reference_logps(encoded, draw_for(pairs, visit))) for visit in (0, 1)])


@pytest.mark.parametrize(("bench", "settings"), by_case(NUMBERS), indirect=["bench"])
def test_the_fingerprint_changes_with_a_setting_that_changes_numbers(bench, settings):
    other = bench.case.open(**settings)
    assert not close(both_visits(other, bench.pairs), both_visits(bench.policy, bench.pairs))
    assert other.fingerprint() != bench.policy.fingerprint()


@pytest.mark.parametrize(("bench", "settings"), by_case(SAME_NUMBERS), indirect=["bench"])
def test_the_fingerprint_stays_where_only_the_way_of_computing_changes(bench, settings):
    other = bench.case.open(**settings)
    assert close(both_visits(other, bench.pairs), both_visits(bench.policy, bench.pairs))
    assert other.fingerprint() == bench.policy.fingerprint()


def test_the_fingerprint_is_that_of_the_base_before_and_after_training(bench, policy):
    before = policy.fingerprint()
    assert bench.case.open().fingerprint() == before
    shake(policy)
    assert policy.fingerprint() == before
    if bench.case.other_weights is not None:
        assert bench.case.other_weights().fingerprint() != before


def test_stored_numbers_of_the_reference_are_the_live_ones(bench):
    if bench.case.other_weights is None:  # without a configuration there is nothing to store
        assert bench.policy.prepare_reference(bench.pairs, [(0, 0)], 0) == 0
        return
    stored = bench.case.open(reference="stored")
    plan = [(row, visit) for row in range(4) for visit in (0, 1)]
    assert stored.reference_kind == "stored" and stored.prepare_reference(bench.pairs, plan, seed=0) > 0
    assert stored.prepare_reference(bench.pairs, plan, seed=0) == 0
    shake(stored)
    counts = stored.forward_counts.as_dict()
    for visit in (0, 1):
        draw = draw_for(bench.pairs, visit)
        live = numbers(bench.policy.reference_logps(bench.encoded, draw))
        assert close(numbers(stored.reference_logps(stored.encode(bench.pairs), draw)), live)
    assert stored.forward_counts.as_dict() == counts
    with pytest.raises(ConfigError, match="model.reference="):
        stored.compare_parts(bench.encoded, bench.draw)
