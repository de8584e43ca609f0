"""What a hospital keeps of its own from round to round, for algorithms that need it.

A round gives a new state before it is known whether the round counts: the attempt may be void, or this hospital left
out. So each state is kept under the round that made it, durably, before anything of that round's update is posted, and
a later round starts from the newest whose round the ledger says counted with this hospital in the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fednode.ids import MemberId
from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.studies.records import RoundReport


class OwnStates(Protocol):
    """The states one study keeps in this hospital's home, encrypted. Safe in a thread."""

    def rounds(self) -> tuple[int, ...]:
        """Return the rounds of which a state is kept, in ascending order."""

    def load(self, round_number: int) -> bytes:
        """Return the state that a round made; raise `StorageError` if it cannot be read."""

    def keep(self, round_number: int, state: bytes) -> None:
        """Keep the state that a round made; on return it is on the disk."""

    def forget(self, round_number: int) -> None:
        """Delete the state that a round made."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadOwn:
    """Find the state that round `number` starts from, and delete those that no round will start from. Result:
    `OwnLoaded`; `find_report` reads the ledger."""

    states: OwnStates = field(repr=False)
    number: int
    me: MemberId
    find_report: Callable[[int], RoundReport | None] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class OwnLoaded:
    """The state, b"" if there is none."""

    state: bytes = field(repr=False)


def load_own(job: LoadOwn) -> OwnLoaded:
    """Do the work of `LoadOwn`; raise `StorageError` if the state cannot be read."""
    chosen: int | None = None
    for made in reversed(job.states.rounds()):
        if made >= job.number:
            continue  # of an attempt at this round before a restart; it will be made again, the same
        report = job.find_report(made)
        has_counted = report is not None and report.outcome == Outcome.OK and job.me in report.counted
        if chosen is None and has_counted:
            chosen = made
        else:
            job.states.forget(made)
    return OwnLoaded(b"" if chosen is None else job.states.load(chosen))
