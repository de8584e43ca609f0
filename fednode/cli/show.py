"""How results are printed: tables and trees for people, whole values as JSON for programs.

In tables hashes are shortened and times are UTC; colours appear on terminals only and never with NO_COLOR.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click

from fednode.ids import MAX_TIME_MS
from fednode.json_form import to_json

Say = Callable[[str], None]
"""How a command that takes long says what it is doing."""

JSON_VERSION = 1
"""Of the names and forms that --format json prints; counted up when one is removed or means something else."""

SHORT_HASH = 12
UNBOUNDED = 1000
"""Columns of a line that no terminal bounds."""

LEAST_WIDTH = 40
COLUMN_GAP = 2
MOST_LINES = 6
"""Of one cell: a table with longer ones is hard to read."""

FOLDED = 16
"""Columns that a word of wide letters gets at least; it may be wrapped between any two of them."""

_HASH = re.compile(r"[0-9a-f]{40,}")
_LATEST_DURATION_MS = 10**11
"""Milliseconds below this are a duration, from here on a time since 1970."""


def can_show_everything() -> bool:
    """Whether standard output can show every character; else JSON is printed in ASCII, which loses nothing."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("_", "-").startswith("utf-")


def replace_unknown() -> None:
    """From now on a character that a stream's encoding lacks is printed as '?', and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(value: object) -> None:
    """Print a read model, or any JSON value, as JSON."""
    click.echo(json.dumps(to_json(value), indent=2, ensure_ascii=not can_show_everything()))


def warn(sentence: str) -> None:
    """Print a warning to standard error, if there is one."""
    if sentence:
        click.echo(f"{click.style('warning:', fg='yellow')} {sentence}", err=True)


def short(text: object) -> str:
    """Return the start of a hexadecimal hash; other values as they are, '-' for None."""
    if text is None or text == "":
        return "-"
    return str(text)[:SHORT_HASH] if isinstance(text, str) and _HASH.fullmatch(text) else str(text)


def members(value: object) -> str:
    """Return member numbers as '1 2 4', '-' for none."""
    return " ".join(str(item) for item in value) or "-" if isinstance(value, (list, tuple)) else short(value)


def utc(time_ms: object) -> str:
    """Return milliseconds since 1970 as UTC text."""
    if not isinstance(time_ms, int) or isinstance(time_ms, bool):
        return "-"
    if not 0 <= time_ms <= MAX_TIME_MS:
        return f"{time_ms} ms"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def seconds(value: object) -> str:
    """Return a duration in seconds with three digits."""
    return f"{value:.3g} s" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"


def ratio(value: object) -> str:
    """Return a ratio with four places."""
    return f"{value:.4f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"


def cell(key: str, value: object) -> str:
    """Return a value as one cell, by the name of its key."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_ms") and isinstance(value, int):
        return utc(value) if value >= _LATEST_DURATION_MS else f"{value} ms"
    if isinstance(value, (list, tuple)):
        shown = [cell("", item) for item in value]
        return ("; " if any(" " in item for item in shown) else " ").join(shown) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{word(name)} {cell(name, item)}" for name, item in value.items()) or "-"
    return short(value)


def word(key: str) -> str:
    """Return a key as people read it."""
    return key.removesuffix("_ms").replace("_", " ")


def print_pairs(pairs: Iterable[tuple[str, str]], indent: int = 0) -> None:
    """Print names and values below each other, values aligned."""
    rows = list(pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print_text(value, prefix=f"{'':{indent}}{click.style(f'{name:<{width}}', dim=True)}  ")


def line_width() -> int:
    """Return how many columns a line has: those of the terminal, or of COLUMNS; a file or pipe has room for all."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return max(LEAST_WIDTH, int(columns))
    return max(LEAST_WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else UNBOUNDED


def print_text(text: str, *, prefix: str = "", below: str | None = None, err: bool = False) -> None:
    """Print a text behind `prefix`, wrapped between words where the line ends; later lines stand behind `below`, or
    below the text.

    A word that is longer than a line, an address or a key, stays whole, for copying. Scripts that write no spaces are
    wrapped anywhere.
    """
    from rich.cells import cell_len

    room = line_width() - len(click.unstyle(prefix))
    if "\n" not in text and cell_len(click.unstyle(text)) <= room:
        click.echo(f"{prefix}{text}".rstrip(" "), err=err)
        return
    from rich.console import Console
    from rich.text import Text

    console, found, before = Console(stderr=err, highlight=False, width=UNBOUNDED), Text.from_ansi(text), prefix
    for line in found.divide(_line_starts(found.plain, room)):
        line.rstrip()
        console.print(Text.from_ansi(before).append_text(line), soft_wrap=True)
        before = below if below is not None else " " * len(click.unstyle(prefix))


def _line_starts(text: str, room: int) -> Iterable[int]:
    """Yield where lines after the first begin, so that no line is wider than `room`."""
    from rich.cells import cell_len

    used = 0
    for found in re.finditer(r"\n|[^\S\n]*\S+[^\S\n]*", text):
        if found[0] == "\n":
            used = 0
            yield found.end()
            continue
        size = cell_len(found[0].rstrip())
        if used and used + size > room:
            used = 0
            yield found.start()
        if size > room and not found[0].isascii():
            for at, letter in enumerate(found[0], found.start()):
                if used + cell_len(letter) > room:
                    used = 0
                    yield at
                used += cell_len(letter)
        else:
            used += cell_len(found[0])


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table that fits the line, words whole. Where columns have no room for their longest words, or cells would
    become towers, each row is a block of names and values instead.
    """
    cells = [[printable(text) for text in row] for row in rows]
    widths = fit_columns([columns, *cells], line_width())
    if widths is None:
        _print_blocks(columns, cells, title)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=UNBOUNDED, highlight=False)
    table = Table(
        title=title or None, box=box.SIMPLE_HEAD, title_justify="left", show_edge=False, pad_edge=False,
        padding=(0, COLUMN_GAP - 1, 0, 0),
    )
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print("", table, "")


def fit_columns(rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Return the width of each column of a table of `width`, or None where it would not be readable.

    Columns have the width of their content. If that is too much the widest give way first, never below their longest
    word; no cell gets more than `MOST_LINES` lines.
    """
    from rich.cells import cell_len

    columns = list(zip(*rows, strict=True))
    wished = [max(cell_len(line) for text in column for line in text.split("\n")) for column in columns]
    least = [max(map(_longest_word, column)) for column in columns]
    room = width - (COLUMN_GAP * (len(columns) - 1))
    if sum(least) > room:
        return None
    found = list(wished)
    while sum(found) > room:
        at = max((at for at in range(len(found)) if found[at] > least[at]), key=found.__getitem__)
        found[at] -= 1
    towers = any(
        cell_len(text) > MOST_LINES * size for column, size in zip(columns, found, strict=True) for text in column
    )
    return None if towers else found


def _longest_word(text: str) -> int:
    """Return the columns that the longest word takes; letters of scripts without spaces stand for themselves."""
    from rich.cells import cell_len

    words = text.split()
    return max((FOLDED if cell_len(word) > max(len(word), FOLDED) else cell_len(word) for word in words), default=1)


def _print_blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """Print each row as names and values below each other, a line between rows."""
    click.echo()
    if title:
        print_text(click.style(title, italic=True))
    for row in rows:
        print_pairs((name, text) for name, text in zip(columns, row, strict=True))
        click.echo()


def printable(text: str) -> str:
    """Keep control characters that came over the network from the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def print_records(records: Sequence[object], keys: Sequence[str], empty: str) -> None:
    """Print dictionaries as a table of the given keys, or the sentence `empty` if there are none."""
    found = [record for record in records if isinstance(record, Mapping)]
    if not found:
        click.echo(empty)
        return
    rows = [[cell(key, record.get(key)) for key in keys] for record in found]
    print_table([word(key) for key in keys], rows)


def print_value(value: object, indent: int = 0) -> None:
    """Print any JSON value: pairs, with tables for lists of records and indented blocks for nested ones."""
    if not isinstance(value, Mapping):
        click.echo(cell("", value))
        return
    # A time is given as text and as milliseconds; people need one of them.
    plain = {k: v for k, v in value.items() if not _is_nested(v) and k.removesuffix("_ms") not in value.keys() - {k}}
    print_pairs(((word(key), cell(key, item)) for key, item in plain.items()), indent)
    for key, item in value.items():
        if not _is_nested(item):
            continue
        click.echo(f"{'':{indent}}{click.style(word(key), bold=True)}")
        if isinstance(item, Mapping):
            print_value(item, indent + 2)
        else:
            names = list(dict.fromkeys(name for record in item for name in record))
            print_records(item, names, "-")


def _is_nested(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)


Node = tuple[str, Sequence["Node"]]


def print_tree(title: str, children: Sequence[Node]) -> None:
    """Print a title and, below it, nested lines with branches."""
    print_text(title)
    for branch, below, text in _branches(children):
        print_text(text, prefix=branch, below=below)


def _branches(children: Sequence[Node]) -> Iterable[tuple[str, str, str]]:
    """Yield what stands before a line, before those it wraps to, and its text."""
    for index, (text, inner) in enumerate(children):
        is_last = index == len(children) - 1
        branch, below = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        yield branch, below, text
        yield from ((below + first, below + later, line) for first, later, line in _branches(inner))
