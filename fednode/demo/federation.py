"""A whole federation on this machine: homes, genesis file and daemons as processes, for the demo and the benchmark.

Security assumption: everything listens on loopback only, and the homes belong to whoever runs this. One passphrase is
drawn for all of them and lies beside the keys, so that the daemons can be started again without a person.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import fednode
from fednode.cli.ask import as_record, as_records
from fednode.cli.show import Say
from fednode.desk.control_client import NotRunning, call_daemon, error_of
from fednode.documents import Json, read_json
from fednode.errors import Unavailable
from fednode.home.files import PRIVATE_FILE, PUBLIC_FILE, Home, environment, write_atomic

if TYPE_CHECKING:
    from fednode.home.keystore import Keys
    from fednode.learn.study import StudySpec

Record = Mapping[str, Any]
T = TypeVar("T")

BENCH_DATASET = "breast-cancer"
"""What daemons train on in a benchmark."""

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
END_TIMEOUT_S = 1.0
POLL_S = 0.1
PREFIX = "FEDNODE_"
LOWEST_PORT = 10_000
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(slots=True)
class Hospital:
    """One member: `number` is its member id on the ledger. `process` is None while no daemon is meant to run."""

    number: int
    home: Home
    table: Path
    process: subprocess.Popen[bytes] | None = None
    ready_fd: int | None = None

    @property
    def name(self) -> str:
        """What people read."""
        return f"hospital {self.number}"

    def ask(self, call: str, **args: Json) -> Json:
        """Ask this hospital's daemon; if it has ended meanwhile, say how."""
        try:
            return call_daemon(self.home, call, args)
        except Unavailable as error:
            if self._has_ended(0.0 if isinstance(error, NotRunning) else END_TIMEOUT_S):
                raise _ended(self) from None
            raise

    def _has_ended(self, timeout_s: float) -> bool:
        """Whether the daemon ends within this time: its sockets close a moment before it can be waited for."""
        if self.process is None:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)
        return self.process.returncode is not None

    def ask_record(self, call: str, **args: Json) -> Record:
        """Ask for one record."""
        return as_record(self.ask(call, **args))

    def ask_records(self, call: str, **args: Json) -> Sequence[Record]:
        """Ask for a list of records."""
        return as_records(self.ask(call, **args))


class LocalFederation:
    """Its hospitals in member order. As a context it stops every daemon on leaving, however that comes about."""

    def __init__(self, genesis_path: Path, hospitals: Sequence[Hospital]) -> None:
        self.genesis_path = genesis_path
        self.hospitals = tuple(hospitals)

    def __enter__(self) -> LocalFederation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(self.hospitals)

    @property
    def running(self) -> list[Hospital]:
        """Those whose daemon is meant to run."""
        return [hospital for hospital in self.hospitals if hospital.process is not None]

    def start(self, hospitals: Iterable[Hospital]) -> None:
        """Start daemons without waiting for them."""
        for hospital in hospitals:
            read, write = os.pipe()
            with environment("write", hospital.home.output):
                log = os.open(hospital.home.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                hospital.process = subprocess.Popen(
                    [sys.executable, "-m", "fednode.cli.main", "--home", str(hospital.home.root),
                     "start", "--ready-fd", str(write)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write,), env=clean_environment(),
                )
                hospital.ready_fd = read
            finally:
                os.close(write)
                os.close(log)

    def wait_ready(self, hospitals: Sequence[Hospital]) -> None:
        """Return once these daemons have opened their ports; raise `Unavailable` for one that ended instead."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with selectors.DefaultSelector() as waiting:
            for hospital in hospitals:
                if hospital.ready_fd is not None:
                    waiting.register(hospital.ready_fd, selectors.EVENT_READ, hospital)
            while waiting.get_map():
                found = waiting.select(deadline - time.monotonic())
                if not found:
                    names = ", ".join(key.data.name for key in waiting.get_map().values())
                    raise Unavailable(f"no daemon of {names} within {START_TIMEOUT_S:g} s; try on a less busy machine")
                for key, _ in found:
                    waiting.unregister(key.fd)
                    is_ready = bool(os.read(key.fd, 16))
                    os.close(key.fd)
                    key.data.ready_fd = None
                    if not is_ready:
                        raise _ended(key.data)

    def check_running(self) -> None:
        """Raise `Unavailable` if a daemon that is meant to run has ended."""
        for hospital in self.running:
            if hospital.process is not None and hospital.process.poll() is not None:
                raise _ended(hospital)

    def kill(self, hospital: Hospital) -> None:
        """End a daemon as a power cut would."""
        self._signal([hospital], signal.SIGKILL)
        self._reap([hospital], STOP_TIMEOUT_S)

    def stop(self, hospitals: Sequence[Hospital]) -> None:
        """Stop daemons and wait for their end; one that takes too long, or a second Ctrl-C, has them killed."""
        try:
            self._signal(hospitals, signal.SIGTERM)
            self._reap(hospitals, STOP_TIMEOUT_S)
        finally:
            self._signal(hospitals, signal.SIGKILL)
            self._reap(hospitals, STOP_TIMEOUT_S)

    def _signal(self, hospitals: Sequence[Hospital], number: signal.Signals) -> None:
        for hospital in hospitals:
            if hospital.process is not None and hospital.process.poll() is None:
                hospital.process.send_signal(number)

    def _reap(self, hospitals: Sequence[Hospital], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for hospital in hospitals:
            if hospital.process is None:
                continue
            with contextlib.suppress(subprocess.TimeoutExpired):
                hospital.process.wait(max(0.0, deadline - time.monotonic()))
                hospital.process = None
                if hospital.ready_fd is not None:
                    os.close(hospital.ready_fd)
                    hospital.ready_fd = None


def _ended(hospital: Hospital) -> Unavailable:
    code = hospital.process.wait() if hospital.process is not None else None
    with environment("read", hospital.home.output):
        lines = hospital.home.output.read_text(errors="replace").strip().splitlines()
    how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
    return Unavailable(f"the daemon of {hospital.name} ended {how}: {lines[-1] if lines else 'it said nothing'}")


# --- making it ------------------------------------------------------------------------------------------------

def found_federation(
    folder: Path, name: str, tables: Sequence[Path], studies: Sequence[StudySpec],
    ports: Sequence[tuple[int, int]] | None = None,
) -> LocalFederation:
    """Make a home for each table and the genesis file of all, as `fednode init` and `fednode genesis create` do.

    Homes are numbered in member order, which is that of the public keys; so the same tables always go to the same
    members. `ports`: where each listens and where the others are told to reach it; free ones if left out.
    """
    from fednode.cli.reading import read_card
    from fednode.crypto import Secret
    from fednode.home.keystore import SystemEntropy, create_keystore
    from fednode.learn.study import study_bytes
    from fednode.ledger.genesis import GenesisStudy, genesis_to_toml, make_genesis
    from fednode.rounds.terms import terms_from_spec

    passphrase = Secret(secrets.token_hex(16).encode())
    made: list[tuple[Keys, Path]] = []
    for number in range(len(tables)):
        home = Home(folder / f"new-{number}")
        home.create()
        made.append((create_keystore(home.keystore, passphrase, SystemEntropy()), home.root))
    made.sort(key=lambda entry: entry[0].public.sign)
    hospitals = []
    ports = ports or [(port, port) for port in free_ports(len(tables))]
    for number, ((keys, root), table, port) in enumerate(zip(made, tables, ports, strict=True), 1):
        home = Home(root.rename(folder / f"hospital-{number}"))
        _write_config(home, number, port, table, passphrase.reveal(), keys)
        hospitals.append(Hospital(number, home, table))
    cards = [read_card(hospital.home.card) for hospital in hospitals]
    agreed = [GenesisStudy(terms_from_spec(study), study_bytes(study)) for study in studies]
    text = genesis_to_toml(make_genesis(name, cards, agreed, time.time_ns() // 1_000_000)).encode()
    for path in (folder / "genesis.toml", *(hospital.home.genesis for hospital in hospitals)):
        write_atomic(path, text, PUBLIC_FILE)
    return LocalFederation(folder / "genesis.toml", hospitals)


def _write_config(
    home: Home, number: int, ports: tuple[int, int], table: Path, passphrase: bytes, keys: Keys
) -> None:
    from fednode.cli.card import write_card
    from fednode.home.config import config_template, load_config

    listen, advertise = (f"/ip4/127.0.0.1/tcp/{port}" for port in ports)
    text = config_template(f"Hospital {number}", (listen,), (advertise,), str(table.absolute()))
    write_atomic(home.keystore.parent / "passphrase", passphrase + b"\n")
    write_atomic(home.config, text.replace("#passphrase_file", "passphrase_file").encode())
    write_card(home.card, load_config(home.config, {}, home.root).values, keys, is_trial=True)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on.

    They lie below those the kernel gives to outgoing connections: while a daemon is away, another's connection might
    otherwise take its port, or reach itself on it.
    """
    with environment("read", _PORT_RANGE):
        highest = int(_PORT_RANGE.read_text().split()[0]) if _PORT_RANGE.exists() else 32_768
    found: list[int] = []
    candidates = list(range(LOWEST_PORT, highest)) or list(range(1024, 65_536))
    random.shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Unavailable(f"there are no {count} free ports on this machine; end some programs that listen")


# --- around it ------------------------------------------------------------------------------------------------

def clean_environment() -> dict[str, str]:
    """Return the environment without settings meant for another home."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def shipped_study(dataset: str) -> Path:
    """Return the study file that comes with fednode: from the checkout, or from where the installer put it."""
    name = f"{dataset.replace('-', '_')}.toml"
    beside = Path(fednode.__file__).resolve().parents[1] / "genesis" / name
    if beside.is_file():
        return beside
    from importlib import metadata  # slow to import, and only an installed package needs it

    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files("fednode") or ():
            if file.name == name and (found := Path(str(file.locate())).resolve()).is_file():
                return found
    raise Unavailable(f"the study file {name} did not come with this installation; give yours with --data and --schema")


def run_demo_data(*arguments: str | Path) -> Record:
    """Run the command of the worker that splits and measures data; relay its error in the class of its exit code."""
    return run_module("fednode.worker.demo_data", *arguments, purpose="prepares the data")


def run_module(module: str, *arguments: str | Path, purpose: str) -> Record:
    """Return what a module prints as JSON in a process of its own; relay its error in the class of its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=clean_environment(), check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        text = lines[-1] if lines else f"the process that {purpose} ended with code {done.returncode}"
        raise error_of(text, done.returncode)
    return as_record(read_json(done.stdout))


def bench_federation(folder: Path, members: int, say: Say) -> LocalFederation:
    """Return a federation of hospitals that share out the data set benchmarks train on; nothing is started."""
    say("splitting the data and making keys")
    found = run_demo_data(
        "split", "--dataset", BENCH_DATASET, "--members", str(members), "--seed", "1", "--out", folder / "data"
    )
    return found_federation(folder, "bench", [Path(path) for path in found["members"]], [])


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind this process as Ctrl-C does, so that its daemons end with it."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until(
    federation: LocalFederation, question: Callable[[], T | None], what: str, timeout_s: float, every_s: float = POLL_S
) -> T:
    """Ask again and again until the answer is not None; raise `Unavailable` if `what` takes longer than that."""
    deadline = time.monotonic() + timeout_s
    while True:
        federation.check_running()
        with contextlib.suppress(Unavailable):
            if (answer := question()) is not None:
                return answer
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} took longer than {timeout_s:g} s; try again on a less busy machine")
        time.sleep(every_s)


# --- measuring it ---------------------------------------------------------------------------------------------

CONNECT_TIMEOUT_S = 300.0


def wait_connected(federation: LocalFederation, hospital: Hospital) -> None:
    """Return once a hospital reaches every other."""
    others = len(federation.hospitals) - 1

    def is_connected() -> bool | None:
        return True if hospital.ask_record("status")["connected"] == others else None

    wait_until(federation, is_connected, f"connecting {hospital.name} to every other", CONNECT_TIMEOUT_S, 0.02)


def cpu_seconds(hospital: Hospital) -> float:
    """Return the processor time a daemon has used, read from outside so that asking costs it nothing."""
    assert hospital.process is not None, "only running daemons are measured"
    return process_cpu_seconds(hospital.process.pid)


def process_cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` of all do not exceed."""
    return sorted(values)[-(-percent * len(values) // 100) - 1]
