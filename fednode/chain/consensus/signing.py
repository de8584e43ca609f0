"""The rule that keeps a member from voting twice, across crashes, restores and second copies of its key.

Security assumption: the record below is durable before a signature leaves the node, and the file is never restored
from an older copy. The rule: sign only what is strictly later (height, view, step) than the last signature, or return
that very signature for the same bytes. A record that is missing, of another key or chain, or older than a signature
of ours seen anywhere, means the key may have signed something we do not know: from then on nothing is signed.

The record carries the lock (losing it would let this member help to fork) and the valid value with its block and
prevotes (losing those everywhere at once would leave a locked chain that nobody can move).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fednode.chain.block import MAX_BLOCK_BYTES, Block
from fednode.chain.consensus.messages import Polka
from fednode.chain.vote import (
    NO_VIEW,
    PRECOMMIT,
    SIGN_BYTES,
    HeightField,
    ValidViewField,
    ViewField,
    Vote,
    domain_of,
    sign_bytes,
)
from fednode.codec import Bytes32, Range, Size, decode, encode
from fednode.crypto import SIGNATURE_BYTES, Signer, sha256
from fednode.errors import Rejected, StorageError
from fednode.ids import NO_HASH, Height, MemberId, View

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
