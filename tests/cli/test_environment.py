"""What the machine under a home refuses: other accounts' files, a read-only or full disk, odd names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fednode.desk.read_models import StatusView
from fednode.documents import Json
from tests.cli.conftest import Fednode, cards, filled
from tests.support.folders import small_disk

pytestmark = pytest.mark.slow

OBEYS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all")
"""Makes root obey the permissions of files like everybody else."""


def call(home: Path, *arguments: object, obeys: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as an account that may not read everything."""
    prefix: tuple[str, ...] = ()
    if obeys and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("runs as root, whom no permission stops, and setpriv is not there to change that")
        prefix = OBEYS
    command = [*prefix, sys.executable, "-m", "fednode.cli.main", "--home", str(home), *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FEDNODE_")}
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, env=clean
    )


def one_sentence(done: subprocess.CompletedProcess[str], *codes: int) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in codes, (done.returncode, done.stderr)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(errors) == 1 and errors[0].startswith("error: "), done.stderr
    assert done.stderr.endswith(f"(exit code {done.returncode})\n")
    assert ";" in done.stderr, "it names no fix"
    return done.stderr


@pytest.fixture
def home(homes: Path) -> Iterator[Path]:
    """A home whose permissions a test may take away."""
    root = homes / "anna"
    names = ("anna", "berta", "clara", "dora")
    done = call(root, "genesis", "create", *cards(homes, *names), "-o", root / "etc" / "genesis.toml", obeys=False)
    assert done.returncode == 0, done.stderr
    for folder in ("var/chain", "var/sign-state"):
        (root / folder).mkdir()
    (root / "var" / "daemon.lock").touch()
    (root / "log" / "journal.jsonl").touch()
    yield root
    for folder, _, files in os.walk(root):
        os.chmod(folder, 0o700)
        for file in files:
            os.chmod(Path(folder, file), 0o600)


@pytest.mark.parametrize(
    ("closed", "command", "codes"),
    [
        (".", "status", (8,)), (".", "stop", (8,)), (".", "logs", (8,)), (".", "keys show", (4,)),
        (".", "start", (3,)), (".", "chain status", (8,)), (".", "config show", (3,)), (".", "doctor --egress", (3,)),
        ("var", "status", (8,)), ("var", "stop", (8,)), ("var", "start", (8,)), ("var", "chain status", (8,)),
        ("var/chain", "start", (6,)), ("var/chain", "start --resync", (6,)), ("var/chain", "chain status", (6,)),
        ("var/sign-state", "start", (8,)), ("var/daemon.lock", "start", (8,)), ("var/daemon.lock", "status", (8,)),
        ("keys", "start", (4,)), ("keys", "keys show", (4,)), ("etc", "start", (3,)),
        ("log", "start", (8,)), ("log", "start --background", (8,)), ("log", "logs", (8,)),
    ],
)
def test_files_of_another_account(home: Path, closed: str, command: str, codes: tuple[int, ...]) -> None:
    (home / closed).chmod(0)
    words = command.split()
    if words[0] == "start":
        words += ["--passphrase-file", str(home.parent / "passphrase")]
    text = one_sentence(call(home, *words), *codes)
    assert "account" in text or "owner" in text or "permission" in text, text


def test_doctor_goes_on_where_it_may_not_look(home: Path) -> None:
    (home / "var").chmod(0)
    done = call(home, "doctor", "--no-data", "--format", "json")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert '"ok": true' in done.stdout and "permission denied" in done.stdout


def test_passphrase_that_cannot_be_read(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("something\n")
    secret.chmod(0)
    for path, codes, says in (
        (secret, (2, 4), "not readable"), (tmp_path, (4,), "is a directory"),
        (tmp_path / "none", (4,), "check the path"), (Path("/dev/zero"), (4,), "not such a file"),
        (Path("/dev/null"), (4,), "is empty"),
    ):
        done = call(home, "start", "--passphrase-file", path)
        assert done.returncode in codes and says in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_to_a_full_disk(home: Path, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fednode.cli.main", "--home", str(home), "keys", "show"], check=False, text=True,
            stdout=full, stderr=subprocess.PIPE, timeout=60, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert "disk is full" in one_sentence(subprocess.CompletedProcess([], done.returncode, "", done.stderr), 8)


def test_names_that_are_no_unicode(home: Path) -> None:
    for words in (("study", "show", b"\xff"), ("chain", "tx", b"\xff"), ("model", "show", b"\xff")):
        command = [sys.executable, "-m", "fednode.cli.main", "--home", str(home), *words]
        done = subprocess.run(command, check=False, capture_output=True, timeout=60)
        assert done.returncode in (2, 8, 11) and b"Traceback" not in done.stderr, done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "256k") as folder:
        yield folder


def fill(disk: Path, leave_bytes: int) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    os.truncate(filler, max(0, filler.stat().st_size - leave_bytes))
    return filler


@pytest.mark.parametrize("leave_bytes", [0, 4096, 8192, 12288])
def test_making_a_home_on_a_full_disk(disk: Path, homes: Path, leave_bytes: int) -> None:
    """Whatever was done before the disk was full is whole; with space again the hospital can go on."""
    filler = fill(disk, leave_bytes)
    words = ("init", "--name", "x", "--passphrase-file", homes / "passphrase")
    assert "disk is full" in one_sentence(call(disk / "home", *words), 8)
    assert not [path for path in (disk / "home").rglob("*") if path.suffix == ".new"]
    filler.unlink()
    again = call(disk / "home", *words)
    if again.returncode == 4:  # the keys were made: the rest is one command away, and the sentence names it
        assert "keys card" in again.stderr
        again = call(disk / "home", "keys", "card", "--passphrase-file", homes / "passphrase")
    assert again.returncode == 0, again.stderr
    assert (disk / "home" / "etc" / "identity-card.toml").stat().st_size > 100


def test_read_only_disk(disk: Path, homes: Path) -> None:
    shutil.copytree(homes / "anna", disk / "home")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    secret = ("--passphrase-file", homes / "passphrase")
    backup = ("keys", "backup", "--to", disk / "k", "--backup-passphrase-file", homes / "passphrase", *secret)
    for home, words, codes in (
        ("home", ("keys", "card", *secret), (8,)), ("new", ("init", "--name", "x", *secret), (8,)),
        ("home", backup, (8,)),
    ):
        assert "read-only" in one_sentence(call(disk / home, *words), *codes)
    assert call(disk / "home", "keys", "show").returncode == 0


def test_doctor_tells_what_the_daemon_found(
    fednode: Fednode, homes: Path, daemon_answers: Callable[[Path, Mapping[str, Json]], None]
) -> None:
    clock, model = "this machine's clock is behind by 9 s; set it", "the file of model ab is damaged; it is kept"
    daemon_answers(homes / "anna", {"status": filled(StatusView, {"problems": ["else", clock, model]})})
    call(homes / "anna", "genesis", "create", *cards(homes, "anna", "berta"), "-o",
         homes / "anna" / "etc" / "genesis.toml", obeys=False)
    found = json.loads(fednode("--home", homes / "anna", "doctor", "--no-data", "--format", "json").out)
    told = {entry["check"]: entry["detail"] for entry in found if entry["ok"] is False}
    assert told["clock"] == clock.partition(";")[0] and told["storage"] == model.partition(";")[0]
