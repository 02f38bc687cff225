"""Policy compared with the reference: divergences over the whole vocabulary, prompts, and token masks."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from diffalign.errors import ConfigError
from diffalign.policies.language.config import LanguageConfig, MaskConfig
from diffalign.policies.language.load import AdapterConfig, load_policy
from diffalign.policies.language.network.token_kl import ReferenceStates, compare_tokens
from diffalign.policies.language.network.token_masks import MASK_FILE, MaskNetwork, rescaled
from tests.policies.conftest import draw_for, shake
from tests.tiny_text import FAMILIES, text_pairs, tiny_llm

PAIRS = text_pairs(4)
DRAW = draw_for(PAIRS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(family):
        if family not in made:
            made[family] = tiny_llm(tmp_path_factory.mktemp(family), family=family)
        return made[family]

    return folder


@pytest.fixture
def load(folders, tmp_path):
    def build(family="llama", **settings):
        settings.setdefault("adapter", AdapterConfig(rank=4))
        return load_policy(LanguageConfig(path=str(folders(family)), cache=tmp_path / "cache", **settings), "cpu")

    return build


def by_hand(policy, encoded, network):
    """``KL(reference || policy)`` at each scored token, from the logits of whole rows."""
    from diffalign.policies.language.network.padding import pad_rows

    ids, mask, rows, columns = pad_rows(encoded.layout)
    know = lambda model: model(input_ids=ids, attention_mask=mask).logits[rows, columns].double().log_softmax(-1)
    with torch.no_grad(), policy.reference.network() as reference:
        known = know(reference.model)
    said = know(network.model)
    return (known.exp() * (known - said)).sum(-1)


def rolled(encoded, values):
    """Numbers of a layout's tokens as sums by role."""
    layout = encoded.layout
    sums = values.new_zeros(layout.response_count).index_add(0, layout.response_index, values)
    return [sums[list(role)] for role in zip(*encoded.responses, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", ["shared", "plain"])
def test_divergences_are_those_of_the_models_own_logits(load, family, way):
    policy = shake(load(family, forward=way), scale=0.05)
    encoded = policy.encode(PAIRS)
    ours, reference = policy.compare_parts(encoded, DRAW)
    with torch.no_grad():
        expected = rolled(encoded, by_hand(policy, encoded, policy.module))
    for scores, sums in zip(ours.candidates, expected, strict=True):
        torch.testing.assert_close(scores.divergence.sum(1).double(), sums, rtol=1e-3, atol=1e-5)
        assert (scores.divergence >= 0).all() and scores.divergence.requires_grad
    for have, want in zip(
        (ours, reference), (policy.logps(encoded, DRAW), policy.reference_logps(encoded, DRAW)), strict=True
    ):
        for one, other in zip(have.candidates, want.candidates, strict=True):
            torch.testing.assert_close(one.parts, other.parts, rtol=0, atol=1e-4)
            torch.testing.assert_close(one.logps, other.logps, rtol=0, atol=1e-3)
            assert torch.equal(one.lengths, other.lengths)
    assert not reference.candidates[0].parts.requires_grad and reference.candidates[0].divergence is None
    assert set(ours.info) == {"seq_kl/chosen", "seq_kl/rejected"} and not ours.info["seq_kl/chosen"].requires_grad


@pytest.mark.parametrize("reference", ["adapter_off", "copy"])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_equal_policy_and_reference_have_divergence_zero(load, reference, precision):
    policy = load(reference=reference)
    encoded = policy.encode(PAIRS)
    with torch.autocast("cpu", dtype=precision or torch.bfloat16, enabled=precision is not None):
        ours, theirs = policy.compare_parts(encoded, DRAW)
    for one, other in zip(ours.candidates, theirs.candidates, strict=True):
        assert torch.equal(one.divergence, torch.zeros_like(one.divergence))
        assert torch.equal(one.parts, other.parts) and one.parts.dtype == torch.float32
    ours.candidates[0].divergence.sum().backward()
    assert max(p.grad.abs().max() for p in policy.trainable().values()) < 1e-5, "an optimum"


def test_a_copy_and_a_switched_off_adapter_are_the_same_reference(load):
    said = [shake(load(reference=kind)).compare_parts for kind in ("adapter_off", "copy")]
    one, other = (compare(load().encode(PAIRS), DRAW) for compare in said)
    for a, b in zip(one[0].candidates + one[1].candidates, other[0].candidates + other[1].candidates, strict=True):
        assert torch.equal(a.parts, b.parts)
        assert a.divergence is None or torch.equal(a.divergence, b.divergence)


@pytest.mark.parametrize("adapter", [AdapterConfig(rank=2, targets=("q_proj", "lm_head")), None], ids=["head", "all"])
def test_a_trained_head_and_an_earlier_reference_are_compared_too(load, adapter):
    policy = load(adapter=adapter, reference="auto" if adapter else "copy")
    assert policy.module.logits_outlive_forward == (adapter is None)
    before = policy.state()
    shake(policy)
    policy.set_reference({name: value + 0.01 for name, value in before.items()})
    encoded = policy.encode(PAIRS)
    ours, theirs = policy.compare_parts(encoded, DRAW)
    with torch.no_grad():
        expected = rolled(encoded, by_hand(policy, encoded, policy.module))
    for scores, sums in zip(ours.candidates, expected, strict=True):
        torch.testing.assert_close(scores.divergence.sum(1).double(), sums, rtol=1e-3, atol=1e-5)
    for one, other in zip(theirs.candidates, policy.reference_logps(encoded, DRAW).candidates, strict=True):
        torch.testing.assert_close(one.parts, other.parts, rtol=0, atol=1e-4)
    ours.candidates[0].divergence.sum().backward()
    assert all(value.grad is not None for value in policy.trainable().values())


def test_gradients_of_states_and_head_are_right_for_every_chunk_size():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    states, weight, other, targets = draw(5, 4), draw(7, 4), draw(5, 4), torch.tensor([0, 3, 6, 1, 1])
    reference_states = ReferenceStates(other, lambda h: 2 * h @ weight.T)

    def compared(h, w, chunk):
        return compare_tokens(h, lambda x: x @ w.T, reference_states, targets, 7, chunk)[:3]

    leaves = states.requires_grad_(True), weight.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h, w: compared(h, w, 2 * 4 * 7)[[0, 2]], leaves)
    torch.testing.assert_close(compared(*leaves, 28), compared(*leaves, 2**20), rtol=1e-14, atol=0)


def test_no_logits_are_kept_for_the_backward_pass():
    head, count, width, kept = torch.randn(512, 8), 64, 8, []
    states = torch.randn(count, width, requires_grad=True)
    reference_states = ReferenceStates(torch.randn(count, width), lambda h: h @ head.T)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        found = compare_tokens(
            states, lambda h: h @ head.T, reference_states, torch.zeros(count, dtype=torch.long), 512, 2**15
        )
    found[2].sum().backward()
    assert max(kept, default=0) < 16 * 512, "not even those of one chunk"


def test_tokens_of_probability_zero_do_not_make_it_infinite():
    never = lambda h: h.masked_fill(torch.tensor([False, True, False]), float("-inf"))
    states = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    found = compare_tokens(states, never, ReferenceStates(torch.tensor([[3.0, 2.0, 1.0]]), never), torch.tensor([0]), 3)
    found[2].sum().backward()
    assert found.isfinite().all() and states.grad.isfinite().all() and found[2] > 0


def test_a_stored_reference_is_refused_with_advice(load):
    policy = load(reference="stored")
    with pytest.raises(ConfigError, match="whole distributions.*model.reference=copy"):
        policy.compare_parts(policy.encode(PAIRS), DRAW)


@pytest.mark.parametrize("way", ["shared", "padded", "plain"])
def test_prompts_are_scored_once_each_and_do_not_change_the_answers(load, way):
    policy = shake(load(forward=way))
    plain, with_prompts = policy.encode(PAIRS), policy.encode(PAIRS, prompts=True)
    assert sum(with_prompts.layout.prompt_lengths) == sum(
        len(prompt) - 1 for prompt in {q.prompt for q in with_prompts.token_pairs}
    )
    with torch.no_grad():
        before, after = policy.logps(plain, DRAW).candidates, policy.logps(with_prompts, DRAW).candidates
        for row, token_pair in enumerate(with_prompts.token_pairs):
            ids = torch.tensor([token_pair.prompt])
            known = policy.module.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            expected = known.gather(1, ids[0, 1:, None]).sum()
            for scores in after:
                torch.testing.assert_close(scores.prompts[row], expected, rtol=1e-4, atol=1e-3)
    for one, other in zip(before, after, strict=True):
        assert one.prompts is None
        torch.testing.assert_close(one.parts, other.parts, rtol=0, atol=1e-4)


def test_answers_to_other_prompts_have_those_prompts(load):
    policy = load()
    pairs = [replace(pair, rejected_prompt=f"{pair.prompt} or?") for pair in PAIRS]
    chosen, rejected = policy.logps(policy.encode(pairs, prompts=True), DRAW).candidates
    swapped = [replace(p, prompt=p.rejected_prompt, rejected_prompt=p.prompt) for p in pairs]
    other, one = policy.logps(policy.encode(swapped, prompts=True), DRAW).candidates
    torch.testing.assert_close(chosen.prompts, one.prompts, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(rejected.prompts, other.prompts, rtol=1e-5, atol=1e-4)
    assert (chosen.prompts != rejected.prompts).all()


def test_stored_log_probabilities_of_prompts_are_looked_up(load):
    live, stored = load(reference="adapter_off"), load(reference="stored")
    plan = [(index, 0) for index in range(len(PAIRS))]
    fresh = stored.prepare_reference(PAIRS, plan, 0, prompts=True)
    assert fresh == 2 * len(PAIRS) + len({pair.prompt for pair in PAIRS})
    assert stored.prepare_reference(PAIRS, plan, 0, prompts=True) == 0
    counted = stored.forward_counts.reference
    found = stored.reference_logps(stored.encode(PAIRS, prompts=True), DRAW).candidates
    assert stored.forward_counts.reference == counted, "looked up"
    for one, other in zip(found, live.reference_logps(live.encode(PAIRS, prompts=True), DRAW).candidates, strict=True):
        torch.testing.assert_close(one.prompts, other.prompts, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(one.logps, other.logps, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_masks_from_activations_are_read_at_the_position_that_predicts(load, family):
    masks = {
        way: shake(load(family, forward=way, masks=MaskConfig(kind="activations"))).compare_parts
        for way in ("shared", "padded", "plain")
    }
    encoded = load(family).encode(PAIRS)
    found = {way: compare(encoded, DRAW)[0] for way, compare in masks.items()}
    for role in (0, 1):
        one = found["shared"].candidates[role]
        there = torch.arange(one.parts.shape[1]) < one.lengths[:, None]
        assert one.masks.shape == (2, *one.parts.shape) and not one.masks.requires_grad
        assert (one.masks >= 0).all() and (one.masks <= 1).all() and (one.masks[:, ~there] == 0).all()
        assert torch.equal(*one.masks)
        for way in ("padded", "plain"):
            torch.testing.assert_close(found[way].candidates[role].masks, one.masks, rtol=0, atol=1e-3)
    assert {"mask/mean_reward/chosen", "mask/sparsity_divergence/rejected"} <= set(found["shared"].info)


def test_an_activation_is_the_mean_of_a_layers_output_where_a_token_is_predicted(load):
    policy = load(masks=MaskConfig(kind="activations", of=("residual",)))
    encoded = policy.encode(PAIRS)
    token_pair, is_first = encoded.token_pairs[0], encoded.layout.response_index == encoded.responses[0][0]
    activations = policy.module.reference_states(encoded.layout, policy.config.masks).activations
    layers = [layer[is_first] for layer in activations["residual"]]
    ids = torch.tensor([token_pair.prompt + token_pair.responses[0].ids])
    first = policy.module.model(ids, output_hidden_states=True).hidden_states[1][0, len(token_pair.prompt) - 1 : -1]
    torch.testing.assert_close(layers[0], first.mean(-1), rtol=1e-4, atol=1e-5)
    expected = torch.stack([(one - one.min()) / (one.max() - one.min()) for one in layers]).mean(0)
    found = policy.compare_parts(encoded, DRAW)[0].candidates[0].masks[0, 0, : len(expected)]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_mask_of_equal_activations_is_one():
    owners = torch.tensor([0, 0, 1, 2, 2])
    found = rescaled(torch.tensor([5.0, 5.0, 3.0, 1.0, 2.0]), owners, 3)
    assert found.tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("kind", ["learned", "learned_independent"])
@pytest.mark.parametrize("layers", ["all", "last"])
def test_learned_masks_start_at_one_and_learn(load, kind, layers):
    policy = load(masks=MaskConfig(kind=kind, layers=layers))
    shape = policy.module.masks.weight.shape
    assert shape[:2] == (1 if kind == "learned" else 2, 2 if layers == "all" else 1)
    encoded = policy.encode(PAIRS)
    before = policy.compare_parts(encoded, DRAW)[0].candidates[0]
    there = torch.arange(before.parts.shape[1]) < before.lengths[:, None]
    torch.testing.assert_close(before.masks, there.float().expand(2, -1, -1), rtol=1e-6, atol=0)
    pull = torch.randn(before.masks.shape, generator=torch.Generator().manual_seed(0))
    (pull * before.masks).sum().backward()
    is_first = {name: value for name, value in policy.trainable().items() if name.startswith("masks.")}
    assert is_first and all(value.grad is not None for value in is_first.values())
    assert policy.module.masks.weight.grad.abs().sum() > 0, "no state is asleep"
    shake(policy, scale=0.1)
    after = policy.compare_parts(encoded, DRAW)[0].candidates[0].masks
    assert (after >= 0).all() and not torch.equal(after, before.masks)
    assert torch.equal(*after) == (kind == "learned")


def test_learned_masks_are_saved_with_checkpoints_and_adapters(load, folders, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    policy = shake(load(masks=MaskConfig(kind="learned")), scale=0.05)
    encoded = policy.encode(PAIRS)
    want = policy.compare_parts(encoded, DRAW)[0].candidates[0]
    resumed = load(masks=MaskConfig(kind="learned"))
    resumed.load_state(policy.state())
    folder = policy.save(tmp_path / "adapter", {})
    assert (folder / MASK_FILE).is_file()
    shared = load(masks=MaskConfig(kind="learned"))
    shared.load_adapter(folder)
    for other in (resumed, shared):
        have = other.compare_parts(encoded, DRAW)[0].candidates[0]
        assert torch.equal(have.masks, want.masks) and torch.equal(have.parts, want.parts)
    load().load_adapter(folder)  # a model without masks ignores them
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folders("llama")), folder)
    ids = torch.tensor([encoded.token_pairs[0].prompt])
    with torch.no_grad():
        torch.testing.assert_close(peft(ids).logits, policy.module.model(ids).logits, rtol=1e-4, atol=1e-4)
    bare = load().save(tmp_path / "bare", {})
    with pytest.raises(ConfigError, match=f"holds no {MASK_FILE}"):
        load(masks=MaskConfig(kind="learned")).load_adapter(bare)
    with pytest.raises(ConfigError, match="another kind"):
        load(masks=MaskConfig(kind="learned_independent")).load_adapter(folder)


def test_every_weight_is_saved_with_its_masks(load, tmp_path):
    policy = load(adapter=None, reference="copy", masks=MaskConfig(kind="learned"))
    assert (policy.save(tmp_path / "whole", {}) / MASK_FILE).is_file()
    assert "one for both terms" in policy.describe()["masks"]


def test_half_precision_states_are_masked_in_full_precision():
    network = MaskNetwork(2, 8, 1)
    nn.init.normal_(network.weight)
    states = torch.randn(2, 5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(states), network(states.float())) and network(states).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "learned", "of": ("mlp",)}, "read states, not activations"),
        ({"kind": "activations", "layers": "last"}, "is for learned masks"),
        ({"kind": "activations", "of": ()}, "it is empty"),
    ],
)
def test_contradictory_mask_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MaskConfig(**settings)
