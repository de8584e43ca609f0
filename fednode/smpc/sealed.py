"""Sealed boxes of field elements: what a dealer seals to a holder, their sizes, the trees that commit to them.

Security assumption: a box opens only for its holder; it carries the place, the dealer, the holder and its kind, so one
that was copied from elsewhere is worthless. A root over boxes commits to their contents: an authenticated box opens to
one message only. All randomness of an attempt's shares follows from one secret seed, the coin and the committed root,
so the same boxes can be made again after a crash and never others under the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fednode.codec import pack
from fednode.crypto import (
    SEALED_OVERHEAD_BYTES,
    Domain,
    Secret,
    hkdf_sha256,
    seal_from,
    sha256,
    tagged_hash,
)
from fednode.errors import Rejected
from fednode.ids import PROTOCOL_VERSION, Hash
from fednode.keystream import KEY_BYTES, AesCtr
from fednode.smpc.chunks import HASH_BYTES, is_leaf_of, merkle_path
from fednode.sums.attempt import SumContext
from fednode.sums.field import ELEMENT_BYTES
from fednode.sums.norm import Statement
from fednode.sums.shares import DealtVector

BITS: Final = "bits"
PROOF: Final = "proof"
_HEAD_BYTES: Final = HASH_BYTES + SEALED_OVERHEAD_BYTES


class DerivedEntropy:
    """The bytes of one purpose of one attempt, from its seed."""

    def __init__(self, seed: bytes, context: SumContext, label: str, *place: bytes | int) -> None:
        info = pack(("fednode-shares", PROTOCOL_VERSION, *context.place, label, *place))
        self._stream = AesCtr(hkdf_sha256(seed, info, KEY_BYTES))

    def random_bytes(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        return self._stream.read(count)


def box_context(context: SumContext, dealer: int, holder: int, kind: str) -> Hash:
    """Return the place a box was made for, its first 32 bytes inside."""
    return tagged_hash(Domain.ROUND, b"sealed shares", pack((*context.place, dealer, holder, kind)))


def box_sizes(statement: Statement, is_key: bool) -> tuple[int, int]:
    """Return the bytes of a holder's sealed box of bits and of its box of the proof."""
    if is_key:
        return _HEAD_BYTES + KEY_BYTES, _HEAD_BYTES + KEY_BYTES
    return (_HEAD_BYTES + statement.length * ELEMENT_BYTES, _HEAD_BYTES + statement.proof_length * ELEMENT_BYTES)


def seal_boxes(
    context: SumContext, dealer: int, dealt: DealtVector, kind: str, seal_keys: Sequence[tuple[int, bytes]],
    entropy: DerivedEntropy,
) -> tuple[bytes, ...]:
    """Return the sealed boxes in the order of `seal_keys`, pairs (holder, X25519 key)."""
    boxes = []
    for holder, key in seal_keys:
        message = box_context(context, dealer, holder, kind) + dealt.boxes[holder]
        ephemeral = Secret(entropy.random_bytes(32))
        try:
            boxes.append(seal_from(ephemeral, key, message))
        except Rejected:  # the holder posted a key nobody can seal to: it gets noise and has no share
            boxes.append(entropy.random_bytes(len(message) + SEALED_OVERHEAD_BYTES))
    return tuple(boxes)


def leaves_of(boxes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the leaves of the tree over boxes: SHA-256, for an auditor may have to compute them from one box."""
    return tuple(sha256(box) for box in boxes)


def paths_of(bits_leaves: Sequence[bytes], proof_leaves: Sequence[bytes], position: int) -> bytes:
    """Return the audit paths of a holder's two boxes, joined."""
    return merkle_path(bits_leaves, position) + merkle_path(proof_leaves, position)


@dataclass(frozen=True, slots=True)
class Roots:
    """What a dealer posted: the roots over its boxes."""

    bits_root: bytes
    proof_root: bytes

    def holds(self, bits_box: bytes, proof_box: bytes, position: int, count: int, paths: bytes) -> bool:
        """Whether both boxes are those of holder number `position` of `count`."""
        half = len(paths) // 2
        return is_leaf_of(self.bits_root, sha256(bits_box), position, count, paths[:half]) and is_leaf_of(
            self.proof_root, sha256(proof_box), position, count, paths[half:]
        )
