"""What the ledger remembers of the round that a study is in, and of what was used in it; where it keeps the long bodies
of a secure sum, and how they are read.

All members of tuples are ascending unless said otherwise. Times are milliseconds of block time and are kept for
reports only: no rule compares them, because a chain has no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.chain.state import Draft, Source
from fednode.codec import U8, U16, U32, U64, Bytes32, Range, Size
from fednode.crypto import Domain, tagged_hash
from fednode.ids import MemberId, fault_bound
from fednode.ledger.studies.bodies import Result
from fednode.sums.attempt import Attempt
from fednode.sums.bodies import Confirm, Keys, Member, Members, Proof, Recheck, Redeal, ShareRoot
from fednode.sums.bounds import MAX_WORDS, Strength, min_included, strength_of
from fednode.sums.phase import Phase

Text = Annotated[str, Size(0, 300)]


class RoundKind(IntEnum):
    """What a round sums: feature statistics, trained updates (with metrics), or metrics of the last model alone."""

    STATISTICS = 0
    TRAINING = 1
    CLOSING = 2


# --- coins, beyond a round ---------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class CoinHead:
    """How far a member's hash chain is known: `link` is link `index` of the chain of `head`, which is link 0."""

    member: Member
    head: Bytes32
    link: Bytes32
    index: U32


@dataclass(frozen=True, slots=True)
class Coins:
    """The coins of a study: how many COIN phases it has opened (the number of the last link asked for), the chains,
    and how many rounds in a row failed because the opened sum was not the proven one."""

    opened: U32 = 0
    heads: tuple[CoinHead, ...] = ()
    mask_failures: U16 = 0

    @property
    def holders(self) -> frozenset[MemberId]:
        """The members that have a chain."""
        return frozenset(head.member for head in self.heads)


NO_COINS = Coins()


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Members that a round of the study named `faulty`, and who votes to let them take part again."""

    members: Members
    readmit_votes: Members = ()


# --- the round ---------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class SeenRecord:
    """Where a key point was used; it may never be used again."""

    study: Bytes32
    round: U32
    attempt: U16
    member: Member


Leashes = tuple[tuple[Member, U16], ...]
"""How often each member was left out of a phase because nobody could reach it."""


@dataclass(frozen=True, slots=True)
class OpenPhase:
    """A phase that is open: it ends when all expected have posted or q `expire` votes name its `number`.

    `gone_votes` are pairs of a voter and the members it cannot reach: those whom q name are not waited for.

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
    gone_votes: tuple[tuple[Member, Members], ...] = ()
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


# --- where the long bodies are, and how they are read ------------------------------------------------------------

def seen_key(point: bytes) -> bytes:
    """Key under which a used key point is remembered."""
    return b"seen/" + point


def coin_seen_key(member: int, head: bytes) -> bytes:
    """Key under which a member's hash chain is remembered.

    Not the head alone: it could be copied from a message that waits in the pools, and its owner would be kept out.
    """
    return seen_key(tagged_hash(Domain.STATE, b"coin head", member.to_bytes(2, "big"), head))


def _key(prefix: bytes, study: bytes, number: int, attempt: int, member: int) -> bytes:
    return prefix + study + number.to_bytes(4, "big") + attempt.to_bytes(2, "big") + member.to_bytes(2, "big")


def keys_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of the keys a member posted in an attempt."""
    return _key(b"keys/", study, number, attempt, member)


def share_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of the sketch and roots a member posted in an attempt."""
    return _key(b"share/", study, number, attempt, member)


def proof_key(study: bytes, number: int, attempt: int, member: int, part: int) -> bytes:
    """Key of one part of a member's answers to the proofs of an attempt."""
    return _key(b"proof/", study, number, attempt, member) + bytes([part])


def recheck_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of what a member found when it added up all masked chunks of an attempt itself."""
    return _key(b"recheck/", study, number, attempt, member)


def redeal_key(study: bytes, number: int, attempt: int, dealer: int, holder: int) -> bytes:
    """Key of what a dealer dealt again to a holder in an attempt."""
    return _key(b"redeal/", study, number, attempt, dealer) + holder.to_bytes(2, "big")


def confirm_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of a member's answers to the confirm query of an attempt."""
    return _key(b"confirm/", study, number, attempt, member)


def get_redeal(
    source: Source, study: bytes, number: int, attempt: int, dealer: MemberId, holder: MemberId
) -> Redeal | None:
    """Return what a dealer dealt again to a holder in an attempt of the running round."""
    return source.read(redeal_key(study, number, attempt, dealer, holder), Redeal)


def get_confirm(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> Confirm | None:
    """Return a member's answers to the confirm query of an attempt of the running round."""
    return source.read(confirm_key(study, number, attempt, member), Confirm)


def get_recheck(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> Recheck | None:
    """Return what a member found in RECHECK of an attempt of the running round."""
    return source.read(recheck_key(study, number, attempt, member), Recheck)


def get_share_root(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> ShareRoot | None:
    """Return the sketch and roots a member posted in an attempt of the running round."""
    return source.read(share_key(study, number, attempt, member), ShareRoot)


def get_answers(
    source: Source, study: bytes, number: int, attempt: int, member: MemberId, part: int
) -> Proof | None:
    """Return one part of the answers a member posted in an attempt of the running round."""
    return source.read(proof_key(study, number, attempt, member, part), Proof)


def get_keys(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> Keys | None:
    """Return the keys a member posted in an attempt of the running round."""
    return source.read(keys_key(study, number, attempt, member), Keys)


def is_point_seen(source: Source, point: bytes) -> bool:
    """Whether a key point was ever used on this chain."""
    return source.read(seen_key(point), SeenRecord) is not None


def strength_in(record: RoundRecord) -> Strength:
    """Return how hard the round's sum is bound."""
    return strength_of(len(record.members))


def count_parts(record: RoundRecord) -> int:
    """Return how many messages a holder's answers about all of U take."""
    return -(-len(record.attempt.included) // strength_in(record).dealers_a_part)


def dealers_of_part(record: RoundRecord, part: int) -> tuple[MemberId, ...]:
    """Return the dealers whose proofs part `part` answers, in order."""
    size = strength_in(record).dealers_a_part
    return record.attempt.included[part * size : (part + 1) * size]


def forget_checks(draft: Draft, record: RoundRecord) -> None:
    """Delete the long bodies of the record's attempt: it is void, or its round is over."""
    attempt = record.attempt
    place = (record.study, record.number, attempt.number)
    for member in attempt.shared:
        draft.write(share_key(*place, member), None)
    for member, _, parts in attempt.answered:
        for part in parts:
            draft.write(proof_key(*place, member, part), None)
    for dealer, holder in attempt.redealt:
        draft.write(redeal_key(*place, dealer, holder), None)
    for member in attempt.confirmed:
        draft.write(confirm_key(*place, member), None)
    if record.phase.kind == Phase.RECHECK:
        for member in record.phase.posted:
            draft.write(recheck_key(*place, member), None)


def answered_members(record: RoundRecord) -> tuple[MemberId, ...]:
    """Return the members that answered the proofs of all dealers."""
    whole = count_parts(record)
    return tuple(member for member, _, parts in record.attempt.answered if len(parts) == whole)
