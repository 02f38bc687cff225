"""What a run was trained on: its checkpoints know the data by content; a resume on other data is refused, or said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffalign.data.media.fingerprint import DataFingerprint, Progress, describe_change
from diffalign.data.records.pair import Pair
from diffalign.errors import RunError
from diffalign.training.storage.checkpoint_folder import read_state
from diffalign.training.storage.run_folder import RunFolder

UNKNOWN = (
    "the checkpoint does not say what it was trained on (an earlier version wrote it), so the run goes on as if the "
    "data were the same"
)


@dataclass(frozen=True)
class TrainedOn:
    """The data of a run.

    Args:
        fingerprint: Of the rows that it trains on now.
        changes: How they changed before, each a sentence.
        notice: Something to say once, at a resume; may be empty.
    """

    fingerprint: DataFingerprint
    changes: tuple[str, ...] = ()
    notice: str = ""

    def facts(self) -> dict[str, Any]:
        """Returns what a checkpoint stores."""
        return {"data": self.fingerprint.as_dict(), "data_changes": list(self.changes)}


def trained_on(
    output: RunFolder,
    pairs: Sequence[Pair],
    ranges: Mapping[str, tuple[float, float]],
    *,
    resume: bool,
    changed: bool,
    progress: Progress,
) -> TrainedOn:
    """Returns the data of a run; of a resumed one, after a comparison with what its last checkpoint was trained on.

    Args:
        output: The run's folder.
        pairs: The rows to train on.
        ranges: Smallest and largest scores of the data.
        resume: Whether the run in the folder continues.
        changed: Whether it may continue on other data.
        progress: Called while candidates are read.

    Raises:
        RunError: The data is other than before, and ``changed`` is False.
        DataError: A candidate cannot be read.
    """
    now = DataFingerprint.of(pairs, ranges, progress)
    done = output.own_checkpoints()[-1:] if resume else []
    state = read_state(done[0]) if done else None
    if state is None:
        return TrainedOn(now)
    earlier = state["facts"].get("data_changes")
    changes = tuple(map(str, earlier)) if isinstance(earlier, list) else ()
    if "data" not in state["facts"]:
        return TrainedOn(now, changes, UNKNOWN)
    try:
        before = DataFingerprint.from_dict(state["facts"]["data"])
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{done[0]} does not say what it was trained on: {error}. Move the folder away and resume."
        ) from None
    what = describe_change(before, now, lambda count: DataFingerprint.of(pairs[:count]))
    if what and not changed:
        raise RunError(
            f"the data is not what the run in '{output.folder}' was trained on up to step {state['step']}: {what}. Put "
            "the data back as it was, start a new run in another folder (--set output=FOLDER), or go on with the data "
            "as it is now: --resume-on-changed-data"
        )
    if not what:
        return TrainedOn(now, changes)
    sentence = f"after step {state['step']} the data changed: {what}"
    return TrainedOn(now, (*changes, sentence))
