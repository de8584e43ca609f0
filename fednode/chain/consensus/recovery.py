"""Coming back: what keeps a member from voting twice after a crash, and what brings members that lag behind in step.

Everything kept of others is bounded per member, and every heavy answer is given at most once per peer and
`ANSWER_GAP_MS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fednode.chain.block import MAX_BLOCK_BYTES, Block, Tip
from fednode.chain.consensus.messages import (
    ConsensusMessage,
    Decision,
    Polka,
    Proposal,
    Status,
    VoteSummary,
    make_bundles,
)
from fednode.chain.consensus.votes import HeightFacts, VoteBook
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    SIGN_BYTES,
    Certificate,
    Evidence,
    HeightField,
    ValidViewField,
    ViewField,
    Vote,
    domain_of,
    make_certificate,
    read_sign_bytes,
    sign_bytes,
)
from fednode.codec import Bytes32, Range, Size, decode, encode
from fednode.crypto import SIGNATURE_BYTES, Signer, sha256
from fednode.errors import Rejected, StorageError
from fednode.ids import NO_HASH, PROTOCOL_VERSION, Height, MemberId, View

# --- after a crash: the rule that keeps a member from voting twice, across restores and second copies of its key --
# Security assumption: the record below is durable before a signature leaves the node, and the file is never restored
# from an older copy. The rule: sign only what is strictly later (height, view, step) than the last signature, or
# return that very signature for the same bytes. A record that is missing, of another key or chain, or older than a
# signature of ours seen anywhere, means the key may have signed something we do not know: from then on nothing is
# signed. The record carries the lock (losing it would let this member help to fork) and the valid value with its
# block and prevotes (losing those everywhere at once would leave a locked chain that nobody can move).


RECORD_FORMAT = 1
MAX_RECORD_BYTES = MAX_BLOCK_BYTES + 256 * 1024
_MAGIC = b"fednode sign-state\n"

ROTATE_HINT = "replace this hospital's keys with 'fednode keys rotate --sign' while its daemon runs"


SUCCEEDED = (
    "this hospital has signed that the chain is succeeded by another, and signs nothing more on this one; "
    "'fednode federation succeed join' goes on with the new one"
)


@dataclass(frozen=True, slots=True)
class Valid:
    """The newest block this member saw q prevotes for in one view, with those prevotes."""

    view: ViewField
    block: Block
    polka: Polka


@dataclass(frozen=True, slots=True)
class SignRecord:
    """The last signature of one key on one chain, and what it binds the member to.

    `step` is the kind of the vote (1 proposal, 2 prevote, 3 precommit), 0 before the first signature. Lock and valid
    value belong to `height`.
    """

    format: Annotated[int, Range(RECORD_FORMAT, RECORD_FORMAT)]
    chain_id: Bytes32
    public_key: Bytes32
    height: HeightField
    view: ViewField
    step: Annotated[int, Range(0, PRECOMMIT)]
    signed: Annotated[bytes, Size(0, SIGN_BYTES)]
    signature: Annotated[bytes, Size(0, SIGNATURE_BYTES)]
    locked_view: ValidViewField
    locked_value: Bytes32
    valid: Valid | None

    @property
    def place(self) -> tuple[int, int, int]:
        """(height, view, step): signatures are made in ascending order of it."""
        return (self.height, self.view, self.step)


def initial_record(chain_id: bytes, public_key: bytes) -> SignRecord:
    """Return the record of a key that has never signed: written once with the new key, never to replace a lost one."""
    return SignRecord(
        RECORD_FORMAT, chain_id, public_key, Height(0), View(0), 0, b"", b"", NO_VIEW, NO_HASH, None
    )


def encode_record(record: SignRecord) -> bytes:
    """Return the bytes of the file: a magic line, SHA-256 of the rest, the canonical record."""
    body = encode(record)
    return _MAGIC + sha256(_MAGIC, body) + body


def decode_record(data: bytes) -> SignRecord:
    """Read the bytes of the file; raise `StorageError` if they are not exactly what `encode_record` made."""
    start = len(_MAGIC)
    body = data[start + 32 :]
    if data[:start] != _MAGIC or data[start : start + 32] != sha256(_MAGIC, body):
        raise StorageError(f"the sign-state file is damaged, so this node must not sign: {ROTATE_HINT}")
    try:
        return decode(SignRecord, body, MAX_RECORD_BYTES)
    except Rejected as error:
        raise StorageError(f"the sign-state file cannot be read ({error.reason}): {ROTATE_HINT}") from None


class SignStateStore(Protocol):
    """The file of one record, outside the block store."""

    def load(self) -> SignRecord | None:
        """Return the newest record, None if the file does not exist; raise `StorageError` if it is damaged."""
        ...

    def save(self, record: SignRecord) -> None:
        """Replace the record atomically and durably: after a crash either the old or the new one is there."""
        ...


class VoteSigner:
    """Makes this member's votes and keeps its record. The caller persists `record` before a vote is sent."""

    __slots__ = ("_chain_id", "_signer", "_silent_until", "has_consented", "is_held", "member", "record", "refusal")

    def __init__(
        self, chain_id: bytes, member: MemberId | None, signer: Signer | None, record: SignRecord | None,
        silent_until: Height = Height(0), has_consented: bool = False,
    ) -> None:
        """`silent_until`: a newer record was lost, so nothing is signed up to this height, whatever `record` says.
        `has_consented`: this member has signed the succession of this chain."""
        self._chain_id = chain_id
        self._signer = signer
        self._silent_until = silent_until
        self.has_consented = has_consented
        self.member = member
        self.record = record
        self.is_held = False
        """Whether it signs nothing for now: the key runs on another machine as well."""
        self.refusal: str | None = _find_refusal(chain_id, member, signer, record, has_consented)

    def stop(self, reason: str) -> None:
        """Sign nothing any more; the first reason stays."""
        if self.refusal is None:
            self.refusal = reason

    def may_sign(self, kind: int, height: int, view: int) -> bool:
        """Whether a new vote at this place is allowed, before any work is put into making it."""
        if self.refusal is not None or self.is_held or self.record is None or height <= self._silent_until:
            return False
        return (height, view, kind) > self.record.place

    def sign(
        self, kind: int, height: Height, view: View, valid_view: View, value: bytes,
        bound: Callable[[], tuple[View, bytes, Valid | None]],
    ) -> Vote | None:
        """Return the signed vote, or None if signing it is not allowed.

        `bound` gives locked view, locked value and valid value *including* what this vote commits the member to.
        """
        record, signer, member = self.record, self._signer, self.member
        if self.refusal is not None or record is None or signer is None or member is None:
            return None
        if self.is_held or height <= self._silent_until:
            return None
        message = sign_bytes(self._chain_id, kind, height, view, valid_view, value)
        if message == record.signed:
            return Vote(kind, height, view, valid_view, value, member, record.signature)
        if (height, view, kind) <= record.place:
            return None
        signature = signer.sign(domain_of(kind), message)
        self.record = SignRecord(
            RECORD_FORMAT, self._chain_id, signer.public_key, height, view, kind, message, signature, *bound()
        )
        return Vote(kind, height, view, valid_view, value, member, signature)

    def notice(self, height: int, view: int, step: int, signed: bytes | None) -> None:
        """Take note that a signature of ours exists at this place; stop if the record does not know it."""
        record = self.record
        if self.refusal is not None or record is None or height <= self._silent_until:
            return
        place = (height, view, step)
        if place > record.place or (place == record.place and signed not in (None, record.signed)):
            self.stop(
                f"a signature of this member at height {height}, view {view} is newer than its sign-state: the key is "
                f"in use twice or the machine was restored from a copy; {ROTATE_HINT}"
            )


def _find_refusal(
    chain_id: bytes, member: MemberId | None, signer: Signer | None, record: SignRecord | None, has_consented: bool
) -> str | None:
    if member is None or signer is None:
        return "this node is not a member and only follows the chain"
    if has_consented:
        return SUCCEEDED
    if record is None:
        return f"the sign-state file is missing, so earlier votes are unknown: {ROTATE_HINT}"
    if record.chain_id != chain_id or record.public_key != signer.public_key:
        return "the sign-state file belongs to another chain or key: put the right file back"
    return None


# --- members that are not in step: messages of the next height, late votes, answers to laggards --------------------


ANSWER_GAP_MS = 200
"""A peer gets each kind of heavy answer (decision, block, missing votes) at most once in this time."""

MAX_ASKS = 4
"""Holders asked for one missing block until `ask_again`."""


def read_vote(record: SignRecord, member: MemberId) -> Vote:
    """Return the vote whose signed bytes and signature a record holds."""
    kind, height, view, valid_view, value = read_sign_bytes(record.signed)
    return Vote(kind, Height(height), View(view), View(valid_view), value, member, record.signature)


class Recovery:
    """The last height, the next one, and who was told or asked what."""

    __slots__ = (
        "_answered", "_asked", "_block", "_book", "_certificate", "_early", "_late", "_tip", "_told", "known"
    )

    def __init__(self, tip: Tip, certificate: Certificate | None) -> None:
        self._tip = tip
        self._certificate = certificate
        self._block: Block | None = None
        self._book: VoteBook | None = None
        self._late: dict[MemberId, Vote] = {}
        self._early: dict[tuple[MemberId, int], tuple[Vote, ConsensusMessage, MemberId]] = {}
        self._told: dict[MemberId, int] = {}
        self._asked: dict[bytes, int] = {}
        self._answered: dict[tuple[MemberId, str], int] = {}
        self.known: dict[MemberId, bytes] = {}
        """Checked signatures over the tip in the view that decided it; grows as late ones come in."""
        if certificate is not None:
            self._take_precommits(certificate)

    def finish_height(self, tip: Tip, block: Block, certificate: Certificate, book: VoteBook) -> None:
        """Remember the height just decided: its votes still come in, and its laggards still ask."""
        self._tip, self._block, self._certificate, self._book = tip, block, certificate, book
        self._asked.clear()
        self._take_precommits(certificate)
        for vote in book.voters(certificate.view, PRECOMMIT, certificate.block_hash).values():
            self._late.setdefault(vote.sender, vote)
            self.known.setdefault(vote.sender, vote.signature)

    def _take_precommits(self, certificate: Certificate) -> None:
        signers = certificate.signers(self._tip.signed_by)
        self._late = {
            signer: Vote(
                PRECOMMIT, certificate.height, certificate.view, NO_VIEW, certificate.block_hash, signer, signature
            )
            for signer, signature in zip(signers, certificate.signatures, strict=True)
        }
        self.known = dict(zip(signers, certificate.signatures, strict=True))

    # --- the height before ------------------------------------------------------------------------------------

    def get_certificate(self) -> Certificate | None:
        """Return the tip's certificate with every precommit known by now: being in it keeps a member in the rota."""
        if self._certificate is None or len(self._late) == len(self._certificate.signatures):
            return self._certificate
        self._certificate = make_certificate(self._tip.signed_by, self._late.values())
        return self._certificate

    def has(self, vote: Vote) -> bool:
        """Whether this very vote of the last height or the next one is here, its signature included."""
        if vote.height == self._tip.height:
            return self._late.get(vote.sender) == vote or (self._book is not None and self._book.has(vote))
        kept = self._early.get((vote.sender, vote.kind))
        return kept is not None and kept[0] == vote

    def take_late(
        self, vote: Vote, peer: MemberId, now_ms: int
    ) -> tuple[Evidence | None, ConsensusMessage | None]:
        """Count a vote of a decided height; return evidence, if it shows any, and what helps its sender.

        The votes that were under way when the height was decided arrive late without anybody lagging: they come for
        the first time, and for no view after the decision. Those are not answered.
        """
        certificate, book = self._certificate, self._book
        if vote.height != self._tip.height or certificate is None or book is None:
            return None, self.answer_laggard(vote.height, peer, now_ms)
        if vote.sender not in book.members.positions:
            return None, None
        added = book.add(vote)
        if (vote.kind, vote.view, vote.value) == (PRECOMMIT, certificate.view, certificate.block_hash):
            self._late.setdefault(vote.sender, vote)
            self.known.setdefault(vote.sender, vote.signature)
        is_under_way = added.is_new and vote.view <= certificate.view
        return added.evidence, None if is_under_way else self.answer_laggard(vote.height, peer, now_ms)

    def answer_laggard(self, height: int, peer: MemberId, now_ms: int) -> ConsensusMessage | None:
        """Return the decision if the peer lacks just that block, else where our chain ends."""
        if not self.may_answer(peer, "decision", now_ms):
            return None
        certificate = self.get_certificate()
        if height == self._tip.height and self._block is not None and certificate is not None:
            return Decision(self._block, certificate)
        return Status(PROTOCOL_VERSION, self._tip.chain_id, self._tip.height, self._tip.block_hash)

    # --- the height after -------------------------------------------------------------------------------------

    def keep_early(self, vote: Vote, message: ConsensusMessage, peer: MemberId) -> None:
        """Keep the newest proposal, prevote and precommit of each member for the height after the current one."""
        if vote.height != self._tip.height + 2 or (isinstance(message, Proposal) and vote.view > 1):
            return
        key = (vote.sender, vote.kind)
        kept = self._early.get(key)
        if kept is None or kept[0].view < vote.view:
            self._early[key] = (vote, message, peer)

    def take_early(self) -> list[tuple[ConsensusMessage, MemberId]]:
        """Return what waited for the height that now begins, if the member set it was verified against still holds."""
        early, self._early = self._early, {}
        if self._tip.members != self._tip.signed_by:
            return []
        return [(message, peer) for _, message, peer in early.values()]

    def is_news(self, peer: MemberId, height: int) -> bool:
        """Whether `peer` was not yet known to be at `height`."""
        if self._told.get(peer, 0) >= height:
            return False
        self._told[peer] = height
        return True

    # --- the height itself ------------------------------------------------------------------------------------

    def choose_holder(self, value: bytes, holders: list[MemberId], me: MemberId | None) -> MemberId | None:
        """Return whom to ask for a missing block: another holder each time, none until `ask_again` after one try."""
        count = self._asked.get(value, 0)
        others = [member for member in holders if member != me]
        if count % 2 or not others:
            return None
        self._asked[value] = count + 1
        return others[count // 2 % len(others)]

    def ask_again(self) -> None:
        """Allow every missing block to be asked for once more."""
        self._asked = {value: count + count % 2 for value, count in self._asked.items()}

    def is_awaited(self, value: bytes) -> bool:
        """Whether the body of this block was asked for."""
        return value in self._asked

    def may_answer(self, peer: MemberId, what: str, now_ms: int) -> bool:
        """Whether a heavy answer is due to `peer`, and note that it is given."""
        last = self._answered.get((peer, what))
        if last is not None and abs(now_ms - last) < ANSWER_GAP_MS:
            return False
        self._answered[peer, what] = now_ms
        return True

    def summarise(self, facts: HeightFacts, view: View) -> VoteSummary:
        """Return what is known of a view, so that others can send the rest."""
        book = facts.book
        return VoteSummary(
            facts.height, view, facts.get_proposal(view) is not None, book.bitmap(view, PREVOTE),
            book.bitmap(view, PRECOMMIT),
        )

    def answer_summary(
        self, summary: VoteSummary, peer: MemberId, facts: HeightFacts, view: View, now_ms: int
    ) -> list[ConsensusMessage]:
        """Return the votes and the proposal a peer lacks of its view, and what would move it to ours."""
        book, places = facts.book, facts.tip.members.positions
        votes: list[Vote] = []
        for kind, have in ((PREVOTE, summary.prevotes), (PRECOMMIT, summary.precommits)):
            bits = int.from_bytes(have, "little")
            votes += [vote for vote in book.votes_of(summary.view, kind) if not bits >> places[vote.sender] & 1]
        if summary.view < view:
            votes += book.reasons_for(view)
        proposal = None if summary.has_proposal else facts.get_proposal(summary.view)
        if not (votes or proposal) or not self.may_answer(peer, "votes", now_ms):
            return []
        answer: list[ConsensusMessage] = [*make_bundles(votes, len(places))]
        if proposal is not None:
            polka = book.polkas.get(proposal.vote.valid_view)
            if polka is not None and polka.votes[0].value != NIL:
                answer.append(polka)
            answer.append(proposal)
        return answer
