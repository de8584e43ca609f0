"""The signed transaction around a body, and its limits.

Security assumption: a signature covers the chain id and everything but itself, so a transaction is worthless on
another chain and nothing in it can be changed. Nonces grow strictly per sender, so none can be replayed; after
`valid_until` it can no longer enter a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fednode.codec import U64, Bytes64, Range, decode, encode, pack, to_plain
from fednode.crypto import Domain, Signer, Verified, is_signature_valid, sha256
from fednode.errors import Rejected
from fednode.ids import Hash, Height, MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import MemberReport
from fednode.sums.bodies import Member

MAX_TRANSACTION_BYTES = 64 * 1024
MAX_PENDING_PER_MEMBER = 64
MAX_PENDING_BYTES_PER_MEMBER = 256 * 1024
MAX_POOL_BYTES = 16 * 1024 * 1024
MAX_BLOCK_BYTES = 1024 * 1024
MAX_VALIDITY_BLOCKS = 10_000
"""Largest distance of `valid_until` from the height of the block that carries the transaction."""


@dataclass(frozen=True)
class Transaction:
    """A signed body. Not slotted: `data` and `txid` are computed once and kept."""

    sender: Member
    nonce: U64
    valid_until: Annotated[Height, Range(0, 2**64 - 1)]
    body: Body
    signature: Bytes64

    @cached_property
    def data(self) -> bytes:
        """The canonical bytes."""
        return encode(self)

    @cached_property
    def txid(self) -> Hash:
        """SHA-256 of the canonical bytes."""
        return sha256(self.data)


def decode_transaction(data: bytes) -> Transaction:
    """Decode foreign bytes; raise `Rejected` if they are no canonical transaction of at most 64 KiB."""
    transaction = decode(Transaction, data, MAX_TRANSACTION_BYTES)
    transaction.__dict__["data"] = bytes(data)  # decoding has shown that encoding gives the same bytes
    return transaction


# An array of five and its last item, 64 bytes: what of a transaction's encoding is not covered by the signature.
_ARRAY_OF_FIVE, _ARRAY_OF_FOUR = b"\x95", b"\x94"
_SIGNATURE_TAIL_BYTES = 2 + 64


def _signed_part(chain_id: bytes, transaction: Transaction) -> bytes:
    """Return chain id || canonical (sender, nonce, valid_until, body), cut out of the whole encoding."""
    data = transaction.data
    if data[:1] != _ARRAY_OF_FIVE:
        raise ValueError("a transaction is an array of five")
    return b"".join((chain_id, _ARRAY_OF_FOUR, memoryview(data)[1:-_SIGNATURE_TAIL_BYTES]))


def sign_transaction(
    signer: Signer, chain_id: bytes, sender: MemberId, nonce: int, valid_until: Height, body: Body
) -> Transaction:
    """Return the signed transaction; raise `Rejected` if the body breaks its bounds, which keep it below 64 KiB."""
    head = (int(sender), nonce, int(valid_until), to_plain(Body, body))
    signature = signer.sign(Domain.TRANSACTION, chain_id + pack(head))
    return Transaction(sender, nonce, valid_until, body, signature)


def find_sign_key(keys: Mapping[MemberId, bytes], transaction: Transaction) -> bytes:
    """Return the key a transaction must be signed with; raise `Rejected` for a stranger.

    A candidate's report names its key itself; whether that is the candidate's is a rule on the state.
    """
    key = keys.get(transaction.sender)
    if key is not None:
        return key
    if isinstance(transaction.body, MemberReport):
        return transaction.body.sign_key
    raise Rejected(f"transaction of a stranger ({transaction.sender})")


def verify_transaction(chain_id: bytes, public_key: bytes, transaction: Transaction) -> Verified[Transaction]:
    """Check the signature against the sender's key on the ledger; raise `Rejected` if it does not hold."""
    message = _signed_part(chain_id, transaction)
    if not is_signature_valid(public_key, Domain.TRANSACTION, message, transaction.signature):
        raise Rejected("transaction signature does not hold")
    return Verified(transaction, transaction.sender)
