"""Merkle trees of RFC 6962: roots, inclusion and consistency proofs, and a log that only grows.

Security assumption: SHA-256 is collision resistant. Leaves and inner nodes are hashed under different prefixes
(0x00, 0x01), so no inner node can be passed off as a leaf; an odd node moves up unpaired, it is never doubled.

Proof checks follow RFC 9162, sections 2.1.3.2 and 2.1.4.2. A proof about an empty tree proves nothing and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from fednode.errors import Rejected
from fednode.ids import Hash

EMPTY_ROOT = Hash(sha256(b"").digest())
"""Root of the tree without leaves (RFC 6962, section 2.1)."""

MAX_PROOF_NODES = 128
"""More than any tree of 2^63 leaves needs, twice over: a bound for decoders."""


def hash_leaf(data: bytes) -> Hash:
    """Return the hash of a leaf with content `data`."""
    return Hash(sha256(b"\x00" + data).digest())


def hash_node(left: bytes, right: bytes) -> Hash:
    """Return the hash of an inner node."""
    return Hash(sha256(b"\x01" + left + right).digest())


def compute_root(leaves: Sequence[bytes]) -> Hash:
    """Return the root over leaf *contents*; `EMPTY_ROOT` for none."""
    return compute_root_of_hashes([hash_leaf(leaf) for leaf in leaves])


def compute_root_of_hashes(hashes: Sequence[bytes]) -> Hash:
    """Return the root over leaf hashes. Works level by level: an unpaired last node moves up as it is."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        above: list[bytes] = [hash_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return Hash(level[0])


def _largest_power_below(size: int) -> int:
    """Return the largest power of two smaller than `size` (2 or more): where RFC 6962 splits a tree."""
    return 1 << (size - 1).bit_length() - 1


def prove_inclusion(hashes: Sequence[bytes], index: int) -> tuple[Hash, ...]:
    """Return the audit path of leaf `index`, from its sibling up to the root (RFC 6962, section 2.1.1)."""
    if not 0 <= index < len(hashes):
        raise ValueError("leaf index outside the tree")
    if len(hashes) == 1:
        return ()
    split = _largest_power_below(len(hashes))
    if index < split:
        return (*prove_inclusion(hashes[:split], index), compute_root_of_hashes(hashes[split:]))
    return (*prove_inclusion(hashes[split:], index - split), compute_root_of_hashes(hashes[:split]))


def prove_consistency(hashes: Sequence[bytes], old_size: int) -> tuple[Hash, ...]:
    """Return the proof that the tree of the first `old_size` leaves is a prefix (RFC 6962, section 2.1.2)."""
    if not 0 < old_size <= len(hashes):
        raise ValueError("old size outside the tree")
    return _prove_subtree(hashes, old_size, True)


def _prove_subtree(hashes: Sequence[bytes], old_size: int, is_complete: bool) -> tuple[Hash, ...]:
    if old_size == len(hashes):
        return () if is_complete else (compute_root_of_hashes(hashes),)
    split = _largest_power_below(len(hashes))
    if old_size <= split:
        below = _prove_subtree(hashes[:split], old_size, is_complete)
        return (*below, compute_root_of_hashes(hashes[split:]))
    below = _prove_subtree(hashes[split:], old_size - split, False)
    return (*below, compute_root_of_hashes(hashes[:split]))


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise `Rejected` unless `leaf_hash` is leaf `index` of the tree with `size` leaves and this root."""
    _check_nodes(leaf_hash, root, *proof)
    if not 0 <= index < size:
        raise Rejected("leaf index outside the tree")
    position, last, value = index, size - 1, leaf_hash
    for node in proof:
        if last == 0:
            raise Rejected("inclusion proof too long")
        if position & 1 or position == last:
            value = hash_node(node, value)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            value = hash_node(value, node)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise Rejected("inclusion proof too short")
    if value != root:
        raise Rejected("inclusion proof leads to another root")


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raise `Rejected` unless the tree (new_size, new_root) extends the tree (old_size, old_root)."""
    if not 0 < old_size <= new_size:
        raise Rejected("sizes of a consistency proof must be positive and not shrink")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise Rejected("trees of one size differ")
        return
    _check_nodes(old_root, new_root, *proof)
    if not proof:
        raise Rejected("consistency proof too short")
    nodes = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_value = new_value = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise Rejected("consistency proof too long")
        if position & 1 or position == last:
            old_value, new_value = hash_node(node, old_value), hash_node(node, new_value)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_value = hash_node(new_value, node)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise Rejected("consistency proof too short")
    if old_value != old_root or new_value != new_root:
        raise Rejected("consistency proof leads to another root")


def _check_nodes(*nodes: bytes) -> None:
    if len(nodes) > MAX_PROOF_NODES:
        raise Rejected("proof too long")
    if any(len(node) != 32 for node in nodes):
        raise Rejected("a node of a proof has 32 bytes")


class Log:
    """An append-only RFC 6962 tree that keeps only the roots of its perfect subtrees, largest first.

    At most one node per bit of the size, so the log over all block hashes costs a few hundred bytes.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or len(peaks) != size.bit_count():
            raise ValueError("a log of this size has another number of peaks")
        self._size = size
        self._peaks = list(peaks)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees, largest first: all that must be stored."""
        return tuple(self._peaks)

    def append(self, data: bytes) -> None:
        """Add one leaf with content `data`."""
        node: bytes = hash_leaf(data)
        size = self._size
        while size & 1:
            node = hash_node(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self._size += 1

    def compute_root(self) -> Hash:
        """Return the root over all leaves; `EMPTY_ROOT` for none."""
        if not self._peaks:
            return EMPTY_ROOT
        value = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            value = hash_node(peak, value)
        return Hash(value)
