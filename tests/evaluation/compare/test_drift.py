"""Drift and log-probabilities of samples, on tiny models with known results."""

import math
from dataclasses import asdict, replace

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.evaluation.compare import drift as drift_module
from diffalign.evaluation.compare.drift import DriftMeasurement, drift_of, measure_drift
from diffalign.evaluation.compare.result import plain_json
from diffalign.evaluation.samples.generate import generate
from diffalign.policies.config import AdapterConfig
from diffalign.policies.language.load import LanguageConfig, load_policy
from diffalign.policies.sample_logps import sample_logps
from diffalign.randomness import Draw
from tests.tiny_text import tiny_llm


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    config = LanguageConfig(path=str(tiny_llm(tmp_path_factory.mktemp("llm"))), adapter=AdapterConfig(rank=2))
    return load_policy(config, "cpu")


def move(policy, size):
    """Adapters start at zero; this is the scale of their change."""
    make = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.copy_(size * torch.randn(parameter.shape, generator=make))


def galleries(policy, folder, prompts=("a b", "c d"), seeds=range(4), **settings):
    settings = {"max_new_tokens": 8, **settings} if policy.medium == "text" else {"steps": 2, "guidance": 1.0}
    base = generate(policy, prompts, seeds, folder / "base", reference=True, **settings)
    return base, generate(policy, prompts, seeds, folder / "aligned", **settings)


def test_a_policy_that_equals_its_reference_has_not_drifted(writer, tmp_path):
    move(writer, 0.0)
    result = measure_drift(writer, *galleries(writer, tmp_path))
    assert result.drift.value == pytest.approx(0, abs=1e-5) and result.drift.samples > 4
    assert result.dispersion.rise == pytest.approx(0, abs=1e-5) and result.evidence.spread == pytest.approx(1)
    assert result.drift.unit == "nats per answer" and result.plain


def test_log_probabilities_of_samples_equal_those_in_training(writer, tmp_path):
    move(writer, 0.2)
    _, aligned = galleries(writer, tmp_path)
    logps = sample_logps(writer, [s.prompt for s in aligned.samples], aligned.contents(), batch=3)
    encoded = writer.encode([Pair("x", writer.format_prompt(aligned.samples[0].prompt), aligned.contents()[0], None)])
    with torch.no_grad():
        own, other = (
            f(encoded, Draw(0, ("x",), (0,))).candidates[0].logps for f in (writer.logps, writer.reference_logps)
        )
    assert logps.indices[0] == 0 and logps.policy[0] == pytest.approx(float(own), abs=1e-4)
    assert logps.reference[0] == pytest.approx(float(other), abs=1e-4)
    assert drift_of(logps, "text").value == pytest.approx(sum(logps.logratios) / len(logps.logratios))
    writer.module.train()
    sample_logps(writer, ["a"], ["x"])
    assert writer.module.training, "the mode is what it was"


def test_a_changed_policy_drifts_and_base_samples_become_less_likely(writer, tmp_path):
    move(writer, 0.5)
    result = measure_drift(writer, *galleries(writer, tmp_path, seeds=range(8)))
    assert result.drift.value > 2 * result.drift.error > 0
    assert result.dispersion.mean < 0, "what the reference says has become less likely"
    back = DriftMeasurement.from_dict(plain_json(asdict(result)))
    assert back == result or math.isnan(result.evidence.entropy)
    assert "nats per answer" in result.summary()[0]


def test_samples_at_another_temperature_are_reported_and_have_no_entropy(writer, tmp_path):
    move(writer, 0.2)
    result = measure_drift(writer, *galleries(writer, tmp_path, temperature=0.5))
    assert not result.plain and result.evidence is None and "approximates a KL" in result.summary()[1]


def test_an_earlier_policy_as_reference_has_no_dispersion_from_base_samples(writer, tmp_path):
    class EarlierReference:
        reference_kind = "earlier"

        def __getattr__(self, name):
            return getattr(writer, name)

    both = galleries(writer, tmp_path)
    assert measure_drift(EarlierReference(), *both).dispersion is None
    assert measure_drift(writer, *both).dispersion is not None


def test_empty_answers_are_left_out(writer):
    logps = sample_logps(writer, ["a", "b", "c"], ["x", " \n", "y"])
    assert logps.indices == (0, 2) and len(logps.policy) == 2
    assert drift_of(replace(logps, indices=(), policy=(), reference=()), "text") is None


def test_images_drift_by_the_squared_change_of_predictions(make, tmp_path):
    policy = make(caption_dropout=0.0, flip="none")
    base, aligned = galleries(policy, tmp_path / "before")
    assert measure_drift(policy, base, aligned).drift.value == pytest.approx(0, abs=1e-9)
    move(policy, 0.5)
    result = measure_drift(policy, *galleries(policy, tmp_path / "after"))
    assert result.drift.value > 0 and result.drift.unit.startswith("of squared change") and result.evidence is None
    assert result.dispersion is not None


def test_a_stored_reference_gives_an_estimate_from_errors(make, tmp_path):
    policy = make(caption_dropout=0.0, flip="none", reference="stored")
    move(policy, 0.5)
    logps = sample_logps(policy, ["a"], [galleries(policy, tmp_path)[1].contents()[0]])
    assert logps.squared_change is None
    assert drift_of(logps, "image").value == pytest.approx(2 * logps.logratios[0])


def test_of_many_images_evenly_spaced_ones_are_measured(make, tmp_path, monkeypatch):
    policy = make(caption_dropout=0.0, flip="none")
    base, aligned = galleries(policy, tmp_path)
    assert len(aligned.samples) > 2
    monkeypatch.setattr(drift_module, "MOST_MEASURED", 2)
    assert measure_drift(policy, base, aligned).drift.samples == 2
    chosen = drift_module._measured(aligned, "image")[0]
    assert chosen == [aligned.samples[0].prompt, aligned.samples[len(aligned.samples) // 2].prompt]
