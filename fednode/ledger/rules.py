"""What a block does to the state: `apply_block`, a pure function, the same on every node.

Security assumption: the signature of every transaction has been checked (`verify_transaction`); everything else is
checked here. Integers only, no clock, no iteration over sets whose order could differ; arguments are never changed.

A transaction that may not be in a block at all (stranger, old nonce, out of its time) makes the block invalid. One
that the rules refuse stays in the block with a receipt that says why, and changes nothing but its sender's nonce.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from fednode.chain.block import Receipt
from fednode.chain.state import Changes, Draft, Source, State
from fednode.chain.vote import Evidence
from fednode.codec import extend_union
from fednode.errors import Rejected
from fednode.fence import Unforeseen, rule
from fednode.ids import MemberId
from fednode.ledger.bodies import Body, Memo
from fednode.ledger.members.bodies import MemberReport
from fednode.ledger.members.reading import (
    get_candidates,
    get_members,
    get_membership,
    get_nonce,
    get_versions,
    nonce_key,
    version_at,
)
from fednode.ledger.members.records import NonceRecord
from fednode.ledger.members.rules import MEMBER_RULES, begin_membership, flag_members, settle_membership
from fednode.ledger.members.version_rules import begin_version, settle_version
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.refusals import Refusal, Rule, refuse
from fednode.ledger.studies.bodies import Expire, Gone
from fednode.ledger.studies.records import StudyRecord, get_round, get_studies, round_key, study_key
from fednode.ledger.studies.rules import (
    STUDY_RULES,
    accept_join_clock,
    note_freeze_block,
    require_study,
    settle_study,
)
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.phases import RoundBody, accept
from fednode.ledger.transactions import MAX_VALIDITY_BLOCKS, Transaction
from fednode.ledger.versions import VERSIONS, Versions


@dataclass(frozen=True, slots=True)
class Applied:
    """Outcome of a block: the next state, one receipt per transaction, and what to store."""

    state: State
    receipts: tuple[Receipt, ...]
    changes: Changes


def apply_block(
    state: State, at: BlockTime, transactions: Iterable[Transaction], evidence: Sequence[Evidence] = (),
    versions: Versions = VERSIONS,
) -> Applied:
    """Run a block's evidence, its transactions and everything that follows from them.

    The members the next state names are those of the next height.
    Raises `Rejected` if a transaction may not be in this block: the block is then invalid. Also if the version of the
    rules in force at this height is not among `versions`.
    """
    rules = versions.get(version_at(state, at.height))
    if rules is None:
        raise Rejected(f"protocol version {version_at(state, at.height)} is not known to this program")
    draft = _begin(state, at)
    touched: set[bytes] = set()
    note_freeze_block(draft, at)
    if evidence:
        flag_members(draft, at, evidence)
    receipts = []
    for transaction in transactions:
        check_admissible(draft, at, transaction)
        receipts.append(_run(draft, at, transaction, touched))
    for study in sorted(touched):
        _settle(draft, at, study)
    if get_membership(draft).proposals and settle_membership(draft, at, rules.proposal_lapse_blocks):
        for study in sorted(get_studies(draft)):  # with other members, other numbers of votes suffice
            _settle(draft, at, study)
    if get_versions(draft).open:
        settle_version(draft, at)
    next_state, changes = draft.freeze()
    return Applied(next_state, tuple(receipts), changes)


def _begin(state: State, at: BlockTime) -> Draft:
    """Return the draft of a block with what its height alone changes: a version comes into force, approvals lapse."""
    draft = Draft(state)
    if get_versions(state).plan is not None:
        begin_version(draft, at)
    if get_membership(state).proposals:
        begin_membership(draft, state, at)
    return draft


def check_admissible(source: Source, at: BlockTime, transaction: Transaction) -> None:
    """Raise `Rejected` if the transaction may not be in a block at this height, accepted or refused."""
    sender = transaction.sender
    if not any(record.member == sender for record in get_members(source)):
        _check_candidate(source, transaction)
    if transaction.nonce <= get_nonce(source, sender):
        raise Rejected(f"nonce {transaction.nonce} of member {sender} is not above its last")
    since = SINCE.get(type(transaction.body))
    if since is not None and version_at(source, at.height) < since:
        raise Rejected(f"{type(transaction.body).__name__} is a transaction of protocol version {since}")
    if not at.height <= transaction.valid_until <= at.height + MAX_VALIDITY_BLOCKS:
        raise Rejected(f"transaction valid until height {transaction.valid_until} in block {at.height}")


def _check_candidate(source: Source, transaction: Transaction) -> None:
    """A candidate may report what it computed, and nothing else."""
    sender, body = transaction.sender, transaction.body
    card = next((candidate.card for candidate in get_candidates(source) if candidate.member == sender), None)
    if card is None or not isinstance(body, MemberReport) or body.sign_key != card.sign_key:
        raise Rejected(f"transaction of a stranger ({sender})")


def _run(draft: Draft, at: BlockTime, transaction: Transaction, touched: set[bytes]) -> Receipt:
    """Apply one admissible transaction; a refusal leaves nothing behind but the nonce."""
    draft.write(nonce_key(transaction.sender), NonceRecord(transaction.nonce))
    draft.mark()
    try:
        study = rule(lambda: _dispatch(draft, at, transaction.sender, transaction.body))
    except Rejected as refusal:
        draft.roll_back()
        return Receipt(transaction.txid, False, refusal.reason)
    if study is not None:
        touched.add(study)
    return Receipt(transaction.txid, True, "")


def _settle(draft: Draft, at: BlockTime, study: bytes) -> None:
    """Let a study go on; one that cannot stays as it is, and the others and the block go on."""
    draft.mark()
    try:
        rule(lambda: settle_study(draft, at, study))
    except Unforeseen:
        draft.roll_back()


def _dispatch(draft: Draft, at: BlockTime, sender: MemberId, body: Body) -> bytes | None:
    """Apply a body; return the study it is about, if it is about one."""
    return RULES[type(body)](draft, at, sender, body)


def _note(draft: Draft, at: BlockTime, sender: MemberId, body: Memo) -> None:
    """A memo changes nothing."""


def _post(draft: Draft, at: BlockTime, sender: MemberId, body: RoundBody) -> bytes:
    """A message of the round that a study is in."""
    _dispatch_round(draft, require_study(draft, body.study), sender, body)
    return body.study


RULES: dict[type, Rule] = {
    Memo: _note,
    **MEMBER_RULES,
    **STUDY_RULES,
    **dict.fromkeys(get_args(RoundBody), _post),
}
"""What each kind of transaction does."""


SINCE: dict[type, int] = {}
"""The protocol version that brought a kind of transaction, where it was not the first one.

A field is added so: the kind with the field is a kind of its own, under a new number, and older blocks keep their
bytes. Before that version's height no block may hold it: a program without the version could not read the block.
"""


def add_kind(body: type, rule: Rule, records: Mapping[bytes, tuple[int, type]], since: int = 1) -> None:
    """Take a kind of transaction that this package does not have, with the records it keeps in the state.

    All members must do so before they read the first block that holds one; `since` is the protocol version that sees
    to it. Raises `ValueError` if the number of the body, or a prefix or number of a record, is taken.
    """
    numbers = {number for number, _ in RECORD_TABLE.rows.values()}
    if any(prefix in RECORD_TABLE.rows or number in numbers for prefix, (number, _) in records.items()):
        raise ValueError("a prefix or number of a record is taken")
    extend_union(Body, body)
    RULES[body] = rule
    if since > 1:
        SINCE[body] = since
    RECORD_TABLE.rows.update(records)


def _dispatch_round(draft: Draft, study: StudyRecord, sender: MemberId, body: RoundBody) -> None:
    current = get_round(draft, body.study)
    if current is None:
        if not isinstance(body, Expire | Gone):
            raise refuse(Refusal.PHASE_CLOSED)
        draft.write(study_key(body.study), accept_join_clock(study, sender, body))
        return
    if sender in (*study.faulty_members, *current.faulty) and not isinstance(body, Expire | Gone):
        raise refuse(Refusal.NAMED_FAULTY)
    draft.write(round_key(body.study), accept(draft, current, study.terms, sender, body))


# --- for the pool and for leaders --------------------------------------------------------------------------------

def is_tx_acceptable(state: State, at: BlockTime, transaction: Transaction) -> Receipt:
    """Tell what would become of a transaction, alone in a block at `at`. Nothing is changed.

    A transaction that may not be in a block at all gets a receipt too: it is as useless in a pool as a refused one.
    """
    try:
        check_admissible(state, at, transaction)
    except Rejected as error:
        return Receipt(transaction.txid, False, error.reason[:100])
    return _run(_begin(state, at), at, transaction, set())


def pick_transactions(
    state: State, at: BlockTime, candidates: Iterable[Transaction], max_bytes: int
) -> tuple[Transaction, ...]:
    """Return the candidates a leader should propose, in their order, of at most `max_bytes` together.

    Each must be acceptable after those before it. What is left out stays in the pool or is dropped there.
    """
    draft = _begin(state, at)
    picked: list[Transaction] = []
    room = max_bytes
    for transaction in candidates:
        if len(transaction.data) > room:
            continue
        try:
            check_admissible(draft, at, transaction)
        except Rejected:
            continue
        trial = draft.read(nonce_key(transaction.sender), NonceRecord)
        if not _run(draft, at, transaction, set()).ok:
            draft.write(nonce_key(transaction.sender), trial)
            continue
        picked.append(transaction)
        room -= len(transaction.data)
    return tuple(picked)
