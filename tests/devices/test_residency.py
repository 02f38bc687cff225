"""What lies on the device at each stage, with a fake device and with recorded moves."""

from pathlib import Path

import pytest
import torch
from torch import nn

from diffalign.devices import movable
from diffalign.devices.movable import Movable
from diffalign.devices.quantized_linear import QuantizedLinear
from diffalign.devices.residency import STAGES, Residency
from diffalign.policies.diffusion.load import ModelConfig
from diffalign.policies.diffusion.load import load_policy as load_denoiser
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_policy as load_language_model
from diffalign.randomness import Draw
from diffalign.scorers import load_scorer
from diffalign.scorers.resident_judges import judges_residency, networks_of
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm

CPU = torch.device("cpu")
ASSETS = Path(__file__).parents[2] / "assets" / "emoji"


class Recorded:
    """A part that notes its moves."""

    def __init__(self, name, moves, present=False):
        self.name, self.moves, self.present = name, moves, present

    def bring(self):
        self.moves.append(f"{self.name} comes")
        self.present = True

    def send_away(self):
        self.moves.append(f"{self.name} goes")
        self.present = False


def make_owner(**settings):
    moves = []
    encoders = Recorded("encoders", moves)
    parts = {"network": Recorded("network", moves), "text encoders": encoders, "autoencoder": encoders}
    return Residency(CPU, parts, **settings), moves


def test_at_a_border_what_the_stage_does_not_hold_goes_and_a_part_comes_when_it_is_used():
    owner, moves = make_owner()
    owner.enter("encode")
    owner.bring("autoencoder")
    owner.bring("text encoders")
    owner.enter("reference")
    owner.bring("network")
    owner.enter("update")
    owner.enter("sample")
    owner.bring("text encoders")
    owner.enter("judge")
    assert moves == [
        *("encoders comes", "encoders goes", "network comes"),
        *("encoders comes", "network goes", "encoders goes"),
    ]


def test_without_a_cache_everything_stays():
    owner, moves = make_owner(together=True)
    for name in owner.parts:
        owner.bring(name)
    for stage in STAGES:
        owner.enter(stage)
        assert set(owner.holds(stage)) == set(owner.parts)
    assert moves == ["network comes", "encoders comes"]


def test_in_shared_memory_a_network_has_nowhere_to_go():
    owner, _ = make_owner()
    assert owner.holds("encode") == ("text encoders", "autoencoder")
    assert owner.holds("encode", own_memory=False) == ("network", "text encoders", "autoencoder")
    assert owner.holds("update", own_memory=False) == ("network",)


OTHER = torch.device("xpu")
"""A device with memory of its own, which the fixture takes from the host's."""


@pytest.fixture
def copied(monkeypatch):
    """Bytes that were copied to a device and back; the addresses of what lies there now."""
    counts, there = {"there": 0, "back": 0}, {}

    def to_device(tensor, device):
        moved = tensor.clone()
        counts["there"] += moved.nbytes
        there[moved.data_ptr()] = moved  # kept, so that no address is used twice
        return moved

    def to_host(tensor, device):
        counts["back"] += tensor.nbytes
        return torch.empty_like(tensor)

    monkeypatch.setattr(movable, "to_device", to_device)
    monkeypatch.setattr(movable, "is_on_host", lambda tensor: tensor.data_ptr() not in there)
    monkeypatch.setattr(movable, "pinned_like", to_host)
    return counts, lambda tensor: tensor.data_ptr() in there


def test_parameters_stay_the_same_objects_tied_ones_move_once_and_packed_ones_packed(copied):
    counts, is_there = copied
    network = nn.Sequential(QuantizedLinear(nn.Linear(128, 64), "int8"), nn.Linear(64, 64), nn.BatchNorm1d(64))
    network.append(nn.Linear(64, 64))
    network[3].weight = network[1].weight
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = list(network.parameters())
    part = Movable(lambda: [network], OTHER, present=False)
    part.bring()
    size = sum(value.nbytes for value in before.values()) - network[1].weight.nbytes
    assert counts == {"there": size, "back": 0}
    assert all(map(is_there, network.state_dict().values())) and network[0].weight.dtype == torch.int8
    part.bring()
    part.send_away()
    assert counts == {"there": size, "back": size} and not any(map(is_there, network.state_dict().values()))
    assert all(one is other for one, other in zip(parameters, network.parameters(), strict=True))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_what_never_changes_goes_away_without_a_copy(copied):
    counts, is_there = copied
    network = nn.Linear(4, 4)
    values = network.weight.data_ptr()
    part = Movable(lambda: [network], OTHER, present=False, unchanging=True)
    part.bring()
    assert is_there(network.weight)
    part.send_away()
    assert counts["back"] == 0 and network.weight.data_ptr() == values


def make_denoiser(folder, **settings):
    return load_denoiser(ModelConfig(path=str(tiny_sd(folder / "sd")), cache=str(folder / "cache"), **settings), "cpu")


def test_while_pairs_are_encoded_the_network_is_away_and_afterwards_the_encoders_are(tmp_path, monkeypatch):
    policy, pairs = make_denoiser(tmp_path), tiny_pairs(tmp_path / "pairs", 2)
    network, encoders = policy.residency.parts["network"], policy.residency.parts["autoencoder"]
    seen, posterior = [], policy._frozen.posterior
    monkeypatch.setattr(policy._frozen, "posterior", lambda *args: seen.append(network.present) or posterior(*args))
    policy.prepare(pairs)
    assert seen and not any(seen) and not encoders.present
    policy.encode(pairs)
    assert network.present and not encoders.present


@pytest.mark.parametrize("reference", ["copy", "adapter_off"])
def test_a_network_and_its_reference_that_were_away_compute_the_same_numbers(tmp_path, copied, reference):
    from diffalign.policies.references import FrozenCopy

    settings = {"adapter": None} if reference == "copy" else {}
    policy, pairs = make_denoiser(tmp_path, reference=reference, **settings), tiny_pairs(tmp_path / "pairs", 2)
    policy.prepare(pairs)

    def numbers():
        encoded, draw = policy.encode(pairs), Draw(0, tuple(pair.id for pair in pairs), (0, 0))
        scored = (policy.reference_logps(encoded, draw), policy.logps(encoded, draw))
        return torch.stack([candidate.logps.detach() for one in scored for candidate in one.candidates])

    before = numbers()
    policy.residency.parts["network"]._device = OTHER
    kept = policy._policy_and_reference.reference
    if isinstance(kept, FrozenCopy):
        kept._device = OTHER
    policy.residency.enter("judge")
    assert not policy.residency.parts["network"].present
    assert torch.equal(numbers(), before) and policy.residency.parts["network"].present
    counts, is_there = copied
    assert counts["there"] and all(is_there(value) for value in policy.module.parameters())


def test_a_second_adapter_moves_with_its_network(tmp_path, copied):
    policy = load_language_model(LanguageConfig(path=str(tiny_llm(tmp_path)), adapter={"rank": 2}), "cpu")
    second = policy.add_second_adapter()
    network = policy.residency.parts["network"]
    network._device = OTHER
    network.send_away()
    policy.encode(text_pairs(2))
    _, is_there = copied
    assert all(map(is_there, second.parameters.values())) and all(map(is_there, policy.module.parameters()))


def test_judges_are_away_until_samples_are_judged():
    scorer = load_scorer(f"clip:{ASSETS / 'scorers' / 'judge'}", "cpu")
    owner = judges_residency([scorer], CPU)
    assert owner.parts["judges"].present and len(list(networks_of([scorer]))) == 1
    owner.enter("update")
    assert not owner.parts["judges"].present
    owner.bring("judges")
    owner.enter("judge")
    assert owner.parts["judges"].present


def test_a_run_enters_its_stages_in_order_and_previews_go_back_to_the_update(tmp_path, monkeypatch):
    from diffalign.training.loop import train
    from diffalign.training.recipe.load import make_recipe

    entered, enter = [], Residency.enter
    monkeypatch.setattr(Residency, "enter", lambda self, stage: entered.append(stage) or enter(self, stage))
    values = {"model": {"path": str(tiny_sd(tmp_path / "sd")), "cache": str(tmp_path / "cache")}}
    values |= {"data": {"train": "memory"}, "loss": {"name": "logistic", "beta": 1.0}, "output": str(tmp_path / "run")}
    values |= {"train": {"steps": 1, "batch_size": 2, "learning_rate": 1e-4, "mixed_precision": "no"}}
    values |= {"previews": {"prompts": ["a fox"], "steps": 1}}
    train(make_recipe(values), pairs=tiny_pairs(tmp_path / "pairs", 2))
    assert entered[:3] == ["encode", "reference", "update"]
    assert entered[3:] == ["sample", "update"] * (len(entered[3:]) // 2)
