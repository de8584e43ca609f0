"""The phases in which keys are dealt and updates committed: KEYS, ACK, ANSWER, COMMIT.

Security assumption: as in `phases`; published shares plus those of f liars stay below T, because a dealer answers at
most f complaints; one more could open its a and b. A dealer with more complaints than that was named by an honest
member.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Draft, Source
from fednode.ids import MemberId
from fednode.ledger.members.reading import get_chain
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import StudyTerms, Weights
from fednode.ledger.sums.checks import are_points_valid, is_key_proven, is_opened_share_valid, is_seal_key_valid
from fednode.ledger.sums.course import (
    PIN_LOST,
    BlockTime,
    Next,
    awaited,
    bar,
    is_pin_lost,
    mark_absent,
    open_phase,
    post,
    silent_members,
    void_attempt,
    with_item,
)
from fednode.ledger.sums.records import RoundRecord, SeenRecord, get_keys, is_point_seen, keys_key, seen_key
from fednode.sums.attempt import ChunkRecord, SumContext, key_proof_context
from fednode.sums.bodies import Acknowledge, Answer, Commit, Keys
from fednode.sums.phase import Phase

# --- what members post -------------------------------------------------------------------------------------------

def keys_of(draft: Draft, record: RoundRecord, dealer: MemberId) -> Keys:
    """Return what a dealer of the attempt has posted."""
    keys = get_keys(draft, record.study, record.number, record.attempt.number, dealer)
    if keys is None:
        raise AssertionError("a dealer without keys in the state")
    return keys


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
    keys = keys_of(draft, record, sender)
    for holder, a_share, b_share in body.shares:
        if not is_opened_share_valid(keys.a_points, holder, a_share):
            raise refuse(Refusal.WRONG_SHARE)
        if not is_opened_share_valid(keys.b_points, holder, b_share):
            raise refuse(Refusal.WRONG_SHARE)
    answers = with_item(record.attempt.answers, (sender, body.shares))
    return post(record, sender, replace(record.attempt, answers=answers))


def accept_commit(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Commit
) -> RoundRecord:
    """The root of the masked vector; before it is final no chunk leaves its dealer. Only a public weight is said.

    Further roots are taken where a study asks for them; none does.
    """
    if body.roots:
        raise refuse(Refusal.NO_SUCH_ROOT)
    low, high = (1, terms.weight_bound) if terms.weights == Weights.PUBLIC else (0, 0)
    if not low <= body.weight <= high:
        raise refuse(Refusal.WEIGHT_RANGE)
    committed = with_item(record.attempt.committed, (sender, body.root, body.weight))
    return post(record, sender, replace(record.attempt, committed=committed))


# --- what follows ------------------------------------------------------------------------------------------------

def after_keys(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Go on to the acknowledgements, which only dealers can give."""
    dealers = record.attempt.dealers
    record = mark_absent(record, silent_members(record))
    if len(dealers) < record.min_included:
        return void_attempt(record, at, "too few members posted keys")
    if is_pin_lost(record, dealers):
        return void_attempt(record, at, PIN_LOST)
    return open_phase(record, at, Phase.ACK, awaited(record, dealers))


def after_acknowledge(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Fix P; dealers with more than f complaints are out, those with fewer must answer."""
    record = mark_absent(record, silent_members(record))
    attempt = replace(record.attempt, present=tuple(holder for holder, _ in record.attempt.complaints))
    record = replace(record, attempt=attempt)
    counts = {dealer: len(attempt.complainers(dealer)) for dealer in attempt.present}
    rejected = tuple(dealer for dealer, count in counts.items() if count > record.fault_bound)
    accused = tuple(dealer for dealer, count in counts.items() if 0 < count <= record.fault_bound)
    record = bar(record, rejected)
    if len(attempt.present) - len(rejected) < record.min_included:
        return void_attempt(record, at, "too few dealers acknowledged and are free of complaints")
    if accused:
        return open_phase(record, at, Phase.ANSWER, accused)
    return _open_commit(record, at)


def after_answer(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Dealers that did not answer are out, without blame."""
    return _open_commit(mark_absent(record, silent_members(record)), at)


def _open_commit(record: RoundRecord, at: BlockTime) -> Next:
    attempt = record.attempt
    answered = {dealer for dealer, _ in attempt.answers}
    qualified = tuple(
        dealer for dealer in attempt.present
        if dealer not in record.barred and (dealer in answered or not attempt.complainers(dealer))
    )
    if len(qualified) < record.min_included:
        return void_attempt(record, at, "too few dealers answered their complaints")
    if is_pin_lost(record, qualified):
        return void_attempt(record, at, PIN_LOST)
    record = replace(record, attempt=replace(attempt, qualified=qualified))
    return open_phase(record, at, Phase.COMMIT, awaited(record, qualified))


def after_commit(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Fix C and give every chunk its first owner: the c-th of Q, or the next of Q that committed."""
    record = mark_absent(record, silent_members(record))
    attempt = record.attempt
    committed = {member for member, _, _ in attempt.committed}
    if len(committed) < record.min_included:
        return void_attempt(record, at, "too few members committed an update")
    if is_pin_lost(record, committed):
        return void_attempt(record, at, PIN_LOST)
    chunks = tuple(
        ChunkRecord((next(m for m in rotate(attempt.qualified, number) if m in committed),))
        for number in range(len(attempt.qualified))
    )
    record = replace(record, attempt=replace(attempt, chunks=chunks))
    return open_phase(record, at, Phase.ROSTER, tuple(sorted({chunk.owner for chunk in chunks})))


def rotate(members: tuple[MemberId, ...], start: int) -> tuple[MemberId, ...]:
    """Return `members` cyclically from position `start` on."""
    return members[start:] + members[:start]
