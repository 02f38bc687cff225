"""The family battery: every row of the table fulfils what the rest of the package expects of a family.

A new family needs one tiny model in ``TINY_MODELS``.
"""

import inspect
import json
import math
import shutil

import pytest
import torch
from diffusers.loaders import PeftAdapterMixin

from diffalign.policies.adapters import AdapterConfig, find_targets
from diffalign.policies.diffusion.families import FAMILIES
from diffalign.policies.diffusion.families.family import table
from diffalign.policies.diffusion.load import VideoModelConfig, load_policy
from tests.policies.conftest import draw_for, inputs_of, margin, shake, spied
from tests.tiny import RESOLUTION, tiny_sd, tiny_sdxl
from tests.tiny_video import FRAMES, tiny_animatediff, tiny_animatediff_sdxl, tiny_clip_pairs, tiny_modelscope

TINY_MODELS = {
    "StableDiffusionPipeline": tiny_sd,
    "StableDiffusionXLPipeline": tiny_sdxl,
    "AnimateDiffPipeline": tiny_animatediff,
    "AnimateDiffSDXLPipeline": tiny_animatediff_sdxl,
    "TextToVideoSDPipeline": tiny_modelscope,
}
PROMPT = "two blue foxes"
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}


@pytest.fixture(scope="module", params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def family(name):
    return FAMILIES[name]


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory):
    return TINY_MODELS[name](tmp_path_factory.mktemp(name))


@pytest.fixture
def stock(name, folder):
    """Returns the stock pipeline as a user of diffusers loads it."""
    import diffusers

    pipeline = getattr(diffusers, name).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def make_family(open_family, folder):
    """Builds a policy of the family's tiny model."""
    return lambda **settings: open_family(folder, **settings)


@pytest.fixture
def open_family(make, family, tmp_path):
    """Builds a policy of a folder of the family."""
    if family.medium == "image":
        return make

    def build(path, **settings):
        values = {"adapter": AdapterConfig(rank=4), "clip": {"frames": FRAMES}, **settings}
        return load_policy(VideoModelConfig(path=str(path), cache=tmp_path / "cache", **values), "cpu")

    return build


@pytest.fixture(scope="module")
def pairs(family, pairs, tmp_path_factory):
    """Pairs of the family's medium."""
    return pairs if family.medium == "image" else tiny_clip_pairs(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def shape(family):
    """The shape of a latent."""
    return (4, 8, 8) if family.medium == "image" else (4, FRAMES, 8, 8)


def conditioning_of(policy, prompts):
    """Returns the conditioning of prompts, None for the unconditional branch, as training builds it."""
    encoder = policy._frozen.prompt_encoder()
    rows = [encoder.empty() if prompt is None else encoder.encode([prompt]) for prompt in prompts]
    size = torch.zeros(len(prompts), 4, dtype=torch.long)
    sizes = policy._frozen.family.size_conditioning(size, policy.resolution, True)
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]} | sizes


def network_calls(network):
    """Records the arguments and the output of every call of a network."""
    calls = []
    network.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((args, kwargs, output[0])), with_kwargs=True
    )
    return calls


def flattened(kwargs):
    """Returns keyword arguments with those of nested dictionaries, tensors only."""
    nested = [value for value in kwargs.values() if isinstance(value, dict)]
    items = {key: value for part in (kwargs, *nested) for key, value in part.items()}
    return {key: value for key, value in items.items() if isinstance(value, torch.Tensor)}


def draw_latents(pipeline, seed=5, **settings):
    length = {"num_frames": FRAMES} if "num_frames" in inspect.signature(pipeline.__call__).parameters else {}
    settings = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent", **length, **settings}
    output = pipeline(PROMPT, generator=torch.Generator().manual_seed(seed), **settings)
    return (output.frames if length else output.images)[0]


def test_every_family_has_a_tiny_model_and_its_own_pipeline():
    assert set(TINY_MODELS) == set(FAMILIES)
    row = next(iter(FAMILIES.values()))
    with pytest.raises(AssertionError, match="twice"):
        table(row, row)


def test_the_network_gets_the_stock_pipelines_inputs_and_gives_its_outputs(family, stock, make_family):
    policy = make_family(adapter=None)
    stock_calls, calls = (network_calls(network) for network in (getattr(stock, family.component), policy.module))
    draw_latents(stock)
    assert len(stock_calls) == 2
    conditioning = conditioning_of(policy, [None, PROMPT])  # the order of guidance
    for (x, time, *_), kwargs, output in stock_calls:
        with torch.no_grad():
            found = family.call(policy.module, x, time.expand(2), conditioning, torch.float32)
        (own_x, own_time, *_), own_kwargs, _ = calls.pop()
        assert torch.equal(own_x, x) and torch.equal(own_time, time.expand(2))
        own_inputs, stock_inputs = flattened(own_kwargs), flattened(kwargs)
        assert own_inputs.keys() == stock_inputs.keys()
        for key, value in own_inputs.items():
            assert torch.equal(value, stock_inputs[key]), key
        assert torch.equal(found, output)


def test_samples_and_decoded_latents_are_those_of_the_stock_pipeline(family, stock, make_family):
    policy = make_family()
    latents = draw_latents(stock)
    assert torch.equal(policy.sample([PROMPT], [5], steps=2, guidance=3.0, latents_only=True)[0], latents)
    image = draw_latents(stock, output_type="pt")
    decoded = policy._frozen.decode(latents[None])[0] / 2 + 0.5
    image = image if image.ndim == 3 else image.transpose(0, 1)  # a clip comes with its frames first
    torch.testing.assert_close(decoded.clamp(0, 1), image, rtol=1e-5, atol=1e-5)


def test_scaling_a_latent_there_and_back_changes_nothing(make_family, shape):
    scale, x = make_family()._denoiser.scale, torch.randn(2, *shape, dtype=torch.float64)
    torch.testing.assert_close(scale.normalise(scale.denormalise(x)), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reference", ["adapter_off", "copy", "stored"])
def test_the_margin_is_exactly_zero_before_the_first_step(make_family, pairs, reference):
    policy = make_family(reference=reference)
    policy.prepare(pairs)
    policy.prepare_reference(pairs, [(i, 0) for i in range(len(pairs))], seed=0)
    assert torch.equal(margin(policy, policy.encode(pairs), draw_for(pairs)), torch.zeros(len(pairs)))


def test_a_row_does_not_depend_on_the_other_rows(family, make_family, shape):
    policy = make_family()
    x, time = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 500, 990])
    conditioning = conditioning_of(policy, [PROMPT, None, "an owl"])

    def output(rows):
        rows = torch.tensor(rows)
        selected = {key: value[rows] for key, value in conditioning.items()}
        with torch.no_grad():
            return family.call(policy.module, x[rows], time[rows], selected, torch.float32)

    together = output([0, 1, 2])
    assert torch.equal(together[0], output([0, 2, 1])[0])
    torch.testing.assert_close(output([0])[0], together[0], rtol=1e-4, atol=1e-4)  # kernels differ by batch size
    assert not torch.allclose(together[0], together[1])


def test_presets_name_layers_of_the_network(family, make_family):
    network = make_family(adapter=None).module
    layers = {preset: set(find_targets(network, preset, family.adapter_layers)) for preset in family.adapter_layers}
    assert layers["attention"] and layers["attention"] < layers["attention+mlp"]
    for name in {name for parts in family.adapter_layers.values() for part in parts for name in part}:
        assert find_targets(network, (name,)), name


@pytest.mark.parametrize("targets", ["attention", "attention+mlp", "all-linear", "motion", "motion+mlp", "spatial"])
def test_the_stock_loader_reads_back_every_layer_of_an_adapter(family, stock, make_family, tmp_path, targets):
    if targets not in family.adapter_layers and targets != "all-linear":
        pytest.skip("the family has no such preset")
    if not family.reads_lora:  # the way round that its model card states
        network = getattr(stock, family.component)
        network.__class__ = type("Readable", (PeftAdapterMixin, type(network)), {})
    policy = shake(make_family(adapter=AdapterConfig(rank=4, alpha=6.0, targets=targets)), scale=0.05)
    base = draw_latents(stock)
    path = policy.save(tmp_path / "adapter", {})
    stock.load_lora_weights(path.parent, weight_name=path.name)
    loaded = {key for key in getattr(stock, family.component).state_dict() if ".lora_A." in key}
    assert len(loaded) == len({key for key in policy.trainable() if ".lora_A." in key})
    found, expected = draw_latents(stock), policy.sample([PROMPT], [5], steps=2, guidance=3.0, latents_only=True)[0]
    effect = (found - base).abs().max()
    assert effect > 1e-2
    # The scale is folded into B. Rounding differs by processor; a wrong scale would miss a third of the effect.
    assert (found - expected).abs().max() <= min(1e-3 * expected.abs().max(), 0.2 * effect)
    other = make_family(adapter=AdapterConfig(rank=4, alpha=6.0, targets=targets))
    other.load_adapter(path)
    for key, value in policy.trainable().items():
        torch.testing.assert_close(other.trainable()[key], value, rtol=1e-6, atol=1e-7)


def test_gradient_checkpointing_changes_no_bit(make_family, pairs):
    results = []
    for checkpointing in (False, True):
        policy = shake(make_family(gradient_checkpointing=checkpointing))
        u = margin(policy, policy.encode(pairs), draw_for(pairs))
        u.sum().backward()
        results.append([u.detach(), *(value.grad for value in policy.trainable().values())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.fixture
def flow_folder(folder, tmp_path):
    """Returns the tiny model with a flow-matching scheduler."""
    copy = shutil.copytree(folder, tmp_path / "flow")
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(FLOW))
    index = json.loads((copy / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", FLOW["_class_name"]]
    (copy / "model_index.json").write_text(json.dumps(index))
    return copy


def test_with_a_flow_schedule_the_network_gets_a_thousand_times_the_share_of_noise(open_family, flow_folder, pairs):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    policy = open_family(flow_folder)
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    with spied(policy.module) as calls:
        policy.logps(encoded, draw)
        policy.reference_logps(encoded, draw)
    times = scheduler.timesteps.flip(0)[inputs_of(policy, encoded, draw).t]
    assert len(calls) == 2 and (times - inputs_of(policy, encoded, draw).t).abs().max() > 50
    for x, time in calls:
        torch.testing.assert_close(torch.tensor(time), times, rtol=0, atol=1e-3)
        noise = draw.normal("noise", x.shape[1:]).repeat(2, *[1] * (x.ndim - 1))
        r = (times / 1000).view(-1, *[1] * (x.ndim - 1))
        torch.testing.assert_close(x, (1 - r) * policy._denoiser.clean(encoded, draw) + r * noise, rtol=1e-4, atol=1e-5)


def test_with_a_flow_schedule_an_inversion_starts_at_time_zero(open_family, flow_folder, pairs):
    policy = open_family(flow_folder, latents={"name": "ddim_inversion", "steps": 4}, timesteps=(499, 500))
    encoded, draw = policy.encode(pairs[:1]), draw_for(pairs[:1])
    with spied(policy.module) as calls:
        policy.logps(encoded, draw)
    expected = torch.tensor([0.0, 500.0, 750.0])  # levels -1, 249, 499
    torch.testing.assert_close(torch.tensor([time[0] for _, time in calls]), expected, rtol=0, atol=1e-3)
    assert torch.equal(calls[0][0], policy._denoiser.clean(encoded, draw))


def test_samples_are_of_the_familys_medium_and_size(family, make_family, shape):
    policy = make_family()
    assert policy.medium == family.medium and policy.latent_shape == shape
    assert policy.latent_elements == math.prod(shape)
    sample = policy.sample([PROMPT], [1], steps=1)[0]
    if family.medium == "image":
        assert sample.size == (RESOLUTION, RESOLUTION)
    else:
        assert sample.frames.shape == (FRAMES, RESOLUTION, RESOLUTION, 3) and sample.fps == 8.0
