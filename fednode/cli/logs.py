"""`fednode logs`: what the daemon did, from the files in log/ of the home; works while no daemon runs."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import click

from fednode.cli.show import cell, utc
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.documents import Unreadable, read_json
from fednode.errors import Unavailable
from fednode.home.files import environment

LOOK_AGAIN_S = 0.25
DETAILS = ("block",)
"""Kinds of lines that come with every block or more often."""

STEP_FIELD = "effects"
"""What a line has that tells a step of the machines: what they did about an event."""

OUTPUTS = {"journal": "journal.jsonl", "daemon": "daemon.log", "worker": "worker.log",
           "worker-beside": "worker-beside.log"}


@command("logs", example="fednode logs -n 100\nfednode logs --follow --kind block\nfednode logs --of worker")
@click.option("-n", "--lines", default=40, show_default=True, help="Lines to show from the end.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, until Ctrl-C.")
@click.option("-a", "--all", "is_all", is_flag=True,
              help="Also every block, and what the machines took in and did: frames, timers, chunks.")
@click.option("--kind", metavar="TEXT", help="Only journal lines whose kind contains TEXT.")
@click.option("--of", "source", type=click.Choice(list(OUTPUTS)), default="journal", show_default=True,
              help="Journal of events, error output of a background daemon, of the training process, or of the one "
              "that does short jobs beside it.")
@format_option
@pass_site
def logs(
    site: Site, lines: int, follow: bool, is_all: bool, kind: str | None, source: str, as_json: bool
) -> None:
    """Show what the daemon did.

    Rounds, studies, members, votes and problems; with --all every block and step, too. Holds names of hospitals,
    hashes and numbers, never keys or patients: safe to send to support.
    """
    path = site.home.journal.parent / OUTPUTS[source]
    show = str if source != "journal" else _checked if as_json else _readable
    with environment("read the log", path):
        if not path.exists() and not follow:
            raise Unavailable(f"there is no {path} yet; the daemon writes it when it runs")
        fits = partial(_fits, kind=kind, is_all=is_all or kind is not None or source != "journal")
        for line in _lines(path, lines, follow, fits):
            click.echo(show(line))


def _lines(path: Path, count: int, follow: bool, fits: Callable[[str], bool]) -> Iterator[str]:
    """Yield the last `count` fitting lines, then what is added; begins anew when the file is rotated."""
    while follow and not path.exists():
        time.sleep(LOOK_AGAIN_S)
    file: TextIO = path.open(encoding="utf-8", errors="replace")
    try:
        yield from deque((line.rstrip("\n") for line in file if fits(line)), maxlen=count)
        rest = ""
        while follow:
            rest += file.read()
            *whole, rest = rest.split("\n")
            yield from (line for line in whole if fits(line))
            if not whole:
                time.sleep(LOOK_AGAIN_S)
                file = _current(file, path)
    finally:
        file.close()


def _current(file: TextIO, path: Path) -> TextIO:
    """Return the file that has the name now: another one after a rotation, once the old one is read."""
    try:
        is_same = path.stat().st_ino == Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino
    except FileNotFoundError:
        return file
    if is_same:
        return file
    file.close()
    return path.open(encoding="utf-8", errors="replace")


def _fits(line: str, kind: str | None, is_all: bool) -> bool:
    """Whether to show a line: of this kind, and not one of the machines' steps unless all are wanted."""
    if kind is None and is_all:
        return True
    try:
        record = read_json(line)
    except Unreadable:
        record = None
    if not isinstance(record, dict):
        return kind is None  # a damaged line is worth seeing
    if kind is not None:
        return kind in str(record.get("kind"))
    return STEP_FIELD not in record and record.get("kind") not in DETAILS


def _checked(line: str) -> str:
    """Return a journal line, or what is left of a damaged one, as JSON."""
    from fednode.home.journal import is_line_whole

    return line if is_line_whole(line.encode()) else json.dumps({"kind": "damaged-line", "text": line})


def _readable(line: str) -> str:
    """Return a journal line as time, kind and named values; one that is damaged as it is, with that word."""
    from fednode.home.journal import is_line_whole

    try:
        record = read_json(line) if is_line_whole(line.encode()) else None
    except Unreadable:
        record = None
    if record is None:
        return f"damaged line: {line!r}"
    moment, kind = record.pop("t", 0), str(record.pop("kind"))
    for name in ("me", "crc"):
        record.pop(name, None)
    if "text" in record:
        return f"{utc(moment)[:19]} {click.style(f'{kind:<8}', bold=True)} {record['text']}"
    rest = " ".join(f"{click.style(name, dim=True)}={cell(name, value)}" for name, value in record.items())
    return f"{utc(moment)[:19]} {click.style(f'{kind:<8}', bold=True)} {rest}"
