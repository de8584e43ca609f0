"""How results are printed: tables and trees for people, whole values as JSON for programs.

In tables hashes are shortened and times are UTC; colours appear on terminals only and never with NO_COLOR.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click

from fednode.ids import MAX_TIME_MS
from fednode.json_form import to_json

Say = Callable[[str], None]
"""How a command that takes long says what it is doing."""

SHORT_HASH = 12
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


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values below each other, values aligned."""
    rows = list(pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        click.echo(f"{click.style(f'{name:<{width}}', dim=True)}  {value}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; a column is as wide as its content, and wraps only on a terminal too narrow for it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else 250, highlight=False, soft_wrap=False)
    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_printable(text)) for text in row))
    console.print(table)


def _printable(text: str) -> str:
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
    width = max((len(word(key)) for key in plain), default=0)
    for key, item in plain.items():
        click.echo(f"{'':{indent}}{click.style(f'{word(key):<{width}}', dim=True)}  {cell(key, item)}")
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
    click.echo(title)
    for line in _branches(children):
        click.echo(line)


def _branches(children: Sequence[Node]) -> Iterable[str]:
    for index, (text, below) in enumerate(children):
        is_last = index == len(children) - 1
        yield f"{'└─ ' if is_last else '├─ '}{text}"
        yield from (f"{'   ' if is_last else '│  '}{line}" for line in _branches(below))
