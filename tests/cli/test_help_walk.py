"""Every command of `chain`, `member`, `role` and `keys`: example, JSON, exit codes. Found by walking the click tree."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fednode import errors
from fednode.cli.main import cli
from fednode.cli.site import Command, Figure
from tests.cli.conftest import Fednode

TOPICS = ("chain", "member", "role", "keys")
FAILURES = {error.exit_code for _, error in inspect.getmembers(errors, inspect.isclass)
            if issubclass(error, errors.FednodeError) and error is not errors.FednodeError}
OPERATIONS = Path(__file__).resolve().parents[2] / "fednode" / "docs" / "operations.md"


def walk(
    command: click.Command, path: tuple[str, ...], ctx: click.Context
) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield every command that does something, with the words that name it."""
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None, (path, name)
            yield from walk(inner, (*path, name), ctx)
        return
    assert isinstance(command, Command), f"{' '.join(path)} cannot carry an example"
    yield path, command


def commands() -> list[tuple[tuple[str, ...], Command]]:
    ctx = click.Context(cli)
    found = []
    for topic in TOPICS:
        group = cli.get_command(ctx, topic)
        assert isinstance(group, click.Group)
        found += list(walk(group, (topic,), ctx))
    return found


EVERY = commands()
every_command = pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])


def test_the_walk_finds_what_the_design_lists() -> None:
    names = {" ".join(path) for path, _ in EVERY}
    assert names >= {
        "chain status", "chain show", "chain tx", "chain find", "chain verify", "chain export", "chain import",
        "chain compare", "chain proof tx", "chain proof state", "chain proof header", "chain verify-proof",
        "chain checkpoint", "chain members", "chain votes", "chain evidence", "chain participation", "chain wait",
        "chain version show", "chain version propose", "chain version approve", "member request", "member invite",
        "member approve", "member revoke", "member list", "role grant", "role revoke", "role list", "keys show",
        "keys rotate", "keys backup",
    }


@every_command
def test_it_has_json_an_example_and_help(fednode: Fednode, path: tuple[str, ...], command: Command) -> None:
    formats = [option for option in command.params if option.name == "as_json"]
    assert [option.opts for option in formats] == [["--format"]]
    assert isinstance(formats[0].type, click.Choice) and list(formats[0].type.choices) == ["table", "json"]
    assert command.help and command.help.strip().endswith(".")
    lines = [line for line in command.example.splitlines() if line]
    own = [line for line in lines if re.match(f"fednode (--home [^ ]+ )?{' '.join(path)}( |$)", line)]
    assert own and all(line.startswith("fednode ") for line in lines), lines
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for line in own:
        given = {word for word in line.split() if re.fullmatch("--[a-z-]+", word)}
        assert given <= known | {"--home"}, f"{line}: no such option {given - known}"
    shown = fednode(*path, "--help")
    assert shown.code == 0
    assert "Example:" in shown.out and all(line in shown.out for line in lines)
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.opts} is not explained"


@every_command
def test_wrong_use_is_told_with_exit_code_2(fednode: Fednode, path: tuple[str, ...], command: Command) -> None:
    wrong = fednode(*path, "--no-such-option")
    assert wrong.code == 2 and wrong.err.startswith("error: ") and wrong.err.count("\n") == 1
    assert "--help" in wrong.err
    odd = fednode(*path, "--format", "xml")
    assert odd.code == 2 and "json" in odd.err


SAMPLES = {
    "TXID": "00" * 32, "ID": "00" * 32, "HEIGHT": "1", "KEY": "members", "ROLE": "auditor", "MEMBER": "1",
    "VERSION": "2", "NAME": "x", "PROPOSAL": "1",
}


@every_command
def test_without_a_home_it_fails_as_documented(
    fednode: Fednode, path: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    """One object on stderr, nothing on stdout, an exit code of the list; never a traceback."""
    arguments: list[str] = []
    for param in command.params:
        name = (param.metavar or param.name or "").strip("[].").upper() if isinstance(param, click.Argument) else ""
        if isinstance(param, click.Argument) and param.required:
            sample = next((value for key, value in SAMPLES.items() if name.startswith(key)), str(tmp_path / "none"))
            if path == ("role", "grant") or path == ("role", "revoke"):
                sample = "auditor" if not arguments else "00" * 32
            arguments.append(sample)
        elif isinstance(param, click.Option) and param.required:
            sample = "x" if isinstance(param.type, click.types.StringParamType) else "20"
            arguments += [param.opts[0], str(tmp_path / "out") if "output" in str(param.name) else sample]
        elif param.name == "yes":
            arguments.append("--yes")
        elif param.name == "verify_only":
            arguments.append("--verify-only")
    result = fednode("--home", tmp_path / "nowhere", *path, *arguments, "--format", "json")
    assert result.code in FAILURES, (result.code, result.out, result.err)
    told = json.loads(result.err)
    assert set(told) == {"error", "exit_code", "json"} and told["exit_code"] == result.code
    assert result.out == "" and "Traceback" not in result.err


def test_every_exit_code_is_documented() -> None:
    text = OPERATIONS.read_text()
    cells = {int(code) for code in re.findall(r"\| (\d+) \|", text)}
    assert cells >= FAILURES, FAILURES - cells


def parameters(command: click.Command, ctx: click.Context) -> Iterator[click.Parameter]:
    """Yield every option and argument of a command and of all below it."""
    yield from command.params
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from parameters(inner, ctx)


def test_no_option_takes_what_is_no_number() -> None:
    """NaN passes the bounds of click's own types; nobody can compute with it, and JSON does not have it."""
    every = parameters(cli, click.Context(cli))
    found = [option for option in every if isinstance(option.type, click.types.FloatParamType)]
    assert len(found) > 2 and all(isinstance(option.type, Figure) for option in found)
