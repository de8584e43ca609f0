"""A chain that cannot go on is succeeded by a new one, which holds the old one's end.

When more than f members have lost their sign-state no proof can let them vote on the same chain again (README,
"Signing again"). Each member then signs one `Consent`, its last signature about the old chain: where its certified
chain ends, and the card it goes on with. The successor rests on the highest of these ends; its members are exactly
those that signed; its chain id is the hash of all this, so no signature of the old chain means anything on it.

Security assumption: a member's consent is durable before it leaves, is made once per chain, and nothing is signed on
the old chain after it. Of n members at least n - q + 1 must have signed: then no quorum of the old chain is left, and
whoever stays out cannot go on with it alone. A block that was certified after those ends, by votes cast before the
consents and known only to members that stay out, is not part of the successor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fednode.chain.block import Tip
from fednode.chain.state import MAX_RECORD_BYTES, State, prefix_of
from fednode.chain.vote import Certificate, HeightField, Id, MemberSet, verify_certificate
from fednode.codec import Bytes32, Bytes64, Size, encode
from fednode.crypto import Domain, Signer, is_signature_valid
from fednode.errors import GenesisError, Rejected
from fednode.ids import NO_HASH, MemberId
from fednode.ledger.carry import CARRIED, Carried, carry
from fednode.ledger.members.identity import IdentityCard
from fednode.ledger.members.rules import check_new_card
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.refusals import describe_refusal
from fednode.ledger.sums.course import BlockTime

MAX_CARRIED_RECORDS = 1_000_000
NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Consent:
    """A member's last word on a chain. `nonce` is drawn when it is made: a second consent never looks like the first.

    `certificate` proves the block it names; None at height 0, whose hash is zeros.
    """

    chain_id: Bytes32
    member: Id
    height: HeightField
    block_hash: Bytes32
    certificate: Certificate | None
    card: IdentityCard
    nonce: Annotated[bytes, Size(NONCE_BYTES, NONCE_BYTES)]
    signature: Bytes64

    def content(self) -> bytes:
        """Return the bytes that are signed."""
        return encode(replace(self, signature=bytes(64)))


@dataclass(frozen=True, slots=True)
class Origin:
    """What a successor's genesis holds of the old chain: its end, who goes on, and what is carried over.

    The end is the highest that a signer holds when the successor is put together: a consent's, or a later one that came
    to a signer since, with its certificate.
    """

    chain_id: Bytes32
    height: HeightField
    block_hash: Bytes32
    certificate: Certificate | None
    consents: Annotated[tuple[Consent, ...], Size(1, 256)]
    carried: Annotated[
        tuple[tuple[Annotated[bytes, Size(1, 200)], Annotated[bytes, Size(1, MAX_RECORD_BYTES)]], ...],
        Size(0, MAX_CARRIED_RECORDS),
    ]

    @property
    def numbers(self) -> tuple[MemberId, ...]:
        """The members' numbers: those of the old chain, ascending."""
        return tuple(MemberId(consent.member) for consent in self.consents)


def make_consent(
    tip: Tip, certificate: Certificate | None, member: MemberId, card: IdentityCard, signer: Signer, nonce: bytes
) -> Consent:
    """Sign that this member goes on after `tip`. The caller keeps the result durably before it shows it."""
    draft = Consent(tip.chain_id, member, tip.height, tip.block_hash, certificate, card, nonce, bytes(64))
    return replace(draft, signature=signer.sign(Domain.SUCCESSION, draft.content()))


# --- what can be checked without the old chain -------------------------------------------------------------------

def check_consent(consent: Consent) -> None:
    """Raise `GenesisError` unless a consent is whole: signed, and about a block that its certificate names."""
    owner = f"the consent of '{consent.card.name}' (member {consent.member})"
    if not is_signature_valid(consent.card.sign_key, Domain.SUCCESSION, consent.content(), consent.signature):
        raise GenesisError(f"{owner} is not signed by its key; get its file again")
    if not _names(consent):
        raise GenesisError(f"{owner} does not prove the block that it names; get its file again")


def _names(end: Consent | Origin) -> bool:
    """Whether the certificate of an end is one of its block; none is needed before the first."""
    certificate = end.certificate
    if certificate is None:
        return end.height == 0 and end.block_hash == NO_HASH
    return end.height > 0 and (certificate.height, certificate.block_hash) == (end.height, end.block_hash)


def check_origin(origin: Origin, members: Sequence[IdentityCard], has_studies: bool) -> None:
    """Raise `GenesisError` unless a successor's origin fits together and fits the rest of its genesis."""
    numbers = origin.numbers
    if list(numbers) != sorted(set(numbers)) or tuple(c.card for c in origin.consents) != tuple(members):
        raise GenesisError("the successor's members are not those that signed it, each once, in order; make it again")
    if has_studies:
        raise GenesisError("a successor takes its studies from the old chain; make it again")
    for consent in origin.consents:
        check_consent(consent)
        if consent.chain_id != origin.chain_id:
            raise GenesisError(f"member {consent.member} signed the succession of another chain; get its file again")
    ends = {(consent.height, consent.block_hash) for consent in origin.consents} | {(origin.height, origin.block_hash)}
    if len({height for height, _ in ends}) != len(ends):
        raise GenesisError("two members hold different blocks of one height: the old chain forked; ask for help")
    if not _names(origin) or max(ends) != (origin.height, origin.block_hash):
        raise GenesisError("the successor does not rest on the highest end that its members hold; make it again")
    _check_carried(origin.carried)


def _check_carried(carried: Carried) -> None:
    keys = [key for key, _ in carried]
    if keys != sorted(set(keys)):
        raise GenesisError("what the successor carries over is not in order; make it again")
    for key, data in carried:
        if prefix_of(key) not in CARRIED:
            raise GenesisError("the successor carries over a record that belongs to the old chain alone; make it again")
        try:
            record = RECORD_TABLE.decode(key, data)
            is_canonical = encode(record, type(record)) == data
        except Rejected:
            is_canonical = False
        if not is_canonical:
            raise GenesisError("a record that the successor carries over cannot be read; make it again")


# --- what takes the old chain ------------------------------------------------------------------------------------

def make_origin(
    consents: Sequence[Consent], tip: Tip, certificate: Certificate | None, state: State,
    members_at: Callable[[int], MemberSet],
) -> Origin:
    """Return what a successor rests on, from somebody who holds the old chain to the highest end, here `tip`.

    `members_at` gives the members that decide a height. Raises `GenesisError` if these consents make no successor.
    """
    if certificate is not None:
        _check_certificate(certificate, "this chain", tip, members_at)
    for consent in consents:
        check_consent(consent)
        _check_held(consent, tip, members_at)
        _check_owned(consent, state)
    ordered = tuple(sorted(consents, key=lambda consent: consent.member))
    if len({consent.member for consent in ordered}) != len(ordered):
        raise GenesisError("a member is given twice; give one consent of each")
    needed = needed_consents(tip.members)
    if len(ordered) < needed:
        raise GenesisError(
            f"{len(ordered)} of {len(tip.members)} members have signed and {needed} are needed: the others could go on "
            "with the old chain, and then nothing has to be succeeded"
        )
    end = BlockTime(tip.height, tip.time_ms)
    carried = carry(state, end, [MemberId(consent.member) for consent in ordered])
    return Origin(tip.chain_id, tip.height, tip.block_hash, certificate, ordered, carried)


def needed_consents(members: MemberSet) -> int:
    """Return n - q + 1: with so many gone, those that stay are no quorum."""
    return len(members) - members.quorum + 1


def _check_held(consent: Consent, tip: Tip, members_at: Callable[[int], MemberSet]) -> None:
    """Raise `GenesisError` unless a member of the end signed, and the end that it holds is one of this chain."""
    owner = f"'{consent.card.name}' (member {consent.member})"
    if consent.chain_id != tip.chain_id:
        raise GenesisError(f"{owner} signed the succession of another chain; get the right file")
    if consent.height > tip.height:
        raise GenesisError(
            f"{owner} holds block {consent.height} and this node only {tip.height}: start the daemon until it has that "
            "block, or assemble where it is"
        )
    if tip.members.keys.get(MemberId(consent.member)) != consent.card.sign_key:
        raise GenesisError(f"{owner} is no member of the old chain with this key")
    if consent.certificate is not None:
        _check_certificate(consent.certificate, owner, tip, members_at)


def _check_certificate(
    certificate: Certificate, owner: str, tip: Tip, members_at: Callable[[int], MemberSet]
) -> None:
    try:
        verify_certificate(certificate, members_at(certificate.height), tip.chain_id)
    except Rejected as error:
        raise GenesisError(f"the end that {owner} holds is not certified ({error.reason})") from None


def _check_owned(consent: Consent, state: State) -> None:
    """Raise `GenesisError` if a card has a name or a key that is another's or was revoked, whether that one goes on.

    Who stays out cannot object, and people read the names; so the rule is that of a member that replaces its keys.
    """
    try:
        check_new_card(state, consent.card, MemberId(consent.member))
    except Rejected as refusal:
        raise GenesisError(
            f"the card of '{consent.card.name}' (member {consent.member}) cannot stand on the ledger: "
            f"{describe_refusal(refusal.reason)}; leave this consent out"
        ) from None


def check_against(origin: Origin | None, tip: Tip, state: State, members_at: Callable[[int], MemberSet]) -> None:
    """Raise `GenesisError` unless a successor is what follows from its consents and the old chain held here.

    So everybody who joins holds the end that it rests on, and none holds a later one.
    """
    if origin is None:
        raise GenesisError("this genesis founds a chain of its own; it succeeds none")
    if (origin.chain_id, origin.height, origin.block_hash) != (tip.chain_id, tip.height, tip.block_hash):
        raise GenesisError(
            f"the successor rests on block {origin.height}, and the chain held here ends at block {tip.height}: "
            + (
                "let the daemon fetch what is missing" if tip.height < origin.height
                else "that block is final, so have the successor assembled again from here"
            )
        )
    if make_origin(origin.consents, tip, origin.certificate, state, members_at) != origin:
        raise GenesisError("the successor carries over something else than the old chain holds; do not use it")
