"""Checkpoints: one place on the chain, put on record by members, and the proof that a later one continues it.

Security assumption: a checkpoint is worth what its signers are worth, or the way it came (paper, a phone call). It pins
the whole chain up to its height: every block hash is a leaf of one RFC 6962 tree that only grows, and two checkpoints
between which there is no consistency proof show that somebody has rewritten history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fednode.chain.block import Header, TimeMs, compute_block_hash
from fednode.chain.state import (
    MAX_PROOF_NODES,
    compute_root_of_hashes,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from fednode.chain.vote import MAX_MEMBERS, Id
from fednode.codec import U64, Bytes32, Bytes64, Range, Size, pack
from fednode.crypto import Domain, Signer, is_signature_valid
from fednode.errors import Rejected
from fednode.ids import Height, MemberId

CHECKPOINT_FORMAT = "fednode-checkpoint-1"
CONSISTENCY_FORMAT = "fednode-consistency-1"

Format = Annotated[str, Size(1, 40)]
Path = Annotated[tuple[Bytes32, ...], Size(0, MAX_PROOF_NODES)]


@dataclass(frozen=True, slots=True)
class CheckpointSignature:
    """One member's signature under a checkpoint. The key is named so that it can be looked up in the member set."""

    member: Id
    sign_key: Bytes32
    signature: Bytes64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A block, its time, and the log over the hashes of all blocks up to it."""

    format: Format
    chain_id: Bytes32
    height: Annotated[Height, Range(1, 2**63 - 1)]
    block_hash: Bytes32
    time_ms: TimeMs
    log_size: U64
    log_root: Bytes32
    signatures: Annotated[tuple[CheckpointSignature, ...], Size(0, MAX_MEMBERS)] = ()

    def __post_init__(self) -> None:
        if self.format != CHECKPOINT_FORMAT:
            raise ValueError(f"format '{self.format}' is not known")
        if self.log_size != self.height:
            raise ValueError("the log has one leaf per block")
        members = [signature.member for signature in self.signatures]
        if members != sorted(set(members)):
            raise ValueError("signatures must be one per member, ascending")

    def content(self) -> bytes:
        """Return the canonical bytes that every signature covers."""
        place = (self.chain_id, int(self.height), self.block_hash, self.time_ms)
        return pack((self.format, *place, self.log_size, self.log_root))


def make_checkpoint(header: Header, leaves: Sequence[bytes]) -> Checkpoint:
    """Return the unsigned checkpoint of a block; `leaves` are the leaf hashes of all blocks up to it."""
    if len(leaves) != header.height:
        raise ValueError("one leaf per block up to the checkpoint")
    block_hash, root = compute_block_hash(header), compute_root_of_hashes(leaves)
    return Checkpoint(
        CHECKPOINT_FORMAT, header.chain_id, header.height, block_hash, header.time_ms, len(leaves), root
    )


def sign_checkpoint(checkpoint: Checkpoint, member: MemberId, signer: Signer) -> Checkpoint:
    """Return the checkpoint with this member's signature added, or put in place of an older one."""
    signature = signer.sign(Domain.CHECKPOINT, checkpoint.content())
    return add_signatures(checkpoint, (CheckpointSignature(member, signer.public_key, signature),))


def add_signatures(checkpoint: Checkpoint, signatures: Iterable[CheckpointSignature]) -> Checkpoint:
    """Return the checkpoint with more signatures."""
    found = {signature.member: signature for signature in (*checkpoint.signatures, *signatures)}
    return replace(checkpoint, signatures=tuple(found[member] for member in sorted(found)))


def check_signatures(checkpoint: Checkpoint, keys: Mapping[MemberId, bytes] | None = None) -> tuple[MemberId, ...]:
    """Return who signed; raise `Rejected` for a signature that does not hold, or a key that is not the member's.

    Without `keys` it is not checked that the keys are those of members.
    """
    content = checkpoint.content()
    for found in checkpoint.signatures:
        if keys is not None and keys.get(found.member) != found.sign_key:
            raise Rejected(f"the checkpoint is signed with a key that is not that of member {found.member}")
        if not is_signature_valid(found.sign_key, Domain.CHECKPOINT, content, found.signature):
            raise Rejected(f"the signature of member {found.member} under the checkpoint does not hold")
    return tuple(found.member for found in checkpoint.signatures)


# --- the log over block hashes ---------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class LogPath:
    """That a block hash is leaf `height - 1` of the log with this size and root."""

    size: U64
    root: Bytes32
    path: Path


def prove_in_log(leaves: Sequence[bytes], height: int) -> LogPath:
    """Return the path of the block of `height` in the log with these leaf hashes."""
    return LogPath(len(leaves), compute_root_of_hashes(leaves), prove_inclusion(leaves, height - 1))


def verify_in_log(log: LogPath, height: int, block_hash: bytes) -> None:
    """Raise `Rejected` unless the log holds this block at this height."""
    verify_inclusion(hash_leaf(block_hash), height - 1, log.size, log.path, log.root)


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the log of one size continues the log of a smaller one: no block up to the smaller was changed."""

    format: Format
    chain_id: Bytes32
    old_size: U64
    old_root: Bytes32
    new_size: U64
    new_root: Bytes32
    path: Path

    def __post_init__(self) -> None:
        if self.format != CONSISTENCY_FORMAT:
            raise ValueError(f"format '{self.format}' is not known")


def make_consistency(chain_id: bytes, leaves: Sequence[bytes], old_size: int) -> Consistency:
    """Return the proof that the log with these leaf hashes continues that of its first `old_size`."""
    roots = compute_root_of_hashes(leaves[:old_size]), compute_root_of_hashes(leaves)
    path = prove_consistency(leaves, old_size)
    return Consistency(CONSISTENCY_FORMAT, chain_id, old_size, roots[0], len(leaves), roots[1], path)


def check_consistency(proof: Consistency, old: Checkpoint | None = None, new: Checkpoint | None = None) -> None:
    """Raise `Rejected` unless the proof holds, and its ends are these checkpoints as far as they are given."""
    verify_consistency(proof.old_size, proof.new_size, proof.path, proof.old_root, proof.new_root)
    ends = (("older", old, proof.old_size, proof.old_root), ("newer", new, proof.new_size, proof.new_root))
    for name, checkpoint, size, root in ends:
        if checkpoint is None:
            continue
        if checkpoint.chain_id != proof.chain_id:
            raise Rejected(f"the {name} checkpoint is of another chain")
        if checkpoint.log_size != size:
            raise Rejected(f"the {name} checkpoint has height {checkpoint.log_size}, the proof is about {size}")
        if checkpoint.log_root != root:
            raise Rejected(f"the {name} checkpoint names another log: two histories of one chain exist")
