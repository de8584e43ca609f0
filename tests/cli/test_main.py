"""The shell around the commands: help, speed, errors, options in every place."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fednode import __version__
from fednode.cli import main
from fednode.cli.show import JSON_VERSION
from fednode.cli.site import Command
from fednode.errors import FednodeError
from tests.cli.conftest import Fednode

HEAVY = ("torch", "numpy", "pydantic", "trio", "libp2p", "rich", "nacl", "plyvel")


def _walk() -> list[tuple[str, click.Command]]:
    """Return every command with its full name."""
    found: list[tuple[str, click.Command]] = []
    for name, (path, _) in main.COMMANDS.items():
        module, _, attribute = path.partition(":")
        if importlib.util.find_spec(module) is None:
            continue  # told by the next test, once
        command = getattr(importlib.import_module(module), attribute)
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", inner) for sub, inner in command.commands.items()]
    return found


def test_every_command_of_the_table_exists() -> None:
    modules = [path.split(":")[0] for path, _ in main.COMMANDS.values()]
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


@pytest.mark.parametrize(("name", "command"), _walk(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_explains_itself(name: str, command: click.Command, fednode: Fednode) -> None:
    result = fednode(*name.split(), "--help")
    assert result.code == 0
    assert command.help
    if not isinstance(command, click.Group):
        assert isinstance(command, Command)
        assert command.example.startswith(("fednode ", "FEDNODE_"))
        assert name in command.example
        assert "Example:" in result.out
    if name.split()[0] not in ("demo", "bench"):  # these make federations of their own
        assert "--home" in result.out
        assert "--config" in result.out


def test_the_table_says_what_the_commands_say() -> None:
    for name, command in _walk():
        if name in main.COMMANDS:
            assert command.get_short_help_str(limit=200) == main.COMMANDS[name][1]


def test_a_line_of_help_has_at_most_50_letters() -> None:
    long = {name: text for name, command in every_command()
            if len(text := command.get_short_help_str(limit=1000)) > 50}
    assert long == {}


def every_command() -> list[tuple[str, click.Command]]:
    """Return all commands and topics at every depth, with the words that name them."""
    waiting, found = _walk(), list[tuple[str, click.Command]]()
    seen = {id(command) for _, command in waiting}
    while waiting:
        name, command = waiting.pop()
        found.append((name, command))
        if isinstance(command, click.Group):
            inner = [(f"{name} {sub}", below) for sub, below in command.commands.items() if id(below) not in seen]
            waiting += inner
    return found


def test_help_is_a_command_too(fednode: Fednode) -> None:
    assert fednode("help").out == fednode("--help").out
    assert fednode("help", "study", "show").out == fednode("study", "show", "--help").out
    wrong = fednode("help", "study", "shew")
    assert wrong.code == 2
    assert "there is no command 'study shew'" in wrong.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str, fednode: Fednode) -> None:
    source = fednode("completion", shell)
    assert source.code == 0
    assert "_FEDNODE_COMPLETE" in source.out
    asked = {"COMP_WORDS": "fednode st", "COMP_CWORD": "st" if shell == "fish" else "1"}
    environment = {**os.environ, "_FEDNODE_COMPLETE": f"{shell}_complete", **asked}
    arguments = [sys.executable, "-c", "from fednode.cli.main import main; main([])"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True)
    assert {"start", "stop", "status", "study"} <= set(re.findall(r"\bst\w+", done.stdout))


def test_an_error_is_json_where_json_was_asked_for(fednode: Fednode, tmp_path: Path) -> None:
    for arguments in (("status", "--format", "json"), ("status", "--format=json", "--nonsense")):
        result = fednode("--home", tmp_path / "none", *arguments)
        told = json.loads(result.err)
        assert told == {"error": told["error"], "exit_code": result.code, "json": JSON_VERSION}
        assert result.out == ""
    assert json.loads(fednode("version", "--format", "json").out)["json"] == JSON_VERSION


def test_reads_offer_json() -> None:
    for name, command in _walk():
        if name.split()[-1] in ("list", "show", "status", "verify", "check", "doctor", "predict", "logs", "tx"):
            assert any(parameter.name == "as_json" for parameter in command.params), name


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from fednode.cli.main import run; code = run(['--help']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_versions(fednode: Fednode) -> None:
    assert fednode("-V").out == f"fednode {__version__} (protocol 1)\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("stauts",), "there is no command 'stauts', did you mean 'status'"),
        (("chain", "verify", "--level", "9"), "invalid value for '--level'"),
        (("status", "--format", "xml"), "invalid value for '--format'"),
        (("genesis", "create"), "missing option '--member'"),
        (("status", "--nothing"), "no such option"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(fednode: Fednode, arguments: tuple[str, ...], says: str) -> None:
    result = fednode(*arguments)
    assert result.code == 2
    assert result.err.lower().startswith(f"error: {says}")
    assert result.err.endswith("--help' (exit code 2)\n")
    assert result.err.count("\n") == 1


def test_without_arguments_help_is_shown(fednode: Fednode) -> None:
    result = fednode()
    assert result.code == 2
    assert "Every day" in result.err


def test_exit_codes_are_distinct_and_drawn_in_the_error_tree() -> None:
    waiting, codes = [FednodeError], {}
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__ == "fednode.errors":
            assert kind.exit_code not in codes
            codes[kind.exit_code] = kind
    text = sys.modules["fednode.errors"].__doc__ or ""
    for code, kind in codes.items():
        assert kind is FednodeError or re.search(rf"\b{kind.__name__} +{code}\b", text)


def test_the_home_is_named_by_option_environment_or_configuration(
    fednode: Fednode, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = homes / "anna"
    for arguments in (
        ("--home", anna, "keys", "show"),
        ("keys", "--home", anna, "show"),
        ("keys", "show", "--home", anna),
        ("keys", "show", "--config", anna / "etc" / "hospital.toml"),
    ):
        result = fednode(*arguments, *(["--format", "json"] if arguments[-1] == "show" else []))
        assert result.code == 0, result.err
    monkeypatch.setenv("FEDNODE_HOME", str(homes / "berta"))
    berta = fednode("keys", "show").out
    assert berta != fednode("--home", anna, "keys", "show").out


def test_ls_is_list(fednode: Fednode) -> None:
    assert fednode("study", "ls", "--help").out.replace(" ls ", " list ") == fednode("study", "list", "--help").out


def test_no_colour_where_nobody_sees_it(homes: Path) -> None:
    arguments = [sys.executable, "-m", "fednode.cli.main", "--home", str(homes / "anna"), "status"]
    done = subprocess.run(arguments, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False)
    assert done.returncode == 8
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
