"""What a hospital keeps of its own from round to round, for algorithms that need it.

A round gives a new state before it is known whether the round counts: the attempt may be void, or this hospital left
out. So each state is kept under the round that made it, durably, before anything of that round's update is posted, and
a later round starts from the newest whose round the ledger says counted with this hospital in the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fednode.errors import StorageError
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
class OwnLoaded:
    """The state, b"" if there is none."""

    state: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoOwn:
    """The state cannot be read."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class LoadOwn:
    """Find the state that round `number` starts from, and delete those that no round will start from; `find_report`
    reads the ledger."""

    states: OwnStates = field(repr=False)
    number: int
    me: MemberId
    find_report: Callable[[int], RoundReport | None] = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Never: a state may be as long as a model."""
        return False

    def run(self) -> OwnLoaded | NoOwn:
        """Look at the states from the newest on."""
        try:
            return self._load()
        except StorageError as error:
            return NoOwn(str(error))

    def _load(self) -> OwnLoaded:
        chosen: int | None = None
        for made in reversed(self.states.rounds()):
            if made >= self.number:
                continue  # of an attempt at this round before a restart; it will be made again, the same
            report = self.find_report(made)
            has_counted = report is not None and report.outcome == Outcome.OK and self.me in report.counted
            if chosen is None and has_counted:
                chosen = made
            else:
                self.states.forget(made)
        return OwnLoaded(b"" if chosen is None else self.states.load(chosen))
