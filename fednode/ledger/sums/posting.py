"""What a member may post in a running round: one function per kind of message.

Security assumption: as in `sums.phases`, which has looked already whether the message is one of the open phase and its
sender has a part in it. Every function returns the round with the message in it, or raises `Rejected` with a `Refusal`
code; none changes its arguments.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from fednode.chain.state import Draft
from fednode.codec import encode
from fednode.ids import MemberId
from fednode.ledger.members.reading import get_chain
from fednode.ledger.records import RoundKind, RoundRecord, SeenRecord
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import Expire, Outcome, Result, StudyTerms, Weights
from fednode.ledger.sums.point_checks import (
    are_points_valid,
    is_key_proven,
    is_opened_scalar,
    is_opened_share_valid,
    is_seal_key_valid,
)
from fednode.ledger.sums.reading import get_keys, is_point_seen, keys_key, seen_key
from fednode.ledger.sums.verdicts import is_opening
from fednode.sums.attempt import Attempt, SumContext, compute_list_digest, key_proof_context
from fednode.sums.bodies import (
    Acknowledge,
    Answer,
    Commit,
    Digest,
    Keys,
    Message,
    Reveal,
    Roster,
    SumAck,
)

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

RoundBody = Message | Result | Expire
V = TypeVar("V", bound="SupportsRichComparison")

def with_item(items: tuple[V, ...], item: V) -> tuple[V, ...]:
    """Return ascending `items` with `item` in its place, once."""
    return items if item in items else tuple(sorted((*items, item)))


def post(record: RoundRecord, sender: MemberId, attempt: Attempt) -> RoundRecord:
    """Return the round with the sender's message of the open phase in it."""
    phase = replace(record.phase, posted=with_item(record.phase.posted, sender))
    return replace(record, phase=phase, attempt=attempt)


def _keys_of(draft: Draft, record: RoundRecord, dealer: MemberId) -> Keys:
    keys = get_keys(draft, record.study, record.number, record.attempt.number, dealer)
    if keys is None:
        raise AssertionError("a dealer without keys in the state")
    return keys


# --- keys, acknowledgements, answers ---------------------------------------------------------------------------

def accept_keys(draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Keys) -> RoundRecord:
    """A dealing: T valid commitments each, the scalars known to the dealer, key points never used before.

    The key for shares of the next round comes with it, and is not that of this one.

    A dispute key comes too: a point of the prime-order group, or boxes hidden by it would not be.
    """
    attempt = record.attempt
    if not len(body.a_points) == len(body.b_points) == record.threshold:
        raise refuse(Refusal.POINT_COUNT)
    if tuple(holder for holder, _ in body.sealed) != tuple(m for m in attempt.holders if m != sender):
        raise refuse(Refusal.WRONG_HOLDERS)
    if not is_seal_key_valid(body.next_key) or (sender, body.next_key) in record.seal_keys:
        raise refuse(Refusal.BAD_SEAL_KEY)
    keys = (
        ("a", body.a_points[0], body.a_proof), ("b", body.b_points[0], body.b_proof), ("c", body.c_point, body.c_proof)
    )
    heads = [point for _, point, _ in keys]
    if len(set(heads)) < len(heads) or any(is_point_seen(draft, point) for point in heads):
        raise refuse(Refusal.POINT_SEEN)
    if not all(are_points_valid(points) for points in (body.a_points, body.b_points, (body.c_point,))):
        raise refuse(Refusal.BAD_POINT)
    context = SumContext(get_chain(draft).chain_id, record.study, record.number, attempt.number)
    for which, point, proof in keys:
        if not is_key_proven(point, key_proof_context(context, sender, which), proof):
            raise refuse(Refusal.BAD_PROOF)
    place = (record.study, record.number, attempt.number, sender)
    for point in heads:
        draft.write(seen_key(point), SeenRecord(*place))
    draft.write(keys_key(*place), body)
    others = (named for named in record.next_keys if named[0] != sender)
    record = replace(record, next_keys=tuple(sorted((*others, (sender, body.next_key)))))
    return post(record, sender, replace(attempt, dealers=with_item(attempt.dealers, sender)))


def accept_acknowledge(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Acknowledge
) -> RoundRecord:
    """Which dealers' shares are wrong. Only a dealer is a holder: whoever was silent before has no part."""
    attempt = record.attempt
    if any(dealer not in attempt.dealers or dealer == sender for dealer in body.wrong):
        raise refuse(Refusal.UNKNOWN_DEALER)
    return post(record, sender, replace(attempt, complaints=with_item(attempt.complaints, (sender, body.wrong))))


def accept_answer(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Answer
) -> RoundRecord:
    """A dealer's published shares: exactly those complained about, at most f, each on its polynomial."""
    if tuple(holder for holder, _, _ in body.shares) != record.attempt.complainers(sender):
        raise refuse(Refusal.WRONG_HOLDERS)
    keys = _keys_of(draft, record, sender)
    for holder, a_share, b_share in body.shares:
        if not is_opened_share_valid(keys.a_points, holder, a_share):
            raise refuse(Refusal.WRONG_SHARE)
        if not is_opened_share_valid(keys.b_points, holder, b_share):
            raise refuse(Refusal.WRONG_SHARE)
    answers = with_item(record.attempt.answers, (sender, body.shares))
    return post(record, sender, replace(record.attempt, answers=answers))


# --- the masked vectors and their sum --------------------------------------------------------------------------

def accept_commit(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Commit
) -> RoundRecord:
    """The root of the masked vector; before it is final no chunk leaves its dealer. Only a public weight is said."""
    low, high = (1, terms.weight_bound) if terms.weights == Weights.PUBLIC else (0, 0)
    if not low <= body.weight <= high:
        raise refuse(Refusal.WEIGHT_RANGE)
    committed = with_item(record.attempt.committed, (sender, body.root, body.weight))
    return post(record, sender, replace(record.attempt, committed=committed))


def accept_roster(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Roster
) -> RoundRecord:
    """An owner's report, about its own unsettled chunks and dealers that could still be in the sum."""
    attempt = record.attempt
    own = [n for n, chunk in enumerate(attempt.chunks) if chunk.owner == sender and not chunk.is_settled]
    dealers = {member for member, _, _ in attempt.committed}.difference(attempt.left_out, (sender,))
    chunks = list(attempt.chunks)
    for number, dealer in body.missing:
        if number not in own:
            raise refuse(Refusal.WRONG_CHUNKS)
        if dealer not in dealers:
            raise refuse(Refusal.UNKNOWN_DEALER)
        chunks[number] = replace(chunks[number], reports=with_item(chunks[number].reports, (dealer, sender)))
    return post(record, sender, replace(attempt, chunks=tuple(chunks)))


def accept_digest(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Digest
) -> RoundRecord:
    """The digests of the sums of exactly the chunks the sender owns."""
    attempt = record.attempt
    own = tuple(n for n, chunk in enumerate(attempt.chunks) if chunk.owner == sender)
    if tuple(number for number, _ in body.digests) != own:
        raise refuse(Refusal.WRONG_CHUNKS)
    chunks = list(attempt.chunks)
    for number, digest in body.digests:
        chunks[number] = replace(chunks[number], digest=digest)
    return post(record, sender, replace(attempt, chunks=tuple(chunks)))


def list_digest_of(record: RoundRecord) -> bytes:
    """Return the digest of the whole list of digests; every chunk must have one."""
    digests = [chunk.digest or b"" for chunk in record.attempt.chunks]
    return compute_list_digest(record.study, record.number, record.attempt.number, digests)


def accept_sum_ack(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: SumAck
) -> RoundRecord:
    """Either "I hold and serve the whole list", or once before it the chunks the sender could not get."""
    attempt = record.attempt
    has_reported = any(member == sender for member, _ in attempt.sum_missing)
    if has_reported and body.list_digest is None:
        raise refuse(Refusal.ALREADY_POSTED)
    if body.list_digest is None:
        if any(n >= len(attempt.chunks) or attempt.chunks[n].owner == sender for n in body.missing):
            raise refuse(Refusal.WRONG_CHUNKS)
        missing = with_item(attempt.sum_missing, (sender, body.missing))
        return post(record, sender, replace(attempt, sum_missing=missing))
    if body.list_digest != attempt.list_digest:
        raise refuse(Refusal.LIST_DIGEST_DIFFERS)
    others = tuple(report for report in attempt.sum_missing if report[0] != sender)
    return post(record, sender, replace(attempt, acked=with_item(attempt.acked, sender), sum_missing=others))


# --- the one Unmask ----------------------------------------------------------------------------------------------



def _check_own_b(draft: Draft, record: RoundRecord, sender: MemberId, body: Reveal) -> None:
    if body.own_b is None:
        return
    if sender not in record.attempt.included:
        raise refuse(Refusal.OWN_B_NOT_INCLUDED)
    if not is_opened_scalar(_keys_of(draft, record, sender).b_points[0], body.own_b):
        raise refuse(Refusal.OWN_B_WRONG)


def _add_shares(
    opened: tuple[tuple[MemberId, tuple[tuple[MemberId, bytes], ...]], ...],
    sender: MemberId,
    shares: tuple[tuple[MemberId, bytes], ...],
) -> tuple[tuple[MemberId, tuple[tuple[MemberId, bytes], ...]], ...]:
    merged = dict(opened)
    for dealer, share in shares:
        merged[dealer] = with_item(merged.get(dealer, ()), (sender, share))
    return tuple(sorted(merged.items()))


def accept_reveal(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Reveal
) -> RoundRecord:
    """The openings (Q, U) asks the sender for, all of them and nothing else.

    For every member at most one of a and b is ever opened: a of Q outside U, b of U. A member outside U that opened
    its own b would, with its a, give away its masked vector, so that is refused whatever it wants.
    """
    attempt = record.attempt
    owed = tuple(dealer for dealer in attempt.dropped if dealer != sender)
    _check_own_b(draft, record, sender, body)
    if sender in attempt.included and body.own_b is None:
        raise refuse(Refusal.OWN_B_MISSING)
    if body.b_shares or tuple(dealer for dealer, _ in body.a_shares) != owed:
        raise refuse(Refusal.WRONG_OPENINGS)
    if body.opening is not None and not is_opening(body.opening, record.words):
        raise refuse(Refusal.OPENING_FORM)
    for dealer, share in body.a_shares:
        if not is_opened_share_valid(_keys_of(draft, record, dealer).a_points, sender, share):
            raise refuse(Refusal.WRONG_SHARE)
    own_b = attempt.own_b if body.own_b is None else with_item(attempt.own_b, (sender, body.own_b))
    a_shares = _add_shares(attempt.a_shares, sender, body.a_shares)
    openings = attempt.openings if body.opening is None else with_item(attempt.openings, (sender, body.opening))
    return post(record, sender, replace(attempt, own_b=own_b, a_shares=a_shares, openings=openings))


def accept_reveal2(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Reveal
) -> RoundRecord:
    """The openings in the place of silent members of U, as in REVEAL: all of them and nothing else."""
    attempt = record.attempt
    owed = tuple(dealer for dealer in attempt.silent_b if dealer != sender)
    if body.own_b is not None and sender not in attempt.silent_b and sender in attempt.included:
        raise refuse(Refusal.WRONG_OPENINGS)  # its b is open already
    _check_own_b(draft, record, sender, body)
    if body.opening is not None or body.a_shares or tuple(dealer for dealer, _ in body.b_shares) != owed:
        raise refuse(Refusal.WRONG_OPENINGS)
    if body.own_b is None and not owed:
        raise refuse(Refusal.NOTHING_OWED)
    for dealer, share in body.b_shares:
        if not is_opened_share_valid(_keys_of(draft, record, dealer).b_points, sender, share):
            raise refuse(Refusal.WRONG_SHARE)
    own_b = attempt.own_b if body.own_b is None else with_item(attempt.own_b, (sender, body.own_b))
    b_shares = _add_shares(attempt.b_shares, sender, body.b_shares)
    return post(record, sender, replace(attempt, own_b=own_b, b_shares=b_shares))


# --- result and clock --------------------------------------------------------------------------------------------

def ballot_of(result: Result) -> bytes:
    """Return what q members must agree on: every field of a result but the sender's own wish."""
    return encode(replace(result, wants_stop=False))


def accept_result(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Result
) -> RoundRecord:
    """A vote on what the sum gave."""
    attempt = record.attempt
    if body.outcome == Outcome.OK:
        if body.weight != attempt.weight:
            raise refuse(Refusal.WEIGHT_SUM)
        if record.kind == RoundKind.CLOSING and body.model_hash != record.start_model:
            raise refuse(Refusal.WRONG_MODEL)
    ballots = tuple(sorted((*record.ballots, (sender, body)), key=lambda ballot: ballot[0]))
    return post(replace(record, ballots=ballots), sender, attempt)


def accept_expire(record: RoundRecord, sender: MemberId, body: Expire) -> RoundRecord:
    """A vote that the phase's time is over; any member of the ledger when the round opened may cast it."""
    if sender not in record.members:
        raise refuse(Refusal.NOT_IN_PHASE)
    if (body.round, body.attempt, body.phase_no) != (record.number, record.attempt.number, record.phase.number):
        raise refuse(Refusal.PHASE_CLOSED)
    if sender in record.phase.expire_votes:
        raise refuse(Refusal.ALREADY_VOTED)
    votes = with_item(record.phase.expire_votes, sender)
    return replace(record, phase=replace(record.phase, expire_votes=votes))
