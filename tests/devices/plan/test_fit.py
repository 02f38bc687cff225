"""Changes are tried one after the other, and only while the plan does not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.devices.plan.fit import fit
from diffalign.devices.plan.memory_size import parse_size
from diffalign.devices.plan.plan import Change, MemoryPlan
from diffalign.devices.plan.stage import MemoryLine, Stage
from diffalign.errors import UserError

STEPS = (("a", 10), ("b", 40), ("c", 5))
"""Changes in their order, and the bytes that each saves of 100."""


def plan_of(limit):
    def measure(done):
        saved = sum(saving for name, saving in STEPS if name in done)
        return done, [], MemoryPlan([Stage("update", {"network": 100 - saved})], limit)

    def further(done, plan):
        assert not plan.fits
        return [(Change({name: True}, "slower"), (*done, name)) for name, _ in STEPS if name not in done]

    return fit((), measure, further)


CASES = [(100, ""), (99, "a"), (90, "a"), (89, "ab"), (50, "ab"), (49, "abc"), (1, "abc")]


@pytest.mark.parametrize(("limit", "changed"), CASES)
def test_the_first_changes_that_suffice_are_taken(limit, changed):
    settings, plan = plan_of(limit)
    assert "".join(settings) == changed == "".join(name for change in plan.changes for name in change.settings)
    assert plan.fits == (limit >= 45)


@given(st.integers(1, 120), st.integers(0, 60))
def test_more_memory_never_needs_more_changes(limit, more):
    assert len(plan_of(limit + more)[1].changes) <= len(plan_of(limit)[1].changes)


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(0, 100_000), st.integers(1, 64))
def test_the_most_examples_that_fit_are_found(fixed, each, limit, at_most):
    line = MemoryLine.through((1, fixed + each), (4, fixed + 4 * each))
    count = line.most(limit, at_most)
    assert count == at_most or line.at(count + 1) > limit
    assert count == 0 or line.at(count) <= limit


@pytest.mark.parametrize(("text", "size"), [("24GB", 24 * 10**9), ("11.5 GiB", 12348030976), ("800mb", 8 * 10**8)])
def test_sizes_of_memory_are_read_with_their_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "24", "GB", "-1GB", "1e3GB", "nan GB", "24 XB", "0GB", "9" * 400 + "GB", "24GB\x1b[31m"]
)
def test_what_is_no_size_is_refused_in_a_sentence(text):
    with pytest.raises(UserError, match="takes a size such as 24GB") as error:
        parse_size(text + "\x1b[31m" * (text == ""))
    assert str(error.value).isprintable()


def test_a_plan_is_shown_with_its_changes_disk_and_time():
    update = Stage("update", {"network": 10**9}, 10**6, 2 * 10**6, None, "4 pairs")
    changes = [Change({"train.gradient_checkpointing": True}, "slower")]
    encode = Stage("encode", {"autoencoder": 10**8}, activations=10**8)
    plan = MemoryPlan([encode, update], 10**9, changes, (("cache", 5000),), 1.5)
    shown = "\n".join(plan.lines())
    assert "unknown (4 pairs)" in shown and "does not fit" in shown and plan.peak == 1_003_000_000 and not plan.fits
    assert (
        "--set train.gradient_checkpointing=true   (slower)" in shown and "cache 5.0 kB" in shown and "1.5 s" in shown
    )
    assert plan.summary() == "encode 200 MB, update 1.0 GB; 1.0 GB free"
