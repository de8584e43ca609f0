"""`fednode doctor`: everything that usually goes wrong at a site, each with its fix."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fednode.cli.ask import ask_for
from fednode.cli.show import print_json, print_table
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.desk import questions
from fednode.desk.control_client import NotRunning
from fednode.errors import FednodeError
from fednode.home.files import daemon_pid, describe

if TYPE_CHECKING:
    from fednode.home.config import HospitalConfig
    from fednode.home.keystore import PublicKeys
    from fednode.learn.study import StudySpec
    from fednode.ledger.genesis import Genesis

NEEDED_MEMORY_MB = 800
"""A daemon with its training process: about 260 MB and 350 MB."""

CLOCK_AHEAD_MS = 5_000
"""How far in the future a block may be for the rules; a clock further behind would vote against every block."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `ok` is None where it could not be made; a warning is no failure."""

    check: str
    ok: bool | None
    detail: str
    fix: str = ""
    is_warning: bool = False

    @property
    def result(self) -> str:
        """The result in a word."""
        return "WARNING" if self.is_warning else {True: "PASSED", False: "FAILED", None: "skipped"}[self.ok]


class _Skip(Exception):
    """The check needs something that is not there; the reason is its text."""


class _Warn(Exception):
    """The check passed, and somebody should look at what the text says; `fix` tells where."""

    def __init__(self, text: str, fix: str = "'fednode data check' shows every column") -> None:
        super().__init__(text)
        self.fix = fix


@command(
    "doctor",
    example="fednode doctor\nfednode doctor --format json\nfednode doctor --no-data\nfednode doctor --egress\n"
    "fednode doctor --egress --all",
)
@click.option("--egress", is_flag=True, help="Instead tell in ten lines what leaves this site, and to whom.")
@click.option("-a", "--all", "is_all", is_flag=True, help="With --egress: every message, and what it is made from.")
@click.option("--data/--no-data", "with_data", default=True, help="Also check the tables, in a worker process.")
@format_option
@pass_site
def doctor(site: Site, egress: bool, is_all: bool, with_data: bool, as_json: bool) -> None:
    """Check what usually goes wrong, with the fix. Changes nothing."""
    if egress:
        from fednode.cli.egress import show_egress

        show_egress(site, is_all, as_json)
        return
    visit = _Visit(site)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("configuration", visit.configuration),
        ("home", visit.home),
        ("keystore", visit.keystore),
        ("genesis", visit.genesis_file),
        ("identity", visit.identity),
        ("port", visit.port),
        ("clock", visit.clock),
        ("disk", visit.disk),
        ("memory", visit.memory),
        ("storage", visit.storage),
        ("daemon", visit.daemon),
        ("members reachable", visit.reachable),
        ("members sign", visit.signing),
        ("studies", visit.studies),
    ]
    findings = [_examine(name, check) for name, check in checks]
    if with_data:
        findings += visit.data()
    if as_json:
        print_json([
            {"check": f.check, "ok": f.ok, "result": f.result.lower(), "detail": f.detail, "fix": f.fix or None}
            for f in findings
        ])
    else:
        print_table(["check", "result", "what was found", "how to fix"],
                    [(f.check, f.result, f.detail, f.fix) for f in findings])
    failed = [finding.check for finding in findings if finding.ok is False]
    named = ", ".join(failed)
    if failed:
        raise FednodeError(f"{len(failed)} of {len(findings)} checks failed ({named}); fix the first one first")


def _examine(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except _Skip as reason:
        return Finding(name, None, str(reason))
    except _Warn as warning:
        return Finding(name, True, str(warning), warning.fix, is_warning=True)
    except FednodeError as error:
        cause, _, fix = str(error).partition("; ")
        return Finding(name, False, cause, fix)
    except OSError as error:
        cause, _, fix = f"cannot use {error.filename}: {describe(error)}".partition("; ")
        return Finding(name, False, cause, fix)


class _Visit:
    """The checks, and what earlier ones found for later ones to use."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._values: HospitalConfig | None = None
        self._keys: PublicKeys | None = None
        self._genesis: Genesis | None = None

    @property
    def values(self) -> HospitalConfig:
        if self._values is None:
            raise _Skip("needs a configuration that loads")
        return self._values

    @property
    def keys(self) -> PublicKeys:
        if self._keys is None:
            raise _Skip("needs a keystore that loads")
        return self._keys

    @property
    def genesis(self) -> Genesis:
        if self._genesis is None:
            raise _Skip("needs a genesis file that loads")
        return self._genesis

    def configuration(self) -> str:
        self._values = self._site.load().values
        return str(self._site.config_path)

    def home(self) -> str:
        root = self.values.home.root
        if not root.is_dir():
            raise FednodeError(f"there is no home {root}; make it with 'fednode init', or give the right --home")
        if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
            raise FednodeError(f"this account may not write to {root}; run as the account that owns it")
        if mode := root.stat().st_mode & 0o077:
            raise FednodeError(f"other accounts may enter {root} (mode {mode:03o}); run: chmod 700 {root}")
        return str(root)

    def keystore(self) -> str:
        from fednode.home.keystore import read_passphrase_file, read_public_keys

        self._keys = read_public_keys(self.values.home.keystore)
        if self.values.keys.passphrase_file is not None:
            read_passphrase_file(self.values.keys.passphrase_file)
        return f"peer id {self._keys.peer_id}"

    def genesis_file(self) -> str:
        from fednode.cli.reading import read_genesis

        self._genesis = read_genesis(self.values.genesis_path)
        if self.values.home.chain.exists() and not self._is_founder():
            return f"'{self._genesis.name}'; this hospital is no founder, its daemon knows whether it is a member"
        member = self._genesis.member_of(self.keys.sign)
        return f"member {member} of {len(self._genesis.members)} in '{self._genesis.name}'"

    def _is_founder(self) -> bool:
        return any(card.sign_key == self.keys.sign for card in self.genesis.members)

    def identity(self) -> str:
        if not self._is_founder():
            return "no founder; 'fednode member list' shows the card the ledger holds"
        card = next(card for _, card in self.genesis.numbered if card.sign_key == self.keys.sign)
        if card.network_key != self.keys.network:
            raise FednodeError("the network key differs from the genesis; restore the keystore of the identity card")
        addresses = self.values.network.advertise or self.values.network.listen
        if card.addresses != addresses:
            shown = ", ".join(card.addresses) or "nowhere"
            raise FednodeError(
                f"the others dial {shown}, configured is {', '.join(addresses)}; make both agree, "
                "or have a new genesis made from a new card ('fednode keys card')"
            )
        return f"'{card.name}' at {', '.join(card.addresses)}"

    def port(self) -> str:
        from fednode.p2p.addresses import parse_multiaddr

        if (pid := daemon_pid(self.values.home)) is not None:
            return f"held by our own daemon, process {pid}"
        for text in self.values.network.listen:
            address = parse_multiaddr(text)
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address.host, address.port))
                    probe.listen()
                except OSError as error:
                    reason = (error.strerror or str(error)).lower()
                    fix = "stop the other program or choose another [network] listen"
                    raise FednodeError(f"cannot listen on {text}: {reason}; {fix}") from None
        return f"free: {', '.join(self.values.network.listen)}"

    def clock(self) -> str:
        self._told_by_daemon("clock")
        now_ms, newest_ms, what = time.time_ns() // 1_000_000, self.genesis.time_ms, "the genesis"
        with contextlib.suppress(FednodeError):  # the daemon has a check of its own
            newest_ms, what = ask_for(self._site, questions.CHAIN_STATUS).time_ms, "the latest block"
        if now_ms + CLOCK_AHEAD_MS < newest_ms:
            behind = (newest_ms - now_ms) / 1000
            raise FednodeError(
                f"the clock is {behind:.0f} s behind the time of {what}; if another clock says that this one is right, "
                f"{what} was made with a clock that was ahead; else set this one, best by an NTP service"
            )
        return f"not behind {what}"

    def _told_by_daemon(self, words: str) -> None:
        """Raise the latest problem with these words that the running daemon shows in its status."""
        try:
            problems = ask_for(self._site, questions.STATUS).problems
        except FednodeError:
            return  # the daemon has a check of its own
        if found := [text for text in problems if words in text]:
            raise FednodeError(found[-1])

    def disk(self) -> str:
        free_mb = shutil.disk_usage(self.values.home.root).free >> 20 if self.values.home.root.is_dir() else None
        if free_mb is None:
            raise _Skip("needs a home")
        wanted = self.values.limits.min_free_disk_mb
        if free_mb < wanted:
            raise FednodeError(f"{free_mb} MB free where the home lies, {wanted} MB wanted; free some space")
        return f"{free_mb} MB free"

    def memory(self) -> str:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available_mb = int(lines["MemAvailable"].split()[0]) >> 10
        if available_mb < NEEDED_MEMORY_MB and daemon_pid(self.values.home) is None:
            text = f"{available_mb} MB of memory free, daemon and training take up to {NEEDED_MEMORY_MB} MB"
            raise FednodeError(f"{text}; end other programs or add memory")
        return f"{available_mb} MB available"

    def storage(self) -> str:
        """Open what a stopped daemon left: store, state and sign-state, as the next start would."""
        from fednode.chain.leveldb import open_store
        from fednode.home.sign_state import SignStateFile

        home = self.values.home
        if daemon_pid(home) is not None:
            self._told_by_daemon("damaged")
            return "nothing damaged since the daemon was started"
        if not home.chain.exists():
            raise _Skip("no store yet")
        store = open_store(home.chain, self.genesis)
        try:
            height = int(store.tip.height)
        finally:
            store.close()
        file = SignStateFile(home.sign_state)
        file.load(height)
        if file.damage is not None:
            raise FednodeError(file.damage)
        return f"{height} blocks, state and sign-state are whole"

    def daemon(self) -> str:
        if daemon_pid(self.values.home) is None:
            raise _Skip("not running; 'fednode start' starts it")
        status = ask_for(self._site, questions.STATUS)
        if not status.chain.is_signing:
            raise FednodeError(f"the daemon does not sign: {status.chain.not_signing_reason}; see 'fednode logs'")
        return f"process {status.pid}, height {status.chain.height}"

    def reachable(self) -> str:
        try:
            members = ask_for(self._site, questions.MEMBER_LIST)
        except NotRunning:
            raise _Skip("needs the running daemon") from None
        away = [m for m in members if not m.is_connected and not m.is_me]
        if away:
            named = ", ".join(f"{m.name} ({m.refused or 'no connection'})" for m in away)
            fix = "ask them whether their daemon runs, and both firewalls to let the address of their card through"
            raise FednodeError(f"not connected: {named}; {fix}")
        return f"all {len(members) - 1} others"

    def signing(self) -> str:
        try:
            chain = ask_for(self._site, questions.STATUS).chain
        except NotRunning:
            raise _Skip("needs the running daemon") from None
        for words in ("two machines", "another machine", "are needed", "behind the others", "no block has come"):
            self._told_by_daemon(words)
        return f"{len(chain.signing)} of {chain.members}"

    def studies(self) -> str:
        """Tell whether a study waits for this hospital, or went on without it."""
        try:
            studies = ask_for(self._site, questions.STUDY_LIST)
        except NotRunning:
            raise _Skip("needs the running daemon") from None
        told = [f"study '{study.name}': {study.own_part}" for study in studies if study.own_part]
        if told:
            raise _Warn("; ".join(told), "'fednode study show' and 'fednode round list' show the rest")
        return "none waits for this hospital or went on without it" if studies else "none yet"

    def data(self) -> Iterator[Finding]:
        """Check the table of every study, one finding for each."""
        studies = list(self._studies()) if self._genesis is not None and self._values is not None else []
        if not studies:
            yield Finding("data", None, "no study to check against; see 'fednode data check'")
        for spec, study_id in studies:
            yield _examine("data", partial(self._table, spec, study_id))

    def _studies(self) -> Iterator[tuple[StudySpec, bytes]]:
        """Return the studies of the genesis, and those that the running daemon knows and has a table for."""
        from fednode.learn.form import parse_study
        from fednode.learn.study import decode_study

        founded = {study.study: decode_study(study.spec) for study in self.genesis.studies}
        yield from ((spec, study_id) for study_id, spec in founded.items())
        try:
            later = ask_for(self._site, questions.STUDY_LIST)
            for study in later:
                study_id = bytes.fromhex(study.id)
                if study_id not in founded and study.has_data:
                    shown = ask_for(self._site, questions.STUDY_SHOW, study=study.id)
                    yield parse_study(shown.toml or "", f"study {study.name}"), study_id
        except FednodeError:
            return  # the daemon has a check of its own

    def _table(self, spec: StudySpec, study_id: bytes) -> str:
        from fednode.cli.data import check_table
        from fednode.learn.tables.verdicts import WARNING

        data = self.values.data_at(spec.name, study_id)
        if data is None:
            raise FednodeError(f"no table is configured for study '{spec.name}'; set default in [data]")
        path, checked = data.path, check_table(spec, data)
        if not checked.is_ok:
            raise FednodeError(f"{path} does not fit study '{spec.name}': {checked.complaint}")
        levels = spec.data.classes
        counts = ", ".join(f"{n} {level}" for n, level in zip(checked.class_rows, levels, strict=True))
        fits = f"{checked.rows} rows of {path} ({counts}) fit study '{spec.name}'"
        if warnings := [verdict.sentence for verdict in checked.verdicts if verdict.status == WARNING]:
            raise _Warn(f"{fits}; warning: {'; '.join(warnings)}")
        return fits
