"""Merged adapters: the sum of the products, exactly, in the format of the parts, and weights chosen on a memory."""

import json

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.evaluation.choose_merge_weights import choose_weights, simplex, weight_setter
from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_aligned, load_policy
from diffalign.sharing.merge import merge_deltas, read_delta, write_merged
from tests.tiny_text import text_pairs, tiny_llm


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm") / "model")


def adapter(llm, folder, rank, seed, **changes):
    """An adapter whose tensors are all drawn, so that none is the identity."""
    config = LanguageConfig(path=str(llm), adapter=AdapterConfig(rank=rank, alpha=2.0 * rank, **changes))
    policy = load_policy(config)
    generator = torch.Generator().manual_seed(seed)
    policy.load_state({k: 0.3 * torch.randn(v.shape, generator=generator) for k, v in policy.state().items()})
    policy.save(folder, {"method": "dpo"})
    return folder


def products(tensors):
    return {
        key.removesuffix(".lora_A.weight"): tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
        for key in tensors
        if ".lora_A" in key
    }


def test_a_merge_is_the_weighted_sum_of_the_products_also_of_other_ranks_and_layers(llm, tmp_path):
    one = read_delta(adapter(llm, tmp_path / "one", 2, 0))
    other = read_delta(adapter(llm, tmp_path / "other", 3, 1, targets="attention+mlp"))
    found = products(merge_deltas([one, other], [0.7, -0.2]))
    parts = products(one.folded()), products(other.folded())
    assert set(found) == set(parts[1]) > set(parts[0])
    for layer, product in found.items():
        expected = 0.7 * parts[0].get(layer, torch.zeros(())) - 0.2 * parts[1][layer]
        torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-6)


def test_one_hot_weights_return_that_adapter_and_equal_ones_are_a_fixed_point(llm, tmp_path):
    one, other = (read_delta(adapter(llm, tmp_path / f"{seed}", 2, seed)) for seed in (0, 1))
    for layer, product in products(merge_deltas([one, other], [0.0, 1.0])).items():
        torch.testing.assert_close(product, products(other.folded())[layer], rtol=1e-5, atol=1e-6)
    for layer, product in products(merge_deltas([one, one], [0.25, 0.75])).items():
        torch.testing.assert_close(product, products(one.folded())[layer], rtol=1e-5, atol=1e-6)


def test_a_written_merge_scores_as_its_parts_do_when_it_is_one_of_them(llm, tmp_path):
    folders = [adapter(llm, tmp_path / f"part{seed}", 2, seed) for seed in (0, 1)]
    deltas = [read_delta(folder) for folder in folders]
    written = write_merged(deltas, [1.0, 0.0], tmp_path / "merged")
    config, pairs = LanguageConfig(path=str(llm)), text_pairs(3)
    scores = []
    for path in (folders[0], written):
        policy = load_aligned(config, path)
        scores.append(policy.logps(policy.encode(pairs), None).candidates[0].logps)
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-5, atol=1e-4)
    merged = read_delta(written)
    assert [part["weight"] for part in merged.about["merged_from"]] == [1.0, 0.0] and merged.config["r"] == 4


def test_a_merged_image_adapter_is_a_file_of_diffusers(sd, tmp_path):
    from diffalign.policies.diffusion.config import ModelConfig
    from diffalign.policies.diffusion.load import load_aligned as load_image
    from diffalign.policies.diffusion.load import load_policy as image_policy

    files = []
    for seed in (0, 1):
        policy = image_policy(ModelConfig(path=str(sd), adapter=AdapterConfig(rank=2), use_cache=False))
        generator = torch.Generator().manual_seed(seed)
        policy.load_state({k: 0.1 * torch.randn(v.shape, generator=generator) for k, v in policy.state().items()})
        files.append(policy.save(tmp_path / str(seed), {"method": "diffusion_dpo"}))
    deltas = [read_delta(file) for file in files]
    written = write_merged(deltas, [0.5, 0.5], tmp_path / "merged")
    assert written.name == "pytorch_lora_weights.safetensors"
    loaded = load_image(ModelConfig(path=str(sd), use_cache=False), written)
    half = [products(delta.tensors) for delta in deltas if all(v.ndim == 2 for v in delta.tensors.values())]
    found = products(read_delta(written).tensors)
    for layer, product in found.items():
        torch.testing.assert_close(product, 0.5 * half[0][layer] + 0.5 * half[1][layer], rtol=1e-4, atol=1e-6)
    assert loaded.config.adapter.rank == 4


def test_adapters_that_cannot_be_summed_are_refused(llm, tmp_path):
    one = adapter(llm, tmp_path / "one", 2, 0)
    with pytest.raises(ConfigError, match="separate magnitudes"):
        read_delta(adapter(llm, tmp_path / "dora", 2, 0, dora=True))
    elsewhere = tiny_llm(tmp_path / "base", seed=5)
    with pytest.raises(ConfigError, match="only adapters of one base"):
        merge_deltas([read_delta(one), read_delta(adapter(elsewhere, tmp_path / "far", 2, 0))], [0.5, 0.5])
    with pytest.raises(ConfigError, match="2 adapters and 1 weights"):
        merge_deltas([read_delta(one), read_delta(one)], [1.0])


def test_weights_are_those_of_the_grid_that_fit_the_memory_best(llm, tmp_path):
    assert list(simplex(2, 0.5)) == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    assert len(list(simplex(3, 0.25))) == 15 and all(sum(w) == pytest.approx(1.0) for w in simplex(3, 0.25))
    deltas = [read_delta(adapter(llm, tmp_path / f"{seed}", 2, seed)) for seed in (0, 1)]
    even = write_merged(deltas, [1.0, 1.0], tmp_path / "even")
    policy, pairs = load_aligned(LanguageConfig(path=str(llm)), even), text_pairs(4)
    use = weight_setter(policy, [2, 2])
    tried = choose_weights(policy, use, 2, pairs, beta=0.1, step=0.25)
    assert len(tried) == 5 and tried[0].loss == min(t.loss for t in tried) < tried[-1].loss
    use((1.0, 0.0))
    alone = load_aligned(LanguageConfig(path=str(llm)), tmp_path / "0")
    one, other = (p.logps(p.encode(pairs), None).candidates[0].logps for p in (policy, alone))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_the_command_merges_and_prints_the_weights(llm, tmp_path):
    from typer.testing import CliRunner

    from diffalign.cli import app

    folders = [str(adapter(llm, tmp_path / f"{seed}", 2, seed)) for seed in (0, 1)]
    call = lambda name, *more: CliRunner().invoke(app, ["merge", *folders, "--output", str(tmp_path / name), *more])
    plain = call("plain", "--weight", "0.3", "--weight", "0.7")
    assert plain.exit_code == 0 and "merged 0.3 0, 0.7 1" in plain.output
    memory = tmp_path / "memory.jsonl"
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in text_pairs(4)]
    memory.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = call("chosen", "--memory", str(memory), "--model", str(llm), "--step", "0.5")
    assert chosen.exit_code == 0, chosen.output
    assert "3 weightings: loss" in chosen.output
    assert call("wrong", "--memory", str(memory)).exit_code != 0
