"""What the ledger remembers of the round that a study is in, and of what was used in it.

All members of tuples are ascending unless said otherwise. Times are milliseconds of block time and are kept for
reports only: no rule compares them, because a chain has no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.codec import U8, U16, U32, U64, Bytes32, Range, Size
from fednode.ids import MemberId, fault_bound
from fednode.ledger.studies.bodies import Result
from fednode.ledger.sums.records import NO_COINS, Coins
from fednode.sums.attempt import Attempt
from fednode.sums.bodies import Member, Members
from fednode.sums.bounds import MAX_WORDS, min_included

Text = Annotated[str, Size(0, 300)]


class RoundKind(IntEnum):
    """What a round sums: feature statistics, trained updates (with metrics), or metrics of the last model alone."""

    STATISTICS = 0
    TRAINING = 1
    CLOSING = 2


@dataclass(frozen=True, slots=True)
class SeenRecord:
    """Where a key point was used; it may never be used again."""

    study: Bytes32
    round: U32
    attempt: U16
    member: Member


@dataclass(frozen=True, slots=True)
class OpenPhase:
    """A phase that is open: it ends when all expected have posted or q `expire` votes name its `number`.

    `number` counts every phase ever opened in the study; `step` counts roster steps; `is_reopened` marks the second
    chance of SUMACK; `timeout_ms` is how long each member waits, by its own timer, before it votes.
    """

    number: U32
    kind: U8
    step: U8
    opened_height: U64
    opened_ms: U64
    timeout_ms: U32
    expected: Members
    posted: Members = ()
    expire_votes: Members = ()
    is_reopened: bool = False


@dataclass(frozen=True, slots=True)
class Absence:
    """A member that a phase ended without, once per round; no blame."""

    member: Member
    phase: U8
    attempt: U16


@dataclass(frozen=True, slots=True)
class VoidAttempt:
    """An attempt that opened nothing: in which phase and why, and whom the next attempt goes on without."""

    attempt: U16
    phase: U8
    reason: Text
    dropped: Members


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """When a phase was open, and whether votes ended it."""

    attempt: U16
    phase: U8
    step: U8
    opened_height: U64
    opened_ms: U64
    closed_height: U64
    closed_ms: U64
    is_expired: bool


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The round a study is in.

    `members` are all members of the ledger when it opened (they fix N, f, T and q), `expected` those ready then,
    with the seal keys they had; `next_keys` are for the round to come; `barred` take no part in later attempts;
    `pinned` is the only set that may be unmasked, if any; `is_unmasked` is the one Unmask of the round; `ballots` are
    pairs (member, result). `coins` are those of the study when the round opened, with what has been revealed since.
    `words` of measures are opened.
    """

    study: Bytes32
    number: U32
    kind: U8
    members: Members
    expected: Members
    seal_keys: tuple[tuple[Member, Bytes32], ...]
    start_model: Bytes32
    pinned: Members | None
    opened_height: U64
    opened_ms: U64
    phase: OpenPhase
    attempt: Attempt
    is_unmasked: bool = False
    absent: tuple[Absence, ...] = ()
    barred: Members = ()
    faulty: Members = ()
    voids: tuple[VoidAttempt, ...] = ()
    spans: tuple[PhaseSpan, ...] = ()
    next_keys: tuple[tuple[Member, Bytes32], ...] = ()
    ballots: tuple[tuple[Member, Result], ...] = ()
    coins: Coins = NO_COINS
    words: Annotated[int, Range(0, MAX_WORDS)] = 0

    @property
    def fault_bound(self) -> int:
        """f."""
        return fault_bound(len(self.members))

    @property
    def threshold(self) -> int:
        """T = N - f: shares that open a scalar, and also the quorum of the ledger."""
        return len(self.members) - self.fault_bound

    @property
    def min_included(self) -> int:
        """max(N - f, 3)."""
        return min_included(len(self.members))

    @property
    def absent_members(self) -> frozenset[MemberId]:
        """Members that are not waited for again in this round."""
        return frozenset(absence.member for absence in self.absent)
