"""A command line that runs in this process, homes made by it, and a daemon that answers with what a test gives it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import trio

from fednode.cli.main import run
from fednode.desk.calls import EVERYBODY, Arguments, Handlers, once
from fednode.desk.control import serve_control
from fednode.desk.record import Record
from fednode.documents import Json
from fednode.home.files import Home, HomeLock

PASSPHRASE = "correct horse battery"


@dataclass(frozen=True)
class Result:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


Fednode = Callable[..., Result]


def write_private(path: Path, text: str) -> Path:
    """Write a file that this account alone may open, as passphrases lie in."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.fixture
def fednode(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fednode:
    """Run a command line; the environment names no home, no passphrase, no width and no colour."""
    for name in ("FEDNODE_HOME", "FEDNODE_PASSPHRASE", "FEDNODE_PASSPHRASE_FILE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    capsys.readouterr()

    def call(*arguments: object) -> Result:
        code = run([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def made_homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four homes as `fednode init` leaves them, made once: Argon2id is slow on purpose."""
    root = tmp_path_factory.mktemp("homes")
    write_private(root / "passphrase", PASSPHRASE + "\n")
    for number, name in enumerate(("anna", "berta", "clara", "dora")):
        home, address = root / name, f"/ip4/127.0.0.1/tcp/{7790 + number}"
        code = run([
            "init", "--home", str(home), "--name", name, "--listen", address,
            "--passphrase-file", str(root / "passphrase"),
        ])
        assert code == 0
    return root


@pytest.fixture
def homes(made_homes: Path, tmp_path: Path) -> Path:
    """A copy of the four homes that a test may change; `passphrase` lies beside them."""
    return Path(shutil.copytree(made_homes, tmp_path / "homes"))


def cards(homes: Path, *names: str) -> list[object]:
    """Return the --member options of these homes."""
    return [part for name in names for part in ("--member", homes / name / "etc" / "identity-card.toml")]


def filled(form: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a read model as JSON: `values`, in it or in records inside it, and nothing, zero or no where none is."""
    return {name: _filled(inner, values[name]) if name in values else _empty(inner)
            for name, inner in get_type_hints(form).items()}


def _is_record(form: object) -> bool:
    return isinstance(form, type) and issubclass(form, Record)


def _filled(form: Any, value: Any) -> Any:
    inner = [part for part in get_args(form) if _is_record(part)]
    if isinstance(value, Mapping) and _is_record(form):
        return filled(form, value)
    if isinstance(value, Mapping) and inner:
        return filled(inner[0], value)
    if isinstance(value, list) and inner:
        return [filled(inner[0], item) for item in value]
    return value


def _empty(form: Any) -> Any:
    if _is_record(form):
        return filled(form, {})
    if NoneType in get_args(form):
        return None
    kind = get_origin(form) or form
    return [] if kind is tuple else {} if kind is Mapping else kind()


@pytest.fixture
def daemon_answers() -> Iterator[Callable[[Path, Mapping[str, Json]], None]]:
    """Serve given answers on a home's control socket, over the real socket, from a thread of its own."""
    stops: list[Callable[[], None]] = []

    def serve(root: Path, answers: Mapping[str, Json]) -> None:
        home = Home(root)
        home.create()
        lock = HomeLock.acquire(home)
        ready = threading.Event()
        scopes: list[trio.CancelScope] = []
        tokens: list[trio.lowlevel.TrioToken] = []

        async def answer(value: Json, arguments: Arguments) -> Json:
            return value

        async def main() -> None:
            handlers = Handlers({name: once(partial(answer, value), EVERYBODY) for name, value in answers.items()})
            with trio.CancelScope() as scope:
                scopes.append(scope)
                tokens.append(trio.lowlevel.current_trio_token())
                async with trio.open_nursery() as nursery:
                    await nursery.start(partial(serve_control, home, handlers))
                    ready.set()

        thread = threading.Thread(target=trio.run, args=(main,))
        thread.start()
        assert ready.wait(10)

        def stop() -> None:
            tokens[0].run_sync_soon(scopes[0].cancel)
            thread.join(10)
            lock.release()

        stops.append(stop)

    yield serve
    for stop in stops:
        stop()
