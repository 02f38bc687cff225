"""The fast forward modes give the model's own numbers and gradients; an architecture that cannot run them says why."""

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig, adapter_off, add_adapter
from diffalign.policies.language.network import packed_attention
from diffalign.policies.language.network.choose_fastest_forward import choose_forward_mode
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from tests.tiny_text import FAMILIES, tiny_llm

SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(family):
        if family not in made:
            made[family] = tiny_llm(tmp_path_factory.mktemp(family), family=family)
        return made[family]

    return folder


@pytest.fixture
def attend(monkeypatch):
    """Replaces our attention for one test."""
    yield lambda wrong: monkeypatch.setattr(packed_attention, "attention", wrong)
    monkeypatch.undo()
    packed_attention.register()


def load(folder, **settings):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, **settings).eval()


def network_of(model):
    network = LanguageNetwork(model).eval()
    return network, choose_forward_mode(network)


def of_config(kind, **settings):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **settings})).eval()


def batch(vocabulary, device="cpu"):
    """Prompts of several lengths, one of them twice, responses of several, one of them shared; some tokens unscored."""
    generator = torch.Generator().manual_seed(3)

    def draw(count):
        return tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())

    def answer(count):
        return Response(draw(count), tuple((torch.rand(count, generator=generator) > 0.2).tolist()))

    prompt, shared = draw(30), answer(20)
    token_pairs = [
        TokenPair(prompt, (shared, answer(25))),
        TokenPair(draw(1), (answer(12), answer(3))),
        TokenPair(prompt, (answer(7), shared)),
        TokenPair(draw(11), (answer(1), answer(19))),
    ]
    return lay_out(token_pairs, device)


def numbers(network, mode, layout):
    network.zero_grad()
    with network.using_forward_mode(mode):
        logps = network(layout)
    (logps * torch.linspace(0.5, 1.5, len(logps))).sum().backward()
    grads = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return logps.detach(), grads


def assert_equal(have, want):
    torch.testing.assert_close(have[0], want[0], atol=1e-4, rtol=0)
    assert have[1].keys() == want[1].keys()
    for name, grad in want[1].items():
        assert (have[1][name] - grad).norm() <= 1e-3 * grad.norm() + 1e-5, (
            name
        )  # biases of keys: exactly zero, but for rounding


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_the_shared_mode_with_the_models_own_numbers(folders, family):
    network, choice = network_of(load(folders(family)))
    assert choice.mode == "shared" and not choice.rejected
    layout = batch(network.model.config.get_text_config().vocab_size)
    want = numbers(network, "plain", layout)
    assert_equal(numbers(network, "padded", layout), want)
    assert_equal(numbers(network, "shared", layout), want)


@pytest.mark.parametrize("family", ["gemma2", "mistral"])
def test_windows_and_soft_caps_matter_in_this_batch(folders, family):
    """Without them the numbers differ, so the test above would notice a mode that ignores them."""
    network, _ = network_of(load(folders(family)))
    layout = batch(network.model.config.vocab_size)
    want = numbers(network, "shared", layout)[0]
    without_both = lambda *args, **settings: packed_attention.attention(
        *args, **{**settings, "sliding_window": None, "softcap": None}
    )
    from transformers import AttentionInterface

    AttentionInterface.register(packed_attention.NAME, without_both)
    try:
        assert (numbers(network, "shared", layout)[0] - want).abs().max() > 1e-2
    finally:
        packed_attention.register()


def test_the_plain_mode_keeps_the_soft_cap(folders):
    """Whichever attention transformers chose for it: the fused kernel leaves the cap out."""
    network, plain = (
        LanguageNetwork(load(folders("gemma2"))).eval(),
        load(folders("gemma2"), attn_implementation="eager"),
    )
    choose_forward_mode(network, "plain")
    layout = batch(network.model.config.vocab_size)
    assert_equal(numbers(network, "plain", layout), numbers(LanguageNetwork(plain).eval(), "plain", layout))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_with_an_adapter_the_modes_agree_and_without_it_they_are_the_base(folders, family):
    network, _ = network_of(load(folders(family)))
    layout = batch(network.model.config.vocab_size)
    with torch.no_grad():
        base = network(layout)
    add_adapter(network.model, AdapterConfig(rank=3))
    network.eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    assert_equal(numbers(network, "shared", layout), numbers(network, "plain", layout))
    with torch.no_grad(), adapter_off(network):
        assert torch.equal(network(layout), base)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_checkpointed_activations_give_the_same_gradients(folders, family):
    network, _ = network_of(load(folders(family)))
    layout = batch(network.model.config.get_text_config().vocab_size)
    want = numbers(network, "shared", layout)
    network.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    network.train()
    assert_equal(numbers(network, "shared", layout), want)


def test_an_adapter_on_the_head_is_not_left_out(folders):
    network, _ = network_of(load(folders("llama")))
    add_adapter(network.model, AdapterConfig(rank=3, targets=("q_proj", "lm_head")))
    network.eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    layout = batch(network.model.config.vocab_size)
    assert_equal(numbers(network, "shared", layout), numbers(network, "plain", layout))


def test_the_shared_mode_computes_each_prompt_once(folders):
    network, _ = network_of(load(folders("llama")))
    layout = batch(network.model.config.vocab_size)
    rows = []
    hook = network.model.model.layers[0].register_forward_hook(lambda module, args, out: rows.append(args[0].shape[:2]))
    network(layout)
    hook.remove()
    assert rows == [(1, len(layout.ids))]
    assert len(layout.ids) == 30 + 20 + 25 + 7 + 1 + 12 + 3 + 11 + 1 + 19


@pytest.mark.parametrize(
    ("kind", "settings", "mode", "message"),
    [
        ("cohere", {"logit_scale": 0.5}, "shared", ""),
        ("granite", {"logits_scaling": 3.0}, "shared", ""),
        ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}, "shared", ""),
        ("bloom", {}, "padded", "not shared"),
        ("gpt_oss", {"num_local_experts": 4, "sliding_window": 8, "head_dim": 8}, "padded", "s_aux"),
        ("mamba", {}, "padded", "not shared"),
    ],
)
def test_an_unsupported_architecture_falls_back_and_reports_why(kind, settings, mode, message):
    network, choice = network_of(of_config(kind, **settings))
    assert choice.mode == network.forward_mode == mode
    assert choice.summary().startswith(mode) and message in choice.summary()
    layout = batch(90)
    assert_equal(numbers(network, mode, layout), numbers(network, "plain", layout))


def test_a_model_whose_layers_ignore_its_window_does_not_get_the_shared_mode():
    """A window is longer than a trial, so the numbers cannot show that it is ignored: the layers must request it."""
    model = of_config("mistral", sliding_window=64)
    for layer in model.model.layers:
        layer.self_attn.config = type(model.config)(**{**model.config.to_dict(), "sliding_window": None})
        layer.self_attn.config._attn_implementation = packed_attention.register()
    network = LanguageNetwork(model).eval()
    choice = choose_forward_mode(network)
    assert choice.mode == "padded" and "64" in choice.rejected["shared"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mode_is_chosen_in_the_models_own_precision_also_under_autocast(folders, family):
    network = LanguageNetwork(load(folders(family))).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_forward_mode(network, "shared").mode == "shared"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_rounding_of_any_precision_is_no_fault(folders, family, dtype):
    assert choose_forward_mode(LanguageNetwork(load(folders(family), dtype=dtype)).eval(), "shared").mode == "shared"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_answers_that_see_each_other_are_a_fault_in_any_precision(folders, family, dtype, attend):
    def one_row(module, query, key, value, mask, *, packed_layout=None, scaling=None, **others):
        heads = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        return mixed.transpose(1, 2), None

    attend(one_row)
    choice = choose_forward_mode(LanguageNetwork(load(folders(family), dtype=dtype)).eval())
    assert choice.mode == "padded" and "differ" in choice.rejected["shared"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_soft_cap_that_is_left_out_is_a_fault_in_any_precision(folders, dtype, attend):
    ours = packed_attention.attention
    attend(lambda *args, **given: ours(*args, **{**given, "softcap": None}))
    choice = choose_forward_mode(LanguageNetwork(load(folders("gemma2"), dtype=dtype)).eval())
    assert choice.mode == "padded" and "differ" in choice.rejected["shared"]


def test_a_requested_mode_that_is_impossible_is_refused_with_advice():
    network = LanguageNetwork(of_config("bloom")).eval()
    with pytest.raises(ConfigError, match="model.forward=auto"):
        choose_forward_mode(network, "shared")
