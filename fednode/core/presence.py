"""What a member says of itself every few seconds: which process, its clock, where its chain ends, whether it votes.

Security assumption: Ed25519 (the one rule in `crypto`) is unforgeable. A presence is signed with the key that signs
votes, so whoever passes one on proves that a process with that key lives; everything in it is that process's claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fednode import crypto
from fednode.chain.consensus.messages import Status
from fednode.chain.vote import HeightField, Id, SignatureCheck
from fednode.codec import U64, Bytes32, Bytes64, Size, decode, encode
from fednode.crypto import Domain, Signer
from fednode.errors import Rejected
from fednode.ids import PROTOCOL_VERSION

INCARNATION_BYTES = 16
MAX_PRESENCE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Statement:
    """What is signed. `incarnation` is drawn anew by every process, `beat` counts what it says; `time_ms` is UTC by its
    clock, which may be set back.
    """

    chain_id: Bytes32
    member: Id
    incarnation: Annotated[bytes, Size(INCARNATION_BYTES, INCARNATION_BYTES)]
    beat: U64
    time_ms: U64
    height: HeightField
    block_hash: Bytes32
    is_signing: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """A statement with its member's signature."""

    said: Statement
    signature: Bytes64

    def as_status(self) -> Status:
        """Return the claim in it for catch-up."""
        return Status(PROTOCOL_VERSION, self.said.chain_id, self.said.height, self.said.block_hash)


def make_presence(said: Statement, signer: Signer) -> Presence:
    """Sign a statement about oneself."""
    return Presence(said, signer.sign(Domain.PRESENCE, encode(said)))


def verify_presence(
    presence: Presence, chain_id: bytes, key: bytes, check: SignatureCheck = crypto.is_signature_valid
) -> None:
    """Raise `Rejected` unless the statement is of this chain and signed with `key`."""
    if presence.said.chain_id != chain_id:
        raise Rejected("presence on another chain")
    if not check(key, Domain.PRESENCE, encode(presence.said), presence.signature):
        raise Rejected("presence with a bad signature")


def encode_presence(presence: Presence) -> bytes:
    """Return the canonical bytes."""
    return encode(presence)


def decode_presence(data: bytes | memoryview) -> Presence:
    """Decode foreign bytes; raise `Rejected` unless they are one presence. Its signature is not checked."""
    return decode(Presence, data, MAX_PRESENCE_BYTES)

