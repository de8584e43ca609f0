"""Looking through the blocks of a chain: transactions that fit, who signed and proposed, proven double votes.

Security assumption: none. Blocks are taken as they are, from wherever; whoever needs to know that they hold verifies
them first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from fednode.audit.verify import MAX_CERTIFICATE_BYTES, ChainEntry
from fednode.chain.block import Block, Receipt, decode_block
from fednode.chain.vote import Certificate, MemberSet, Vote
from fednode.codec import decode
from fednode.desk.read_models import Numbers
from fednode.desk.views import kind_name, numbers, utc_text
from fednode.ledger.members.bodies import MemberPropose, MemberRotate
from fednode.ledger.studies.bodies import StudyCreate, compute_study_id
from fednode.ledger.transactions import decode_transaction

MAX_RECEIPT_BYTES = 1024
VOTE_KINDS = {1: "proposal", 2: "prevote", 3: "precommit"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A block as read, with its certificate and receipts."""

    block: Block
    certificate: Certificate
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTransaction:
    """A transaction that was looked for, in which place of which block; `study` is whose it is."""

    height: int
    index: int
    time: str
    time_ms: int
    id: str
    kind: str
    sender: int
    study: str | None
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfMember:
    """How many blocks a member signed, of those that it could have, and how many it proposed."""

    id: int
    name: str
    signed: int
    of: int
    share: float
    proposed: int
    last_signed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVote:
    """What a member signed: a block hash or, None, no block."""

    value: str | None
    valid_view: int
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleVote:
    """Two votes of a member that contradict each other, proven in a block."""

    block: int
    member: int
    name: str
    height: int
    view: int
    kind: str
    first: SignedVote
    second: SignedVote


def read_entry(entry: ChainEntry) -> Seen:
    """Return a decoded block; raise `Rejected` if it cannot be read."""
    receipts = tuple(decode(Receipt, data, MAX_RECEIPT_BYTES) for data in entry.receipts or ())
    return Seen(decode_block(entry.block), decode(Certificate, entry.certificate, MAX_CERTIFICATE_BYTES), receipts)


def card_names(seen: Seen) -> dict[bytes, str]:
    """Return the names on identity cards that came onto the ledger in a block, by sign key."""
    accepted = (data for data, receipt in zip(seen.block.transactions, seen.receipts, strict=True) if receipt.ok)
    bodies = (decode_transaction(data).body for data in accepted)
    return {body.card.sign_key: body.card.name for body in bodies if isinstance(body, MemberPropose | MemberRotate)}


# --- transactions ----------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which transactions are looked for; None for whatever it is. `study` is the beginning of an id, times are ms."""

    kind: str | None
    sender: int | None
    study: str | None
    refused: bool
    since_ms: int | None
    until_ms: int | None

    def fits(self, found: FoundTransaction) -> bool:
        """Whether a transaction is one of them."""
        return (
            (self.kind is None or found.kind == self.kind)
            and (self.sender is None or found.sender == self.sender)
            and (self.study is None or (found.study or "").startswith(self.study))
            and (not self.refused or not found.ok)
            and (self.since_ms is None or found.time_ms >= self.since_ms)
            and (self.until_ms is None or found.time_ms < self.until_ms)
        )


def find_transactions(seen: Seen, wanted: Wanted) -> Iterator[FoundTransaction]:
    """Yield the transactions of a block that are looked for."""
    header = seen.block.header
    for index, (data, receipt) in enumerate(zip(seen.block.transactions, seen.receipts, strict=True)):
        transaction = decode_transaction(data)
        body = transaction.body
        study = getattr(body, "study", None)
        if isinstance(body, StudyCreate):
            study = compute_study_id(body.terms, body.spec)
        found = FoundTransaction(
            height=int(header.height), index=index, time=utc_text(header.time_ms), time_ms=header.time_ms,
            id=transaction.txid.hex(), kind=kind_name(body), sender=int(transaction.sender),
            study=None if study is None else study.hex(), ok=receipt.ok, reason=receipt.reason,
        )
        if wanted.fits(found):
            yield found


# --- signatures ------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Participation:
    """The part of each member in a stretch of blocks, and how many blocks were decided in which view."""

    members: tuple[PartOfMember, ...]
    views: Mapping[int, int]


def count_participation(
    blocks: Iterable[Seen], members: MemberSet, members_at: Callable[[int], MemberSet], names: Mapping[int, str]
) -> Participation:
    """Count who signed and proposed. `members` decide the first block; `names` are those known so far.

    A member's share is that of the blocks it could have signed: those decided while it was one.
    """
    signed: Counter[int] = Counter()
    proposed: Counter[int] = Counter()
    views: Counter[int] = Counter()
    could: Counter[int] = Counter()
    latest: dict[int, int] = {}
    known, cards = dict(names), dict[bytes, str]()
    for seen in blocks:
        header = seen.block.header
        if header.members_hash != members.hash:
            members = members_at(header.height)
            known = {int(m.id): cards[m.sign_key] for m in members.members if m.sign_key in cards} | known
        cards |= card_names(seen)
        could.update(members.ids)
        signers = seen.certificate.signers(members)
        signed.update(signers)
        latest |= dict.fromkeys(map(int, signers), int(header.height))
        proposed[header.proposer] += 1
        views[int(seen.certificate.view)] += 1
    parts = tuple(
        PartOfMember(
            id=int(member), name=known.get(member, "?"), signed=signed[member], of=could[member],
            share=round(signed[member] / could[member], 4), proposed=proposed[member],
            last_signed=latest.get(member),
        )
        for member in sorted(could)
    )
    return Participation(parts, {view: views[view] for view in sorted(views)})


def double_votes(seen: Seen, names: Mapping[int, str]) -> Iterator[DoubleVote]:
    """Yield the proven double votes that a block carries."""
    for piece in seen.block.evidence:
        yield DoubleVote(
            block=int(seen.block.height), member=int(piece.sender), name=names.get(piece.sender, "?"),
            height=int(piece.height), view=int(piece.first.view), kind=VOTE_KINDS[piece.first.kind],
            first=_signed_vote(piece.first), second=_signed_vote(piece.second),
        )


def _signed_vote(vote: Vote) -> SignedVote:
    value = vote.value.hex() if any(vote.value) else None
    return SignedVote(value=value, valid_view=int(vote.valid_view), signature=vote.signature.hex())


def split_signers(seen: Seen, members: MemberSet) -> tuple[Numbers, Numbers]:
    """Return who of the members that decided a block signed it, and who did not."""
    signers = set(seen.certificate.signers(members))
    return numbers(sorted(signers)), numbers(member for member in members.ids if member not in signers)
