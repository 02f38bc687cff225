"""`diffalign info`, `merge` and `export`: what an adapter contains, several as one, and files for other programs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffalign.cli.app import app
from diffalign.cli.options import ModelSettings
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.sharing.shared_adapter import SharedAdapter


@app.command()
def info(path: Annotated[Path, typer.Argument(help="An adapter, diffusers' file or peft's folder.")]) -> None:
    """Show the format of an adapter, how it was aligned, and its base model."""
    from diffalign.sharing.read_adapter import read_info

    for key, value in read_info(path.expanduser()).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        typer.echo(f"{key:<18}{text}")


@app.command()
def export(
    adapter: Annotated[Path, typer.Argument(help="An adapter, diffusers' file or peft's folder.")],
    to: Annotated[str, typer.Option(help="Format: animatediff-evolved, motion LoRA for ComfyUI's AnimateDiff.")],
    output: Annotated[Path, typer.Option(help="The file to write, .safetensors.")],
) -> None:
    """Write an adapter by the names that another program reads.

    The result of a run is already what diffusers reads. A format that cannot hold a part of the adapter refuses it.
    """
    from diffalign.sharing.export_formats import write_export

    written = write_export(adapter.expanduser(), to, output.expanduser())
    typer.echo(f"exported {adapter.name} for {to}: {written}")


@app.command()
def merge(
    adapter: Annotated[list[Path], typer.Argument(help="Adapters of one base, files of diffusers or folders of peft.")],
    output: Annotated[Path, typer.Option(help="Folder for the merged adapter, or with --into for the whole model.")],
    into: Annotated[
        str, typer.Option(help="Base of one adapter, a folder or a Hub id: merge it into the base's weights.")
    ] = "",
    weight: Annotated[
        list[float], typer.Option(help="Weight of each adapter, in order; by default equal weights. Repeatable.")
    ] = [],  # noqa: B006  (typer reads the default and nothing changes it)
    memory: Annotated[str, typer.Option(help="Pairs of all domains; the weights are chosen to fit them best.")] = "",
    model: Annotated[str, typer.Option(help="Base of the adapters, a folder or a Hub id; needed by --memory.")] = "",
    kind: Annotated[str, typer.Option(help="Kind of the base: image, video or text; for --memory, --into.")] = "",
    model_setting: ModelSettings = [],  # noqa: B006  (typer reads the default and nothing changes it)
    beta: Annotated[
        float | None, typer.Option(help="Beta of the loss for --memory; by default 2000 for images, 0.1 for texts.")
    ] = None,
    step: Annotated[float, typer.Option(help="Distance of neighbouring weights on the grid for --memory.")] = 0.1,
    limit: Annotated[int, typer.Option(help="Largest number of pairs to read for --memory.")] = 64,
) -> None:
    """Merge adapters exactly: write the weighted sum of their updates as one adapter, or one into its base.

    The rank of a sum is the sum of the ranks. The weights are given, equal, or chosen on a few pairs with --memory.
    With --into, the result is a whole model, on which the next training can start.
    """
    if into:
        if len(adapter) != 1 or weight or memory:
            raise UserError(
                "--into merges one adapter into its base, without weights. Merge several with --output first."
            )
        _merge_into(into, kind, model_setting, adapter[0].expanduser(), output.expanduser())
        return
    from diffalign.sharing.merge import read_delta, write_merged

    if len(adapter) < 2:
        raise UserError(
            "merge takes two adapters or more, or one and its base. Type: diffalign merge ONE ANOTHER --output FOLDER,"
            " or diffalign merge ONE --into BASE --output FOLDER"
        )
    deltas = [read_delta(path.expanduser()) for path in adapter]
    if memory:
        if weight or not model:
            raise UserError("--memory chooses the weights and needs the base: give --model, and no --weight.")
        if not 0.0 < step <= 0.5:
            raise UserError(f"--step is the distance of two weights on the grid, in (0, 0.5]; got {step:g}. Type: 0.1")
        weight = _choose_weights(deltas, memory, model, kind, beta, step, limit)
    weights = weight or [1.0 / len(deltas)] * len(deltas)
    written = write_merged(deltas, weights, output.expanduser())
    summary = ", ".join(f"{w:g} {path.name}" for w, path in zip(weights, adapter, strict=True))
    typer.echo(f"merged {summary}: {written}")


def _merge_into(base: str, kind: str, settings: list[str], adapter: Path, output: Path) -> None:
    """Writes a whole model: the base with the adapter in its weights."""
    from diffalign.cli.key_value_settings import Model

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} exists and is not an empty folder. Give another: --output FOLDER")
    model = Model.from_options(base, kind, settings)
    written = model.kind.merged(model.config, adapter, output)
    typer.echo(f"merged {adapter.name} into {base}: {written}. Train or generate with it as a model of its own.")


def _choose_weights(
    deltas: list[SharedAdapter], memory: str, model: str, kind: str, beta: float | None, step: float, limit: int
) -> list[float]:
    """Returns the weights with the lowest loss on the memory, and prints the range of losses on the grid."""
    from diffalign.cli.key_value_settings import Model
    from diffalign.evaluation.choose_merge_weights import choose_weights, weight_setter
    from diffalign.pairs.dataset import read_dataset
    from diffalign.policies.policy import no_progress
    from diffalign.sharing.merge import write_merged
    from diffalign.training.report.progress import ProgressReport

    pairs = [pair for pair in read_dataset(memory, limit=limit).pairs if pair.rejected is not None]
    if not pairs:
        raise UserError(f"--memory {memory} holds no pairs. Give preference pairs of each adapter's domain.")
    with tempfile.TemporaryDirectory(prefix="diffalign-merge-") as folder:
        unweighted = write_merged(deltas, [1.0] * len(deltas), Path(folder) / "unweighted")
        policy = Model.from_options(model, kind, [], str(unweighted)).open()
        policy.prepare(pairs, no_progress)
        set_weights = weight_setter(policy, [delta.shape.rank for delta in deltas])
        beta = beta or (0.1 if policy.medium == "text" else 2000.0)
        with ProgressReport(0) as report:
            points = choose_weights(
                policy, set_weights, len(deltas), pairs, beta=beta, step=step, progress=report.preparing
            )
    best, worst = points[0], points[-1]
    typer.echo(f"{len(pairs)} pairs, {len(points)} weightings: loss {best.loss:.4f} to {worst.loss:.4f}")
    return list(best.weights)
