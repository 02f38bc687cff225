"""The report of a data check: findings, each with a severity, examples and a fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from diffalign.printable import printable

Severity = Literal["error", "warning", "note"]
ORDER: tuple[Severity, ...] = ("error", "warning", "note")
EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class CheckFinding:
    """One finding of a check.

    Args:
        severity: ``"error"``: training would fail or learn the wrong thing; ``"warning"``: worth checking; ``"note"``:
            for information.
        what: The finding, as a noun phrase.
        count: Number of rows, pairs or files concerned.
        examples: A few of them, by source.
        fix: What to do about it.
    """

    severity: Severity
    what: str
    count: int = 0
    examples: tuple[str, ...] = ()
    fix: str = ""


@dataclass(frozen=True)
class CheckReport:
    """The result of a data check.

    Args:
        facts: Counts and measurements, in the order to be shown.
        findings: Problems and notes.
    """

    facts: Mapping[str, str]
    findings: Sequence[CheckFinding] = field(default_factory=list)

    @property
    def severity(self) -> Severity:
        """The worst severity of the findings; ``"note"`` where there are none."""
        return min((finding.severity for finding in self.findings), key=ORDER.index, default="note")

    def exit_code(self, *, strict: bool = False) -> int:
        """Returns 1 when there are errors, or with ``strict`` also warnings; otherwise 0."""
        return int(self.severity == "error" or strict and self.severity == "warning")

    def sorted(self) -> list[CheckFinding]:
        """Returns the findings, the most severe first."""
        return sorted(self.findings, key=lambda finding: ORDER.index(finding.severity))

    def verdict(self) -> str:
        """Returns the conclusion in one line."""
        counts = {severity: sum(f.severity == severity for f in self.findings) for severity in ORDER}
        if not counts["error"] and not counts["warning"]:
            return "The data set is ready for training."
        parts = [f"{n} {severity}{'s' * (n > 1)}" for severity, n in counts.items() if n and severity != "note"]
        return " and ".join(parts) + (": fix the errors before training." if counts["error"] else ": worth checking.")

    def render(self) -> str:
        """Returns the report as plain text."""
        width = max(map(len, self.facts), default=0)
        lines = [
            f"{name:<{width}}  {value}".replace("\n", "\n" + " " * (width + 2)) for name, value in self.facts.items()
        ]
        for finding in self.sorted():
            count = f" ({finding.count:,})" if finding.count else ""
            lines += ["", f"{finding.severity.upper()}: {finding.what}{count}"]
            lines += [f"    {example}" for example in finding.examples[:EXAMPLES_SHOWN]]
            lines += [f"  -> {finding.fix}"] if finding.fix else []
        return printable("\n".join([*lines, "", self.verdict()]))

    def __rich__(self) -> Any:
        """Returns the report as rich renderables, for a terminal."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        def clean(text: str, style: str = "") -> Text:
            return Text(printable(text), style=style)

        facts = Table(show_header=False, box=None, pad_edge=False)
        facts.add_column(style="dim")
        facts.add_column(overflow="fold")
        for name, value in self.facts.items():
            facts.add_row(clean(name), clean(value))
        colours = {"error": "bold red", "warning": "yellow", "note": "cyan"}
        table = Table(box=None, pad_edge=False)
        for heading, options in (
            ("", {}),
            ("found", {"ratio": 3}),
            ("count", {"justify": "right"}),
            ("fix", {"ratio": 3}),
        ):
            table.add_column(heading, overflow="fold", **options)  # type: ignore[arg-type]
        for finding in self.sorted():
            what = clean("\n".join([finding.what, *(f"  {example}" for example in finding.examples[:EXAMPLES_SHOWN])]))
            count = f"{finding.count:,}" if finding.count else ""
            table.add_row(clean(finding.severity, colours[finding.severity]), what, count, clean(finding.fix))
        parts: list[Any] = [facts, Text("")] + ([table, Text("")] if self.findings else [])
        return Group(*parts, Text(self.verdict()))

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        findings = [{**vars(finding), "examples": list(finding.examples)} for finding in self.sorted()]
        return {"severity": self.severity, "facts": dict(self.facts), "findings": findings}
