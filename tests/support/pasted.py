"""Commands as they stand in texts: in README and docs, in the examples of help, in what the program says to do next."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from fednode.cli.main import cli
from fednode.cli.site import Command, Site

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = (CHECKOUT / "README.md", *sorted((CHECKOUT / "fednode" / "docs").glob("*.md")))

PLACEHOLDERS = {
    "CHAIN_ID": "00" * 32, "KEY": "00" * 32, "MULTIADDR": "/dns4/fednode.anna.example/tcp/7700", "HEIGHT": "12000",
    "FILE": "file", "DIR": "folder", "NUMBER": "1", "MEMBER": "1",
}
"""What stands for a value that only the reader has."""

_ELLIPSIS = re.compile(r"\b[0-9a-f]{4}\.\.\.(?:\s?64 (?:hexadecimal )?digits\.\.\.(?:[0-9a-f]{2})?)?")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(fednode [^`]+)`")
_INDENTED = re.compile(r"^ {4,}(?:\$ )?((?:\./)?fednode .*)$", re.MULTILINE)
_SUBSTITUTED = re.compile(r"\$\((fednode [^)]*)\)")
_ASSIGNED = re.compile(r"[A-Z_]+=")
_QUOTED = re.compile(r"'(fednode(?: [a-z][a-z-]*)+)[^']*'")


@dataclass(frozen=True)
class Found:
    """One command and where it stands."""

    where: str
    line: str

    @property
    def words(self) -> list[str]:
        """What a shell makes of it, without the program's name and --help, with a value for each placeholder."""
        words = calls_of(_ELLIPSIS.sub("00" * 32, self.line))[0][1:]
        return [PLACEHOLDERS.get(word, os.path.expanduser(word)) for word in words if word != "--help"]


def calls_of(line: str) -> list[list[str]]:
    """Return the words of each fednode command in a line of shell: of a loop, before a pipe, after a semicolon."""
    inner = [call for text in _SUBSTITUTED.findall(line) for call in calls_of(text)]
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    calls: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";|&<>"):
            calls.append([])
        elif word != "do" and (calls[-1] or not _ASSIGNED.match(word)):
            calls[-1].append(word)
    return [words for words in calls if words and words[0] == "fednode"] + inner


def scripts_of(page: Path) -> list[str]:
    """Return the blocks of a page that are for a shell, in order."""
    return [text for kind, text in _FENCE.findall(page.read_text()) if kind == "sh"]


def joined(text: str) -> str:
    """Join lines that a backslash continues."""
    return re.sub(r"\\\n\s*", " ", text)


def commands_of(page: Path) -> Iterator[Found]:
    """Yield every fednode command of a page: in blocks for a shell, in indented blocks, in the running text."""
    text, name = page.read_text(), page.name
    for script in scripts_of(page):
        for line in joined(script).splitlines():
            for words in calls_of(line):
                yield Found(name, shlex.join(words))
    rest = _FENCE.sub("", text)
    for line in _INDENTED.findall(joined(rest)):
        yield Found(name, re.split(r" {3,}", line)[0])
    for span in _SPAN.findall(rest):
        yield Found(name, re.sub(r"\s+", " ", span))


def leaves(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield every command that does something, with the words that name it."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        if isinstance(found, click.Group):
            yield from leaves(found, (*path, name))
        elif isinstance(found, Command):
            yield (*path, name), found


def examples() -> Iterator[Found]:
    """Yield every example of every help."""
    for path, command in leaves():
        for line in joined(command.example).splitlines():
            for words in calls_of(_ELLIPSIS.sub("00" * 32, re.split(r" {3,}", line)[0])):
                yield Found(f"{' '.join(path)} --help", shlex.join(words))


def named_in_sources() -> Iterator[Found]:
    """Yield the commands that errors and advice name between quotation marks, without what follows the names."""
    for path in sorted((CHECKOUT / "fednode").rglob("*.py")):
        for name in _QUOTED.findall(path.read_text()):
            yield Found(str(path.relative_to(CHECKOUT)), name)


def parse(words: Sequence[str]) -> click.Command:
    """Return the command that these words call, every option and argument read; raise `click.UsageError`."""
    command: click.Command = cli
    ctx = cli.make_context("fednode", list(words), obj=Site())
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert found is not None and name is not None
        command = found
        ctx = command.make_context(name, list(rest), parent=ctx)
    return command


def resolve(words: Sequence[str]) -> list[str]:
    """Return the words that name a command or a topic; raise `click.UsageError` for one that there is not."""
    command: click.Command = cli
    path: list[str] = []
    for word in words:
        if not isinstance(command, click.Group) or word.startswith("-"):
            break
        ctx = click.Context(command, info_name="fednode")
        found = command.resolve_command(ctx, [word])[1]
        assert found is not None
        path, command = [*path, word], found
    return path
