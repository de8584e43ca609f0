"""The place every key, coin, proof and digest of one attempt is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fednode.codec import pack
from fednode.crypto import Domain, tagged_hash
from fednode.ids import Hash


@dataclass(frozen=True, slots=True)
class SumContext:
    """One attempt of one round: nothing derived for it fits another."""

    chain_id: bytes
    study: bytes
    round: int
    attempt: int

    @property
    def place(self) -> tuple[bytes, bytes, int, int]:
        """All of it, as it enters whatever is hashed or derived."""
        return (self.chain_id, self.study, self.round, self.attempt)


def key_proof_context(context: SumContext, member: int, which: str) -> bytes:
    """Return what the proof that `member` knows its scalar `which` ("a", "b" or "c") is bound to."""
    return pack(("fednode-keys", *context.place, member, which))


def compute_list_digest(study: bytes, round_: int, attempt: int, digests: Sequence[bytes]) -> Hash:
    """Return what an acknowledgement of the masked sum names: the hash over all chunk digests in chunk order."""
    place = (round_.to_bytes(4, "big"), attempt.to_bytes(2, "big"))
    return tagged_hash(Domain.ROUND, b"sum-list", study, *place, *digests)
