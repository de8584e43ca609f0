"""Hospitals on this machine: homes made in this process, daemons as real processes, questions over their sockets.

Nothing here sleeps. Whoever waits, waits for the next block of a daemon (`follow`) or for the daemon to end, with a
deadline; a daemon that dies while it is needed fails the test at once, with its last words.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fednode.cli.card import write_card
from fednode.crypto import Secret
from fednode.demo.federation import free_ports
from fednode.desk.control_client import NotRunning, call_daemon, stream_daemon
from fednode.errors import Unavailable
from fednode.home.config import config_template, load_config
from fednode.home.files import Home, write_atomic
from fednode.home.keystore import SystemEntropy, create_keystore
from fednode.learn.form import parse_study
from fednode.learn.study import study_bytes
from fednode.ledger.genesis import Genesis, GenesisStudy, genesis_to_toml, make_genesis
from fednode.ledger.members.identity import parse_card
from fednode.rounds.terms import terms_from_spec
from tests.support.studies import points_study

PASSPHRASE = "correct horse battery staple"
READY_S = 60.0
"""Two cores shared with other work start eight processes in well under this."""

Status = Mapping[str, Any]


def study_toml(
    rounds: int = 3, start_after_s: int = 30, train_timeout_s: int = 4, phase_timeout_s: int = 1
) -> str:
    """A study of points left and right of a line; the deadlines are short because the machines are one machine."""
    timeouts = {
        "start_after_s": start_after_s, "train_timeout_s": train_timeout_s, "phase_timeout_s": phase_timeout_s
    }
    return points_study(rounds=rounds, timeouts=timeouts)


def points_csv(seed: int, count: int = 40) -> str:
    """Rows of the study above; the halves are easy to tell apart."""
    drawn = random.Random(seed)
    lines = ["x,y,group"]
    for index in range(count):
        centre, name = (-1.5, "left") if index % 2 else (1.5, "right")
        lines.append(f"{drawn.gauss(centre, 0.7):.3f},{drawn.gauss(0, 0.7):.3f},{name}")
    return "\n".join(lines) + "\n"


@dataclass
class Hospital:
    """One home and the daemon on it."""

    home: Home
    port: int
    advertised: int
    process: subprocess.Popen[bytes] | None = None
    program: tuple[str, ...] = ("-m", "fednode.cli.main")

    def __post_init__(self) -> None:
        self.output = self.home.root.with_suffix(".output")
        """What the daemon writes to its standard streams: not into the home, whose disk a test may fill."""

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self.process.pid

    # --- the process

    def launch(self, *options: str) -> int:
        """Start the daemon without waiting; return a descriptor that becomes readable when it is ready."""
        ready_read, ready_write = os.pipe()
        environment = {**os.environ, "FEDNODE_PASSPHRASE": PASSPHRASE}
        arguments = ["--home", str(self.home.root), "start", *options, "--ready-fd", str(ready_write)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
  pass_fds=(ready_write,), env=environment, start_new_session=True,
            )
        os.close(ready_write)
        return ready_read

    def await_ready(self, ready: int) -> None:
        """Wait until the daemon that `launch` started serves."""
        try:
            readable, _, _ = select.select([ready], [], [], READY_S)
            assert readable, f"not ready after {READY_S} s: {self.last_words()}"
            assert os.read(ready, 16) == b"ready\n", f"ended before it was ready: {self.last_words()}"
        finally:
            os.close(ready)

    def start(self, *options: str) -> None:
        """Start the daemon and wait until it serves."""
        self.await_ready(self.launch(*options))

    def kill(self) -> None:
        """Take the power away."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """Ask the daemon to end; return its exit code."""
        self.process.terminate()
        code = self.process.wait(READY_S)
        self.process = None
        return code

    def wait_end(self, timeout_s: float = READY_S) -> int:
        """Wait until the daemon ends by itself; return its exit code."""
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def suspend(self) -> None:
        """Stop the process in its tracks."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def is_alive(self) -> bool:
        """Whether the daemon runs."""
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        """The end of what the daemon wrote."""
        return self.output.read_text(errors="replace")[-2000:] if self.output.exists() else ""

    def round_records(self) -> list[Path]:
        """What is kept of rounds; the coin's secret is of the study's whole chain of openings, not of one round."""
        return [path for path in self.home.rounds.glob("*") if not path.name.endswith("-coin")]

    # --- questions

    def call(self, name: str, **args: Any) -> Any:
        """Ask the daemon."""
        return call_daemon(self.home, name, args, timeout_s=READY_S)

    def status(self) -> Status:
        """Everything at a glance."""
        found = self.call("status")
        assert isinstance(found, Mapping)
        return found

    def reports(self) -> list[Status]:
        """Reports of all closed rounds."""
        return list(self.call("round_list"))

    def report(self, number: int) -> Status:
        """Report of one closed round."""
        found = self.call("round_show", round=number)
        assert isinstance(found, Mapping)
        return found

    def wait_counted(self, members: Iterable[int], begin: int, timeout_s: float) -> Status:
        """Wait until a round from `begin` on has closed in which all of `members` are counted; return its report."""
        wanted, looked = set(members), begin - 1

        def has_closed(status: Status) -> bool:
            nonlocal looked
            while looked + 1 < study_of(status)["next_round"]:
                looked += 1
                if wanted <= set(self.report(looked)["counted"]):
                    return True
            return False

        self.wait(has_closed, timeout_s, f"members {sorted(wanted)} counted in a round from {begin} on")
        return self.report(looked)

    def wait(self, condition: Callable[[Status], bool], timeout_s: float, what: str = "") -> Status:
        """Return the first status, now or after a block, that meets `condition`."""
        deadline = time.monotonic() + timeout_s
        found: Status = {}
        while time.monotonic() < deadline:
            try:
                for answer in stream_daemon(self.home, "follow", timeout_s=max(0.1, deadline - time.monotonic())):
                    assert isinstance(answer, Mapping)
                    found = answer
                    if condition(found):
                        return found
                    if time.monotonic() > deadline:
                        break
            except Unavailable as error:
                assert self.is_alive, f"the daemon ended while waiting for {what}: {self.last_words()}"
                if isinstance(error, NotRunning):
                    self.pause()
        raise AssertionError(f"not within {timeout_s} s: {what}; last seen {summary(found)}; {self.last_words()}")

    def poll(self, condition: Callable[[Status], bool], timeout_s: float, what: str = "") -> Status:
        """As `wait`, for what changes without a block."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.status()
            if condition(found):
                return found
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}; last seen {summary(found)}"
            self.pause()

    def pause(self, seconds: float = 0.1) -> None:
        """Let a little time pass, unless the daemon ends."""
        descriptor = os.pidfd_open(self.pid)
        try:
            ended, _, _ = select.select([descriptor], [], [], seconds)
            assert not ended, f"the daemon ended: {self.last_words()}"
        finally:
            os.close(descriptor)

    def wait_height(self, height: int, timeout_s: float = 60) -> Status:
        """Wait until the chain is at least this long here."""
        return self.wait(lambda s: s["chain"]["height"] >= height, timeout_s, f"height {height}")

    # --- the command line

    def cli(self, *arguments: str, timeout_s: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command of the command line on this home."""
        return subprocess.run(
            [sys.executable, "-m", "fednode.cli.main", *arguments, "--home", str(self.home.root)], check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
            env={**os.environ, "FEDNODE_PASSPHRASE": PASSPHRASE, **environment},
        )


def summary(status: Status) -> str:
    """The parts of a status that tell why something is waited for."""
    if not status:
        return "nothing"
    chain = status["chain"]
    parts = [f"height {chain['height']}", f"reachable {chain['reachable']}", f"problems {status['problems']}"]
    for study in status["studies"]:
        now = study["round"]
        where = f"{now['number']} {now['phase']['name']} waits for {study['waiting_for']}" if now else "no round"
        parts.append(f"{study['name']}: {study['status']} {study['reason']!r}, {study['rounds_done']} done, {where}")
    return "; ".join(parts)


def study_of(status: Status) -> Status:
    """The one study."""
    found = status["studies"][0]
    assert isinstance(found, Mapping)
    return found


def phase_of(status: Status) -> str | None:
    """Name of the open phase of the running round."""
    current = study_of(status)["round"]
    return None if current is None else str(current["phase"]["name"])


def make_home(
    root: Path, name: str, port: int, advertised: int | None = None, data: Path | None = None
) -> Hospital:
    """What `fednode init` makes."""
    home = Home(root)
    home.create()
    advertised = advertised or port
    listen, advertise = f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/tcp/{advertised}"
    text = config_template(name, (listen,), (advertise,), str(data) if data is not None else None)
    write_atomic(home.config, text.encode())
    keys = create_keystore(home.keystore, Secret(PASSPHRASE.encode()), SystemEntropy())
    write_card(home.card, load_config(home.config, {}, root).values, keys)
    return Hospital(home, port, advertised)


def found_chain(hospitals: Sequence[Hospital], study: str | None, name: str = "e2e") -> Genesis:
    """Make the genesis of these hospitals and put it into every home."""
    cards = [parse_card(hospital.home.card.read_text()) for hospital in hospitals]
    studies = []
    if study is not None:
        spec = parse_study(study)
        studies.append(GenesisStudy(terms_from_spec(spec), study_bytes(spec)))
    genesis = make_genesis(name, cards, studies, time.time_ns() // 1_000_000)
    for hospital in hospitals:
        write_atomic(hospital.home.genesis, genesis_to_toml(genesis).encode())
    return genesis


@dataclass
class Federation:
    """Some hospitals that founded a chain, in order of their member numbers."""

    genesis: Genesis
    hospitals: list[Hospital]

    def __iter__(self) -> Iterator[Hospital]:
        return iter(self.hospitals)

    def __getitem__(self, member: int) -> Hospital:
        """The hospital with this member number."""
        return self.hospitals[member - 1]

    def start(self) -> None:
        """Start every daemon that does not run."""
        waiting = [(hospital, hospital.launch()) for hospital in self.hospitals if not hospital.is_alive]
        for hospital, ready in waiting:
            hospital.await_ready(ready)

    def kill(self) -> None:
        """Take the power away from all."""
        for hospital in self.hospitals:
            if hospital.process is not None:
                hospital.process.kill()
        for hospital in self.hospitals:
            hospital.kill()

    def others(self, *members: int) -> list[Hospital]:
        """Everybody but these."""
        return [self[member] for member in range(1, len(self.hospitals) + 1) if member not in members]

    def await_equal_chains(self, timeout_s: float = 60) -> None:
        """Wait until every daemon has the block that is now the highest, and check that it is the same block."""
        top = max(hospital.status()["chain"]["height"] for hospital in self.hospitals)
        hashes = set()
        for hospital in self.hospitals:
            hospital.wait_height(top, timeout_s)
            hashes.add(hospital.call("chain_show", at=str(top))[0]["hash"])
        assert len(hashes) == 1, f"different blocks at height {top}"


def make_federation(
    root: Path, study: str | None, count: int = 4, data: Mapping[int, str] | None = None,
    advertised: Sequence[int] | None = None,
) -> Federation:
    """Make homes, tables and genesis. `data` replaces the table of the n-th home, counted from 0."""
    hospitals = []
    for index, port in enumerate(free_ports(count)):
        table = root / f"table-{index}.csv"
        table.write_text((data or {}).get(index, points_csv(index)))
        via = None if advertised is None else advertised[index]
        hospitals.append(make_home(root / f"home-{index}", f"Hospital {index}", port, via, table))
    genesis = found_chain(hospitals, study)
    order = {card.name: number for number, card in enumerate(genesis.members)}
    hospitals.sort(key=lambda hospital: order[f"Hospital {hospital.home.root.name.removeprefix('home-')}"])
    return Federation(genesis, hospitals)


@contextlib.contextmanager
def running(federation: Federation) -> Iterator[Federation]:
    """Start all daemons; whatever happens, none is left behind."""
    try:
        federation.start()
        yield federation
    finally:
        federation.kill()
