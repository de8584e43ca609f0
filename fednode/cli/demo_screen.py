"""What the demo shows while it runs: a live table on a terminal, plain lines everywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fednode.cli.show import members, ratio, short

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

Record = Mapping[str, Any]

COLUMNS = ("round", "kind", "counted", "absent", "seconds", "accuracy", "model")


class Screen:
    """Speaks to a person. `is_error` sends everything to stderr, where a program reads stdout.

    Colours and movement follow the terminal, NO_COLOR and TERM as rich reads them.
    """

    def __init__(self, is_error: bool) -> None:
        from rich.console import Console

        self._console: Console = Console(stderr=is_error, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._begin = time.monotonic()
        self._shown_rounds = 0
        self._parts: tuple[Record, Sequence[Record], Mapping[int, str]] = ({}, (), {})

    @property
    def is_live(self) -> bool:
        """Whether the table can be redrawn in place."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def say(self, text: str) -> None:
        """Tell what happens now, with the seconds since the start."""
        self._console.print(f"{time.monotonic() - self._begin:6.1f} s  {text}", markup=False)

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False)

    @contextlib.contextmanager
    def rounds(self) -> Iterator[None]:
        """Show the table for as long as the block runs; its last state stays."""
        if not self.is_live:
            yield
            return
        from rich.live import Live

        with Live(console=self._console, auto_refresh=False, get_renderable=self._table) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def update(self, study: Record, reports: Sequence[Record], states: Mapping[int, str]) -> None:
        """Show where the study stands. `states` says what each hospital's daemon does, by member number."""
        self._parts = (study, reports, states)
        if self._live is not None:
            self._live.refresh()
            return
        for report in reports[self._shown_rounds :]:
            self.say(_plain(report))
        self._shown_rounds = len(reports)

    def _table(self) -> Group:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        study, reports, states = self._parts
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in ("round", "seconds", "accuracy") else "left")
        for report, after in zip(reports, [*reports[1:], report_of_end(reports)], strict=True):
            style = "" if report["outcome"] == "ok" else "red"
            table.add_row(*_cells(report, after), style=style)
        current = study.get("round")
        if current:
            table.add_row(str(current["number"]), str(current["kind"]), _progress(current), style="dim")
        lines = [f"hospital {number}: {state}" for number, state in states.items()]
        status = f"study: {study.get('status', 'not begun')}"
        return Group(table, Text("  ".join((status, *lines)), style="dim"))


def report_of_end(reports: Sequence[Record]) -> Record:
    """Return what measures the model of the last report: itself if it is the closing round, else nothing yet."""
    return reports[-1] if reports and reports[-1]["kind"] == "closing" else {}


def absent(report: Record) -> str:
    """Return who was left out and since which phase."""
    return " ".join(f"{a['member']} ({a['phase']})" for a in report.get("absent", ())) or "-"


def _cells(report: Record, after: Record) -> tuple[str, ...]:
    """Return a line: accuracy is that of the model this round made, which the next round measures."""
    is_made = report["kind"] != "statistics"
    accuracy = ratio((after.get("metrics") or {}).get("accuracy")) if is_made else "-"
    return (
        str(report["number"]), str(report["kind"]), members(report["counted"]), absent(report),
        f"{report['seconds']:.2f}", accuracy, short(report["model_hash"]),
    )


def _progress(current: Record) -> str:
    phase = current["phase"]
    return f"{phase['name']}: {len(phase['posted'])} of {len(phase['expected'])}"


def _plain(report: Record) -> str:
    """Return a closed round as one line."""
    outcome = "" if report["outcome"] == "ok" else f"  FAILED: {report['reason']}; the model stays as it was"
    metrics = report["metrics"] or {}
    accuracy = f"  the model so far: accuracy {ratio(metrics['accuracy'])}" if metrics else ""
    left_out = f"  absent {absent(report)}" if report["absent"] else ""
    title = f"round {report['number']:>2} {report['kind']:<10}"
    return f"{title}  {report['seconds']:5.2f} s  counted {members(report['counted'])}{left_out}{outcome}{accuracy}"
