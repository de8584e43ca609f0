"""One real daemon from the command line: start, look, refuse a second, die, come back, stop, read its store."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fednode.home.files import Home, daemon_pid
from tests.cli.conftest import Fednode, cards

FOUR = ("anna", "berta", "clara", "dora")
pytestmark = pytest.mark.slow


@pytest.fixture
def home(fednode: Fednode, homes: Path) -> Iterator[Path]:
    """The home of anna, ready to start on a free port; whatever runs there is ended afterwards."""
    root = homes / "anna"
    assert fednode("genesis", "create", *cards(homes, *FOUR), "-o", root / "etc" / "genesis.toml").code == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = root / "etc" / "hospital.toml"
    config.write_text(config.read_text().replace("tcp/7790", f"tcp/{port}"))
    yield root
    if pid := daemon_pid(Home(root)):
        os.kill(pid, signal.SIGKILL)


def _start(fednode: Fednode, home: Path) -> None:
    result = fednode("--home", home, "start", "--background", "--passphrase-file", home.parent / "passphrase")
    assert result.code == 0, result.err
    assert "the daemon runs as process" in result.out


def test_a_daemon_from_start_to_stop(fednode: Fednode, home: Path) -> None:
    _start(fednode, home)
    status = json.loads(fednode("--home", home, "status", "--format", "json").out)
    assert status["pid"] == daemon_pid(Home(home))
    assert status["chain"]["height"] == 0
    again = fednode("--home", home, "start", "--passphrase-file", home.parent / "passphrase")
    assert again.code == 10
    assert f"process {status['pid']} already runs" in again.err
    verified = json.loads(fednode("--home", home, "chain", "verify", "--format", "json").out)
    assert (verified["ok"], verified["source"], verified["height"]) == (True, "daemon", 0)
    doctor = fednode("--home", home, "doctor", "--no-data", "--format", "json")
    found = {row["check"]: row["ok"] for row in json.loads(doctor.out)}
    assert doctor.code == 1  # nobody else runs
    assert [check for check, ok in found.items() if ok is False] == ["identity", "members reachable", "members sign"]

    os.kill(status["pid"], signal.SIGKILL)
    descriptor = os.pidfd_open(status["pid"])
    os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
    os.close(descriptor)
    assert fednode("--home", home, "status").code == 8
    _start(fednode, home)
    stopped = fednode("--home", home, "stop")
    assert (stopped.code, "has stopped" in stopped.out) == (0, True)
    offline = json.loads(fednode("--home", home, "chain", "verify", "--format", "json").out)
    assert (offline["ok"], offline["source"]) == (True, "store")
    assert json.loads(fednode("--home", home, "chain", "status", "--format", "json").out)["source"] == "store"


def test_an_error_of_a_background_daemon_reaches_the_terminal(fednode: Fednode, home: Path) -> None:
    config = (home / "etc" / "hospital.toml").read_text()
    port = int(config.split("listen = [\"/ip4/127.0.0.1/tcp/")[1].split('"')[0])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        result = fednode("--home", home, "start", "--background", "--passphrase-file", home.parent / "passphrase")
    assert result.code == 9, result.err
    assert str(port) in result.err
    assert "Traceback" not in result.err
    assert result.err.rstrip().endswith("(exit code 9)")
    assert daemon_pid(Home(home)) is None
    doctor = json.loads(fednode("--home", home, "doctor", "--no-data", "--format", "json").out)
    assert {row["check"]: row["ok"] for row in doctor}["port"] is True


def test_a_damaged_store_stops_the_start_and_is_kept(fednode: Fednode, home: Path) -> None:
    _start(fednode, home)
    assert fednode("--home", home, "stop").code == 0
    chain = Home(home).chain
    current = chain / "CURRENT"
    current.write_bytes(b"MANIFEST-999999\n")
    kept = {path.name: path.read_bytes() for path in chain.iterdir() if path.name not in ("LOG", "LOG.old", "LOCK")}
    result = fednode("--home", home, "start", "--passphrase-file", home.parent / "passphrase")
    assert result.code == 6, result.err
    assert "start --resync" in result.err
    assert {p.name: p.read_bytes() for p in chain.iterdir() if p.name not in ("LOG", "LOG.old", "LOCK")} == kept
