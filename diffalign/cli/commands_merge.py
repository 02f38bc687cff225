"""`diffalign merge`: several adapters of one base as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError


@app.command()
def merge(
    adapter: Annotated[list[Path], typer.Argument(help="Adapters of one base: files of diffusers, folders of peft.")],
    output: Annotated[Path, typer.Option(help="Folder for the merged adapter.")],
    weight: Annotated[list[float], typer.Option(help="Of each adapter, in their order. Without: equal ones.")] = [],  # noqa: B006
    memory: Annotated[str, typer.Option(help="Pairs of all domains: weights are chosen that fit them best.")] = "",
    model: Annotated[str, typer.Option(help="With --memory: the adapters' base, a folder or a Hub id.")] = "",
    kind: Annotated[str, typer.Option(help="With --memory: image or text.")] = "",
    beta: Annotated[float | None, typer.Option(help="With --memory: of the loss; 2000 for images, 0.1 else.")] = None,
    step: Annotated[float, typer.Option(help="With --memory: of the grid of weights.")] = 0.1,
    limit: Annotated[int, typer.Option(help="With --memory: so many pairs at most.")] = 64,
) -> None:
    """Merge adapters: the weighted sum of what they do, exactly, as one adapter whose rank is the sum of theirs."""
    from diffalign.sharing.merge import read_delta, write_merged

    if len(adapter) < 2:
        raise UserError("merge takes two adapters or more. Type: diffalign merge ONE ANOTHER --output FOLDER")
    deltas = [read_delta(path.expanduser()) for path in adapter]
    if memory:
        if weight or not model:
            raise UserError("--memory chooses the weights and needs the base: give --model, and no --weight.")
        if not 0.0 < step <= 0.5:
            raise UserError(f"--step is the distance of two weights on the grid, in (0, 0.5]; got {step:g}. Type: 0.1")
        weight = _chosen(deltas, memory, model, kind, beta, step, limit)
    weights = weight or [1.0 / len(deltas)] * len(deltas)
    written = write_merged(deltas, weights, output.expanduser())
    shown = ", ".join(f"{w:g} {path.name}" for w, path in zip(weights, adapter, strict=True))
    typer.echo(f"merged {shown}: {written}")


def _chosen(
    deltas: list, memory: str, model: str, kind: str, beta: float | None, step: float, limit: int
) -> list[float]:
    """The weights that fit the memory best; the whole grid's best and worst are told."""
    import tempfile

    from diffalign.cli.key_value_settings import Model
    from diffalign.evaluation.merge_weights import choose_weights, weight_setter
    from diffalign.pairs.dataset import read_dataset
    from diffalign.sharing.adapter_tensors import shape_of
    from diffalign.sharing.merge import write_merged
    from diffalign.training.report.progress import ProgressReport

    pairs = [pair for pair in read_dataset(memory, limit=limit).pairs if pair.rejected is not None]
    if not pairs:
        raise UserError(f"--memory {memory} holds no pairs. Give preference pairs of each adapter's domain.")
    with tempfile.TemporaryDirectory(prefix="diffalign-merge-") as folder:
        even = write_merged(deltas, [1.0] * len(deltas), Path(folder) / "even")
        policy = Model.named(model, kind, [], str(even)).open()
        policy.prepare(pairs, lambda what, done, total: None)
        use = weight_setter(policy, [shape_of(delta.tensors, delta.path).rank for delta in deltas])
        beta = beta or (0.1 if policy.medium == "text" else 2000.0)
        with ProgressReport(0) as report:
            tried = choose_weights(policy, use, len(deltas), pairs, beta=beta, step=step, progress=report.preparing)
    best, worst = tried[0], tried[-1]
    typer.echo(f"{len(pairs)} pairs, {len(tried)} weightings: loss {best.loss:.4f} to {worst.loss:.4f}")
    return list(best.weights)
