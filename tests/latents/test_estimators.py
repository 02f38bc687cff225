"""The battery: every row of the table fulfils its claims, and refuses settings with advice."""

import pytest
import torch

from diffalign.latents import LATENTS, Estimator
from diffalign.latents.estimator import table
from tests.latents.plain import F64, Toy, latents, schedule_of

ROWS = list(LATENTS)
WITH_NETWORK = [name for name in ROWS if LATENTS[name].needs_network]
EVERY = torch.arange(1000)
SETTINGS = [
    ("forward", {}),
    ("ddim_inversion", {}),
    ("ddim_inversion", {"steps": 1}),
    ("ddim_inversion", {"steps": 37, "clean": "alpha0", "eta": 0.1}),
    ("ddim_inversion", {"mode": "released"}),
    ("ddim_inversion", {"mode": "released", "steps": 5}),
    ("renoise", {}),
    ("renoise", {"corrections": 0}),
    ("renoise", {"corrections": 3, "average": True, "steps": 4}),
    ("renoise", {"mode": "released"}),
    ("renoise", {"mode": "released", "steps": 5, "corrections": 2}),
    ("heun", {}),
    ("heun", {"steps": 3, "clean": "alpha0"}),
]
MEANS = [
    ("forward", {}, "0.000"),
    ("ddim_inversion", {}, "5.500"),
    ("ddim_inversion", {"mode": "released"}, "6.382"),
    ("ddim_inversion", {"mode": "released", "steps": 5}, "3.792"),
    ("renoise", {}, "11.000"),
    ("renoise", {"mode": "released"}, "12.764"),
    ("renoise", {"mode": "released", "steps": 5}, "7.584"),
    ("heun", {}, "11.000"),
]


def _noise(x0):
    return lambda purpose, shared: latents(*x0.shape, dtype=torch.float32, seed=len(purpose))


def _network(schedule):
    toy = Toy(schedule, 0.6, 0.8)
    return lambda x, t, rows: toy.output(x, t.clamp(min=0), toy.mean)


@pytest.mark.parametrize("name, settings", SETTINGS)
def test_the_network_is_evaluated_as_often_as_claimed(name, settings):
    schedule, x0 = schedule_of(), torch.ones(1000, 1)
    evaluations, network = torch.zeros(1000, dtype=torch.long), _network(schedule)

    def predict(x, t, rows):
        assert len(x) == len(t) == len(rows) and len(rows.unique()) == len(rows)
        evaluations[rows] += 1
        return network(x, t, rows)

    bound = LATENTS[name].bind(**settings)
    bound(x0, EVERY, schedule, noise=_noise(x0), predict=predict)
    assert torch.equal(evaluations, bound.forward_counts(EVERY, schedule))
    assert bound.needs_network is LATENTS[name].needs_network is bool(evaluations.any())


@pytest.mark.parametrize("name, settings, mean", MEANS)
def test_the_mean_cost_is_the_published_one(name, settings, mean):
    assert f"{LATENTS[name].bind(**settings).forward_counts(EVERY, schedule_of()).double().mean():.3f}" == mean


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, F64])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
def test_latent_and_target_belong_to_one_noise(name, dtype, prediction):
    schedule, x0 = schedule_of(prediction), latents(5, 2, 3, 3, dtype=dtype)
    t = torch.tensor([0, 20, 150, 500, 990])
    found = LATENTS[name].bind()(x0, t, schedule, noise=_noise(x0), predict=_network(schedule))
    assert found.x_t.dtype == found.target.dtype == dtype
    assert found.x_t.shape == found.target.shape == x0.shape and torch.equal(found.t, t)
    tau = schedule.to_epsilon(found.target.double(), found.x_t.double(), t)
    remixed = schedule.add_noise(x0.double(), tau, t)
    tolerance = {torch.float16: 5e-3, torch.float32: 1e-5, F64: 1e-11}[dtype]
    torch.testing.assert_close(remixed, found.x_t.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ROWS)
def test_an_image_equals_a_video_of_one_frame(name):
    schedule, x0, t = schedule_of(), latents(3, 2, 4, 4), torch.tensor([5, 300, 900])
    bound = LATENTS[name].bind()
    image = bound(x0, t, schedule, noise=_noise(x0), predict=_network(schedule))
    video = bound(x0[:, :, None], t, schedule, noise=_noise(x0[:, :, None]), predict=_network(schedule))
    assert torch.equal(video.x_t[:, :, 0], image.x_t) and torch.equal(video.target[:, :, 0], image.target)


@pytest.mark.parametrize("name", ROWS)
def test_equal_inputs_give_equal_latents_in_any_batch(name):
    schedule, x0, t = schedule_of(), latents(3, 2, 4, 4), torch.tensor([5, 300, 900])
    bound = LATENTS[name].bind()
    one, other = (bound(x0, t, schedule, noise=_noise(x0), predict=_network(schedule)) for _ in range(2))
    assert torch.equal(one.x_t, other.x_t) and torch.equal(one.target, other.target)
    single = bound(
        x0[1:2], t[1:2], schedule, noise=lambda *purpose: _noise(x0)(*purpose)[1:2], predict=_network(schedule)
    )
    torch.testing.assert_close(single.x_t, one.x_t[1:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", WITH_NETWORK)
def test_candidates_are_independent_of_each_other(name):
    schedule, x0, t = schedule_of(), latents(2, 2, 4, 4), torch.tensor([700, 700])
    bound = LATENTS[name].bind()
    straight = bound(x0, t, schedule, noise=_noise(x0), predict=_network(schedule))
    swapped = bound(x0.flip(0), t, schedule, noise=_noise(x0), predict=_network(schedule))
    assert torch.equal(swapped.x_t.flip(0), straight.x_t) and torch.equal(swapped.target.flip(0), straight.target)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_explains_itself_and_each_of_its_settings(name):
    row = LATENTS[name]
    explanation = row.explain()
    assert name in explanation and row.source in explanation and "arXiv" in explanation
    assert set(row.limits) == set(row.bind().settings)
    assert all(
        f"{setting} is {row.limits[setting].meaning}, {row.limits[setting].values}" in explanation
        for setting in row.limits
    )


def test_an_explanation_writes_defaults_as_a_recipe_does():
    assert "steps = 10, corrections = 1, average = null, clean = null, mode = exact" in LATENTS["renoise"].explain()


@pytest.mark.parametrize(
    "name, setting, value, message",
    [
        ("ddim_inversion", "steps", 0, "a whole number from 1 on; got 0. The papers take 10"),
        ("heun", "steps", 2.5, "a whole number from 1 on; got 2.5"),
        ("renoise", "steps", True, "a whole number from 1 on; got True"),
        ("renoise", "corrections", -1, "a whole number from 0 on; got -1. SmPO takes 1"),
        ("renoise", "average", "yes", "true or false, or null for the mode's own value; got 'yes'"),
        ("ddim_inversion", "eta", -0.1, "a number from 0 on, or null for the mode's own value; got -0.1"),
        ("ddim_inversion", "eta", float("nan"), "a number from 0 on, or null for the mode's own value; got nan"),
        ("ddim_inversion", "eta", "some", "a number from 0 on, or null for the mode's own value; got 'some'"),
        ("ddim_inversion", "shared_noise", None, "true or false; got None"),
        ("heun", "clean", "zero", "one of one, alpha0, or null for the mode's own value; got 'zero'"),
        ("renoise", "mode", None, "one of exact, released; got None. Leave it at exact"),
        ("ddim_inversion", "mode", ["exact"], "one of exact, released"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_advice(name, setting, value, message):
    with pytest.raises(ValueError, match=f"{setting} is .*{message.replace('[', '.')}"):
        LATENTS[name].bind(**{setting: value})


def test_an_unknown_setting_names_its_near_miss():
    with pytest.raises(ValueError, match="latents 'renoise' takes .*it has no 'step'. Did you mean 'steps'"):
        LATENTS["renoise"].bind(step=3)
    with pytest.raises(ValueError, match="latents 'forward' takes no settings; it has no 'predict'"):
        LATENTS["forward"].bind(predict=3)


@pytest.mark.parametrize("mode", ["exact", "released"])
def test_steps_and_levels_outside_the_schedule_are_refused(mode):
    schedule, x0 = schedule_of(), torch.ones(1, 1)
    callables = {"noise": _noise(x0), "predict": _network(schedule)}
    with pytest.raises(ValueError, match="steps is between 1 and the number of noise levels, here 1000; got 1001"):
        LATENTS["renoise"].bind(steps=1001, mode=mode)(x0, torch.tensor([5]), schedule, **callables)
    for t in (-1, 1000):
        with pytest.raises(ValueError, match="levels run from 0 to 999"):
            LATENTS["renoise"].bind(mode=mode)(x0, torch.tensor([t]), schedule, **callables)


def test_the_default_is_forward_and_names_are_unique():
    assert ROWS[0] == "forward" and all(
        isinstance(row, Estimator) and row.name == name for name, row in LATENTS.items()
    )
    with pytest.raises(AssertionError, match="twice"):
        table(LATENTS["heun"], LATENTS["heun"])
