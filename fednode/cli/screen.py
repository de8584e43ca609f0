"""What the demo shows while it runs: a live table on a terminal, plain lines everywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fednode.cli.show import line_width, ratio, short
from fednode.cli.words import doing, missed

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

Record = Mapping[str, Any]

COLUMNS = ("round", "kind", "counted", "left out", "seconds", "accuracy", "model")


class Screen:
    """Speaks to a person. `is_error` sends everything to stderr, where a program reads stdout.

    Colours and movement follow the terminal, NO_COLOR and TERM as rich reads them.
    """

    def __init__(self, is_error: bool) -> None:
        from rich.console import Console

        self._console: Console = Console(stderr=is_error, highlight=False)
        if not self.is_live:
            self._console.width = line_width()
        self._live: Live | None = None
        self._begin = time.monotonic()
        self._shown_rounds = 0
        self._parts: tuple[Record, Sequence[Record], Mapping[int, str]] = ({}, (), {})
        self._names: Mapping[int, str] = {}

    @property
    def is_live(self) -> bool:
        """Whether the table can be redrawn in place."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def say(self, text: str) -> None:
        """Tell what happens now, with the seconds since the start."""
        self._console.print(f"{time.monotonic() - self._begin:6.1f} s  {text}", markup=False)

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, soft_wrap=True)

    def sentence(self, text: str) -> None:
        """Print a sentence, wrapped where the line ends."""
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

    def update(
        self, study: Record, reports: Sequence[Record], states: Mapping[int, str], names: Mapping[int, str]
    ) -> None:
        """Show where the study stands. `states` says what each hospital's daemon does, `names` how it is called, by
        member number."""
        self._parts, self._names = (study, reports, states), names
        if self._live is not None:
            self._live.refresh()
            return
        for report in reports[self._shown_rounds :]:
            self.say(_plain(report, self._names))
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
        for report, after in zip(reports, [*reports[1:], *_measured_by_itself(reports)], strict=True):
            style = "" if report["outcome"] == "ok" else "red"
            table.add_row(*_cells(report, after, self._names), style=style)
        return Group(table, *(Text(line, style="dim") for line in (_now(study), _who(states, self._names)) if line))


def _measured_by_itself(reports: Sequence[Record]) -> list[Record]:
    """Return what measures the last report's model, if there is one: a closing round itself, else nothing yet."""
    return [report if report["kind"] == "closing" else {} for report in reports[-1:]]


def _absent(report: Record, names: Mapping[int, str]) -> str:
    """Return who was left out and why."""
    gone = [f"{names.get(a['member'], a['member'])} ({missed(a['phase'])})" for a in report.get("absent", ())]
    gone += [f"{names.get(member, member)} (not ready)" for member in report.get("not_ready", ())]
    return ", ".join(gone) or "-"


def _counted(report: Record) -> str:
    return f"{len(report['counted'])} of {len(report['expected']) + len(report.get('not_ready', ()))}"


def _cells(report: Record, after: Record, names: Mapping[int, str]) -> tuple[str, ...]:
    """Return a line: accuracy is that of the model this round made, which the next round measures."""
    is_made = report["kind"] != "statistics"
    accuracy = ratio((after.get("metrics") or {}).get("accuracy")) if is_made else "-"
    return (
        str(report["number"]), str(report["kind"]), _counted(report), _absent(report, names),
        f"{report['seconds']:.2f}", accuracy, short(report["model_hash"]),
    )


def _now(study: Record) -> str:
    """Return what the study does at this moment."""
    current = study.get("round")
    if not current:
        return f"the study is {study['status']}" if study else ""
    phase = current["phase"]
    posted = f"{len(phase['posted'])} of {len(phase['expected'])} done"
    return f"now: round {current['number']}, {current['kind']}: {doing(phase['name'])}, {posted}"


def _who(states: Mapping[int, str], names: Mapping[int, str]) -> str:
    """Return what the daemons do, those of one kind together: `running: Anna, Berta; KILLED: Dora`."""
    kinds = dict.fromkeys(states.values())
    return "; ".join(
        f"{kind}: {', '.join(names.get(n, str(n)) for n, state in states.items() if state == kind)}" for kind in kinds
    )


def _plain(report: Record, names: Mapping[int, str]) -> str:
    """Return a closed round as one line."""
    outcome = "" if report["outcome"] == "ok" else f"  FAILED: {report['reason']}; the model stays as it was"
    metrics = report["metrics"] or {}
    accuracy = f"  the model so far: accuracy {ratio(metrics['accuracy'])}" if metrics else ""
    left_out = f"  left out: {_absent(report, names)}" if report["absent"] or report.get("not_ready") else ""
    title = f"round {report['number']:>2} {report['kind']:<10}"
    return f"{title}  {report['seconds']:5.2f} s  counted {_counted(report)}{left_out}{outcome}{accuracy}"
