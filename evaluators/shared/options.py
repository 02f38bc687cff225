"""The options that the programs share, and how a program is run: errors become one line, as in the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.devices.device_memory import best_device
from diffalign.errors import UserError

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets" / "emoji"
FACTS = ASSETS / "prompts" / "facts.jsonl"

IMAGES = {
    "model": str(ASSETS / "model"),
    "prompts": f"@suite:emoji:{FACTS}",
    "scorer": [f"clip:{ASSETS / 'scorers' / 'heldout'}"],
    "setting": ["steps=15", "guidance=2.0"],
    "limit": 12,
}
"""What ``--embedded`` fills in for images."""
CLIPS = {
    "model": str(ASSETS / "model"),
    "model_setting": [f"motion={ASSETS / 'motion'}", "clip.frames=8", "clip.fps=8", "resolution=64"],
    "setting": ["steps=15", "guidance=1.0"],
    "limit": 4,
}
"""What it fills in for clips."""


class Parser(argparse.ArgumentParser):
    """A parser with the options of every program.

    Args:
        name: The program's name: its folder of results.
        text: The program's opening paragraphs, for ``--help``.
        needs: What the published numbers need: files and weights, one line each. Printed before the run.
    """

    def __init__(self, name: str, text: str | None, needs: Sequence[str]) -> None:
        epilog = "\n".join(["needed for the published numbers:", *(f"  {line}" for line in needs)])
        super().__init__(
            f"diffalign evaluate {name}",
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.needs = tuple(needs)
        self.add_argument("--output", type=Path, default=Path("runs") / "evaluate" / name, help="folder; it is resumed")
        self.add_argument("--limit", type=int, default=0, help="use this many, evenly spaced over the list; 0: all")
        self.add_argument("--batch", type=int, default=8, help="samples or pairs at a time; it changes no number")
        self.add_argument("--device", default="", help="cpu, cuda, ...; by default the GPU if there is one")
        self.add_argument("--embedded", action="store_true", help="try it on files of this repository")

    def add_scorers(self, *default: str, text: str = "a judge, NAME or NAME:ARGUMENT; repeatable") -> None:
        """Adds ``--scorer``; the default is the published one."""
        shown = f" (default: {', '.join(default)})" if default else ""
        self.add_argument("--scorer", action="append", help=text + shown)
        self.set_defaults(default_scorer=default)

    def add_model(self, required: str) -> None:
        """Adds the options of a model and its adapter; ``required`` says what the model does here."""
        self.add_argument("--model", default="", help=f"a folder or Hub id: {required}")
        self.add_argument("--adapter", default="", help="an adapter of that model; base and aligned are compared")
        self.add_argument("--kind", default="", help="kind of the model, by default that of its folder")
        self.add_argument("--model-setting", action="append", metavar="KEY=VALUE", help="as in a recipe's model")

    def add_samples(self, seeds: int = 1) -> None:
        """Adds the options of samples that a model makes, or that a folder has."""
        self.add_model("it makes the samples")
        self.add_argument("--samples", type=Path, help="a folder with samples and metadata.jsonl, instead of a model")
        self.add_argument("--setting", action="append", metavar="KEY=VALUE", help="a sampling setting; repeatable")
        self.add_argument(
            "--seeds", type=int, default=seeds, help=f"samples per prompt (default, as published: {seeds})"
        )

    def read(self, arguments: Sequence[str] | None, embedded: Mapping[str, Any]) -> argparse.Namespace:
        """Parses the options, prints what the published numbers need, and returns the options.

        Args:
            arguments: The command line; None for that of the process.
            embedded: Values that ``--embedded`` gives to options that are left out.

        Raises:
            UserError: A number is too small.
        """
        args = self.parse_args(arguments)
        args.needs = self.needs
        if args.embedded:
            for name, value in embedded.items():
                if getattr(args, name, None) in (None, "", 0, self.get_default(name)):
                    setattr(args, name, value)
        if getattr(args, "judges_pairs", False) and args.model and not args.scorer:
            args.default_scorer = ()  # a policy judges by itself, unless scorers are named beside it
        for name in ("scorer", "model_setting", "setting"):
            if hasattr(args, name):
                setattr(args, name, getattr(args, name) or list(getattr(args, f"default_{name}", ())))
        if args.limit < 0 or args.batch < 1 or getattr(args, "seeds", 1) < 1:
            raise UserError("--limit is 0 or more, and --batch and --seeds are at least 1.")
        args.device = args.device or str(best_device())
        if not args.embedded:
            print("\n".join(["the published numbers need:", *(f"  {line}" for line in self.needs)]), flush=True)
        else:
            print("on files of this repository: a trial of the program, not the published numbers", flush=True)
        return args


def evenly_spaced(rows: Sequence[Any], limit: int) -> list[Any]:
    """Returns ``limit`` rows evenly spaced over the list, so that every part of it is there; all rows for 0."""
    if not limit or limit >= len(rows):
        return list(rows)
    return [rows[number * len(rows) // limit] for number in range(limit)]


def need_file(path: Any, option: str, what: str) -> Path:
    """Returns the path of a file or folder. Raises UserError without one."""
    if not path:
        raise UserError(f"{option} names {what}. Type {option} PATH, or try the program with --embedded.")
    if not Path(path).expanduser().exists():
        raise UserError(f"{option}: there is no '{path}'. It names {what}.")
    return Path(path).expanduser()


def run_as_program(main: Callable[[Sequence[str] | None], Any]) -> None:
    """Runs a program; an error of the user's becomes one line and exit status 2."""
    try:
        main(None)
    except UserError as error:
        import sys

        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
