"""What a daemon does about its own files while it runs: a hangup signal, a changed configuration, a mended table.

SIGHUP (systemctl reload, logrotate's postrotate) begins journal and log anew where they were moved, and reads the
configuration again: tables and agreements beforehand count at once, everything else with the next start. A
configuration that cannot be read leaves the old one in force. Where the daemon runs in a terminal that was closed, the
signal ends it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import trio

from fednode.errors import FednodeError
from fednode.home.config import HospitalConfig
from fednode.home.files import PRIVATE_FILE
from fednode.ids import StudyId
from fednode.learn.jobs import DataAt
from fednode.node.reactor import Reactor

LOOK_AT_TABLES_S = 3.0
"""How often a table that did not fit is looked at (its name, size and time), so that a mended one is used."""

AT_ONCE = {"data", "study"}
"""Sections of the configuration that count as soon as they are read again."""

Stamp = tuple[int, int, int] | None


class Upkeep:
    """The configuration in force, and how to read it again."""

    def __init__(self, config: HospitalConfig, read: Callable[[], HospitalConfig] | None) -> None:
        self.config = config
        self._read = read
        self._begun_in_terminal = os.isatty(0)
        self._logs = [fd for fd in (1, 2) if _is_file(fd, config.home.output)]

    def data_of(self, name: str, study: StudyId) -> DataAt | None:
        """Return the table for a study, as the configuration names it now."""
        return self.config.data_at(name, study)

    def is_auto_approved(self, study: StudyId) -> bool:
        """Whether the administrator has agreed beforehand to this study."""
        return self.config.is_auto_approved(study)

    @property
    def is_left_alone(self) -> bool:
        """Whether the terminal this daemon was started in has gone."""
        return self._begun_in_terminal and not os.isatty(0)

    def hang_up(self, reactor: Reactor) -> None:
        """Do what SIGHUP asks for."""
        self._reopen_logs()
        journal = reactor.parts.journal
        if journal is not None:
            journal.reopen()
        if self._read is None:
            return
        try:
            new = self._read()
        except FednodeError as error:
            reactor.problems.begin("configuration", f"the configuration in force is the old one: {error}")
            return
        reactor.problems.end("configuration", "restart")
        old, self.config = self.config, new
        changed = [name for name in type(new).model_fields if getattr(new, name) != getattr(old, name)]
        if later := [name for name in changed if name not in AT_ONCE]:
            sections = ", ".join(f"[{name}]" for name in later)
            reactor.problems.begin("restart", f"{sections} of the configuration changed; restart the daemon to use it")
        if journal is not None:
            journal.write("configuration-read", changed=tuple(changed))
        if "data" in changed:
            for study, machine in reactor.core.studies.running():
                data = self._table_of(reactor, study)
                if data != machine.data:
                    reactor.look_at_table(study, data)

    async def watch_tables(self, reactor: Reactor) -> None:
        """Check a table again when its file has changed after it did not fit; runs until cancelled."""
        seen: dict[StudyId, Stamp] = {}
        while True:
            await trio.sleep(LOOK_AT_TABLES_S)
            for study, machine in reactor.core.studies.running():
                if machine.problem is None or machine.data is None:
                    continue
                stamp = _stamp(machine.data.path)
                if study not in seen or seen[study] != stamp:  # it may have been mended before the first look
                    seen[study] = stamp
                    reactor.look_at_table(study, self._table_of(reactor, study))

    def _table_of(self, reactor: Reactor, study: StudyId) -> DataAt | None:
        spec = reactor.core.studies.spec_of(study)
        return None if spec is None else self.data_of(spec.name, study)

    def _reopen_logs(self) -> None:
        """Write on in the log file of its name, if that one was moved away."""
        with contextlib.suppress(OSError):
            for fd in self._logs:
                if not _is_file(fd, self.config.home.output):
                    new = os.open(self.config.home.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
                    os.dup2(new, fd)
                    os.close(new)


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether a descriptor is open on the file that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
