"""Checks of points, proofs and opened scalars, and what the answers to the proofs come to: pure, and remembered.

Security assumption: every function here is pure, so remembering a verdict cannot change it. A transaction is checked
when it enters the pool, when a leader picks it and when the block runs; the arithmetic is done once.

At most f of the N members lie. Then a value through which N - f answers pass is the only one (`sums.shares`); for an
honest dealer it is the true one, whatever f holders answer. So only a dealer whose shares decode to a false statement
is at fault; one whose answers do not decode may have been kept from its holders.

numpy is loaded on first use: nodes whose studies have no proofs, and every command that reads a ledger, start
without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from fednode.crypto import (
    Secret,
    are_commitments_valid,
    base_times,
    is_knowledge_proven,
    is_share_valid,
    scalar_from_bytes,
    x25519,
)
from fednode.errors import Rejected
from fednode.ids import MemberId
from fednode.sums.attempt import SumContext
from fednode.sums.bounds import OUTPUTS, strength_of
from fednode.sums.coin import is_link
from fednode.sums.equal_logs import are_logs_equal

# --- points, proofs of knowledge, opened scalars -----------------------------------------------------------------

_REMEMBERED = 2048
_PROBE = Secret(b"\x01" * 32)
"""Any scalar does: X25519 gives zero, for every scalar, exactly when the key has low order."""


@lru_cache(_REMEMBERED)
def are_points_valid(points: tuple[bytes, ...]) -> bool:
    """Whether a dealer's commitments may be used, the key point first; see `crypto.are_commitments_valid`."""
    return are_commitments_valid(points)


@lru_cache(_REMEMBERED)
def is_key_proven(point: bytes, context: bytes, proof: bytes) -> bool:
    """Whether the maker of a valid point knows its scalar."""
    return is_knowledge_proven(point, context, proof)


@lru_cache(_REMEMBERED)
def is_opened_share_valid(points: tuple[bytes, ...], holder: int, share: bytes) -> bool:
    """Whether `share` is a canonical scalar on the polynomial committed to by valid `points`, at `holder`."""
    try:
        value = scalar_from_bytes(share)
    except Rejected:
        return False
    return is_share_valid(points, holder, value)


@lru_cache(_REMEMBERED)
def is_shared_point(holder_point: bytes, dealer_point: bytes, shared: bytes, context: bytes, proof: bytes) -> bool:
    """Whether `shared` is proven to be the holder's scalar times the dealer's point: the key of what was redealt."""
    return are_logs_equal(holder_point, dealer_point, shared, context, proof)


@lru_cache(_REMEMBERED)
def is_opened_scalar(point: bytes, scalar: bytes) -> bool:
    """Whether `scalar` is canonical and `scalar` * G is `point`."""
    try:
        value = scalar_from_bytes(scalar)
    except Rejected:
        return False
    return value != 0 and base_times(value) == point


@lru_cache(_REMEMBERED)
def is_seal_key_valid(key: bytes) -> bool:
    """Whether something can be sealed to an X25519 key: it is not of low order."""
    try:
        x25519(_PROBE, key)
    except Rejected:
        return False
    return True


@lru_cache(_REMEMBERED)
def is_next_link(known: bytes, known_index: int, link: bytes, index: int) -> bool:
    """Whether `link` is link `index` of the chain of which `known` is link `known_index`; up to 65536 hashes."""
    return is_link(known, known_index, link, index)


# --- answers and openings ----------------------------------------------------------------------------------------

Told = tuple[tuple[MemberId, bytes], ...]
"""(member, the bytes it posted), ascending."""


class Verdict(Enum):
    """What the answers say of one dealer."""

    PROVEN = 1
    FALSE = 2
    UNDECIDED = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the holders whose answers carry it: they hold shares of the one statement that counts."""

    verdict: Verdict
    holders: tuple[MemberId, ...] = ()


def judge_dealers(answers: Sequence[tuple[MemberId, bytes]], dealers: int, member_count: int) -> tuple[Judged, ...]:
    """Return the verdict on each dealer of a part: `answers` are whole parts, of each of `dealers`."""
    verdicts, size = [], strength_of(member_count).answer_bytes
    for at in range(dealers):
        start = at * size
        told = tuple((member, data[start : start + size]) for member, data in answers)
        verdicts.append(judge(told, member_count))
    return tuple(verdicts)


@lru_cache(256)
def judge(told: Told, member_count: int) -> Judged:
    """Return the verdict on one dealer from what its holders answered; what is not as long as an answer is none."""
    import numpy as np

    from fednode.sums import field, norm, shares

    strength = strength_of(member_count)
    whole = [(int(member), data) for member, data in told if len(data) == strength.answer_bytes]
    words = np.frombuffer(b"".join(data for _, data in whole), field.FIELD)
    rows = words.reshape(len(whole), strength.answer_bytes // field.ELEMENT_BYTES)  # of nobody's answer, too
    answers = {member: row for (member, _), row in zip(whole, rows, strict=True)}
    degree, needed = shares.sharing_degree(member_count), shares.answers_needed(member_count)
    decoded = shares.decode(answers, degree, needed, member_count)
    if decoded is None:
        return Judged(Verdict.UNDECIDED)
    is_true = all(norm.is_valid(part) for part in decoded.value.reshape(strength.repetitions, -1))
    holders = tuple(MemberId(member) for member in decoded.members)
    return Judged(Verdict.PROVEN if is_true else Verdict.FALSE, holders)


@lru_cache(512)
def confirm_shares(told: Told, places: tuple[MemberId, ...], member_count: int) -> tuple[bytes, ...] | None:
    """Return what the proven shares of one dealer at `places` answer to the confirm query; None if that is undecided.

    `told` are answers of the size they must have. Only what members told whose answers carried the dealer's proof may
    come here. What was dealt again may lie on another polynomial: with liars of those whose shares are proven, on as
    many points as count.
    """
    import numpy as np

    from fednode.sums import field, shares

    answers = {int(member): np.frombuffer(data, field.FIELD) for member, data in told}
    degree, needed = shares.sharing_degree(member_count), shares.answers_needed(member_count)
    decoded = shares.decode(answers, degree, needed, member_count)
    if decoded is None:
        return None
    return tuple(field.to_bytes(shares.share_at(decoded, answers, degree, int(place))) for place in places)


@lru_cache(512)
def is_box_right(
    box: bytes, shared: bytes, context: SumContext, pair: tuple[MemberId, MemberId], seed: bytes, answer: bytes
) -> bool:
    """Whether a box of `pair` (dealer, holder), opened with its shared point, holds a share that gives this answer."""
    from fednode.sums import field, norm, redeal

    held = redeal.show_held(box, shared, context, *pair, len(box) // field.ELEMENT_BYTES)
    if held is None:
        return False
    challenges = norm.draw_confirm(seed, len(answer) // field.ELEMENT_BYTES)
    return field.to_bytes(norm.confirm(held, challenges)) == answer


def is_opening(data: bytes, words: int) -> bool:
    """Whether bytes are the field elements, 8 little endian each, of an opening with `words` of measures."""
    from fednode.sums import field

    return field.from_bytes(data, OUTPUTS + 1 + words) is not None


@lru_cache(64)
def open_sums(told: Told, words: int, member_count: int) -> bytes | None:
    """Return what openings with `words` of measures decode to, elements of F, or None while too few are right.

    It is the summed sketch, weight and measures, each hidden by a number that members of the sum know and the ledger
    does not.

    Only what members told whose own answers carried the verdict on every dealer may come here: then the honest ones
    of any N - f shares, N - 2 f at least, are shares of exactly what was proven. A holder that a dealer gave another
    share would bring that into the sum, with liars that choose theirs to fit it.
    """
    from fednode.sums import field, shares

    degree, needed = shares.sharing_degree(member_count), shares.answers_needed(member_count)
    if len(told) < needed:
        return None
    answers = {int(member): field.from_bytes(data, OUTPUTS + 1 + words) for member, data in told}
    right = {member: answer for member, answer in answers.items() if answer is not None}
    decoded = shares.decode(right, degree, needed, member_count)
    if decoded is None:
        return None
    return field.to_bytes(decoded.value)
