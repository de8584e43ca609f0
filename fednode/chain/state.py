"""The state of a chain's application as a value: a map from keys to records, and one hash that commits to all of it.

Security assumption: SHA-256 is collision resistant. A key falls into one of 4096 buckets by its hash; a bucket's
hash covers its leaves in key order, each with the kind of its record and both lengths; the root is the RFC 6962
tree over the bucket hashes. No two different states share a root, and a block costs only the buckets it changes.

    State   never changes; the next one shares every bucket that stayed the same
    Draft   the changes of one block on top of a State; `freeze` turns it into the next one

Records are decoded once per state and encoded once per block. What they are the application says (`RecordTable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from fednode.codec import decode, encode
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected, StorageError
from fednode.ids import Hash

# --- Merkle trees of RFC 6962: roots, inclusion and consistency proofs, and a log that only grows -----------------
# Leaves and inner nodes are hashed under different prefixes (0x00, 0x01), so no inner node can be passed off as a
# leaf; an odd node moves up unpaired, it is never doubled. Proof checks follow RFC 9162, sections 2.1.3.2 and
# 2.1.4.2. A proof about an empty tree proves nothing and is refused.


EMPTY_ROOT = sha256()
"""Root of the tree without leaves (RFC 6962, section 2.1)."""

MAX_PROOF_NODES = 128
"""More than any tree of 2^63 leaves needs, twice over: a bound for decoders."""


def hash_leaf(data: bytes) -> Hash:
    """Return the hash of a leaf with content `data`."""
    return sha256(b"\x00" + data)


def hash_node(left: bytes, right: bytes) -> Hash:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right)


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


# --- the state ----------------------------------------------------------------------------------------------------


BUCKETS = 4096
MAX_RECORD_BYTES = 8 * 1024 * 1024
"""A bound for the decoder; the largest record, a round of 100 members with every share opened, has under 1 MiB."""

T = TypeVar("T")

Changes = tuple[tuple[bytes, bytes | None], ...]
"""Keys a block changed, ascending, with the new value or None for 'deleted'."""

Leaf = tuple[int, bytes, bytes]
"""Kind, key and encoded record: all that a bucket's hash covers of one entry."""


def prefix_of(key: bytes) -> bytes:
    """Return what tells the kind of record that lies under a key."""
    return key.split(b"/", 1)[0]


@dataclass(frozen=True, slots=True)
class RecordTable:
    """The kinds of records an application keeps: a number and a form for each prefix of keys, which ends before `/`.

    The numbers are hashed: a number that was used once never stands for another kind.
    """

    rows: dict[bytes, tuple[int, type]]

    def __contains__(self, key: bytes) -> bool:
        """Whether keys of this kind are known."""
        return prefix_of(key) in self.rows

    def __getitem__(self, key: bytes) -> tuple[int, type]:
        """Return number and form of the record under `key`."""
        return self.rows[prefix_of(key)]

    def decode(self, key: bytes, data: bytes) -> object:
        """Return the record that `data` encodes under `key`; raise `Rejected` if it cannot be one."""
        if key not in self:
            raise Rejected("a key of a kind that this version does not know")
        return cast(object, decode(self[key][1], data, MAX_RECORD_BYTES))


def bucket_of(key: bytes) -> int:
    """Return the number of the bucket a key falls into."""
    return int.from_bytes(sha256(key)[:2], "big") >> 4


class _Entry:
    """The bytes of one record, and the record once somebody has read it."""

    __slots__ = ("data", "record")

    def __init__(self, data: bytes, record: object | None = None) -> None:
        self.data = data
        self.record = record


_Bucket = dict[bytes, _Entry]


def hash_bucket(leaves: Iterable[Leaf]) -> Hash:
    """Return what a bucket with these leaves, ascending by key, contributes to the tree under the state root."""
    parts: list[bytes] = []
    for kind, key, data in leaves:
        parts += (bytes([kind]), len(key).to_bytes(4, "big"), key, len(data).to_bytes(4, "big"), data)
    return hash_leaf(tagged_hash(Domain.STATE, *parts))


def _leaves(table: RecordTable, bucket: _Bucket) -> Iterator[Leaf]:
    return ((table[key][0], key, bucket[key].data) for key in sorted(bucket))


class State:
    """An immutable state. Equal roots mean equal states."""

    __slots__ = ("_buckets", "_nodes", "table")

    def __init__(self, table: RecordTable, buckets: tuple[_Bucket, ...], nodes: tuple[bytes, ...]) -> None:
        self.table = table
        # nodes is a heap: 1 is the root, i has the children 2i and 2i + 1, the leaves start at BUCKETS
        self._buckets = buckets
        self._nodes = nodes

    @staticmethod
    def empty(table: RecordTable) -> State:
        """Return the state without any key, for records of these kinds."""
        level: bytes = hash_bucket(())
        nodes = [b""] * (2 * BUCKETS)
        width = BUCKETS
        while width:
            nodes[width : 2 * width] = [level] * width
            level, width = hash_node(level, level), width // 2
        return State(table, ({},) * BUCKETS, tuple(nodes))

    @staticmethod
    def load(table: RecordTable, items: Iterable[tuple[bytes, bytes]]) -> State:
        """Build a state from stored keys and values."""
        draft: dict[int, _Bucket] = {}
        for key, value in items:
            if key not in table:
                raise StorageError("the stored state has a key of unknown kind; resync into a new directory")
            draft.setdefault(bucket_of(key), {})[key] = _Entry(value)
        return State.empty(table)._replace(draft)

    def _replace(self, changed: dict[int, _Bucket]) -> State:
        buckets, nodes = list(self._buckets), list(self._nodes)
        dirty = set()
        for number, bucket in changed.items():
            buckets[number] = bucket
            nodes[BUCKETS + number] = hash_bucket(_leaves(self.table, bucket))
            dirty.add((BUCKETS + number) // 2)
        while dirty:  # every node of one level is done before its parents: all leaves have the same depth
            for node in dirty:
                nodes[node] = hash_node(nodes[2 * node], nodes[2 * node + 1])
            dirty = {node // 2 for node in dirty if node > 1}
        return State(self.table, tuple(buckets), tuple(nodes))

    @property
    def root(self) -> Hash:
        """The state root a header carries."""
        return Hash(self._nodes[1])

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key and value, ascending by key."""
        merged = {key: entry.data for bucket in self._buckets for key, entry in bucket.items()}
        for key in sorted(merged):
            yield key, merged[key]

    def bucket(self, number: int) -> tuple[Leaf, ...]:
        """Return the leaves of one bucket, ascending by key: what a proof about one of its keys must show."""
        return tuple(_leaves(self.table, self._buckets[number]))

    def leaves(self) -> Iterator[Leaf]:
        """Yield every leaf by bucket, then key: the order of an export."""
        for bucket in self._buckets:
            yield from _leaves(self.table, bucket)

    def bucket_path(self, number: int) -> tuple[Hash, ...]:
        """Return the RFC 6962 audit path of one bucket under the root, from its sibling up."""
        node, path = BUCKETS + number, []
        while node > 1:
            path.append(Hash(self._nodes[node ^ 1]))
            node //= 2
        return tuple(path)

    def read(self, key: bytes, form: type[T]) -> T | None:
        """Return the record under `key`, or None."""
        entry = self._buckets[bucket_of(key)].get(key)
        if entry is None:
            return None
        if entry.record is None:
            try:
                entry.record = decode(form, entry.data, MAX_RECORD_BYTES)
            except Rejected as error:
                raise StorageError(
                    f"a stored {form.__name__} is damaged ({error.reason}); resync into a new directory"
                ) from None
        return cast(T, entry.record)


class Draft:
    """The changes of one block, readable like a state. `mark` and `roll_back` undo a refused transaction."""

    __slots__ = ("_base", "_changes", "_undo")

    def __init__(self, base: State) -> None:
        self._base = base
        self._changes: dict[bytes, object | None] = {}
        self._undo: list[tuple[bytes, bool, object | None]] = []

    def read(self, key: bytes, form: type[T]) -> T | None:
        """Return the record under `key` as the block so far has left it."""
        if key in self._changes:
            return cast("T | None", self._changes[key])
        return self._base.read(key, form)

    def write(self, key: bytes, record: object | None) -> None:
        """Put a record under `key`; None deletes it."""
        self._undo.append((key, key in self._changes, self._changes.get(key)))
        self._changes[key] = record

    def mark(self) -> None:
        """Start a step that can be rolled back."""
        self._undo.clear()

    def roll_back(self) -> None:
        """Undo everything since `mark`."""
        for key, was_changed, record in reversed(self._undo):
            if was_changed:
                self._changes[key] = record
            else:
                del self._changes[key]
        self._undo.clear()

    def freeze(self) -> tuple[State, Changes]:
        """Return the next state and what changed: each record is encoded here, once."""
        changed: dict[int, _Bucket] = {}
        out: list[tuple[bytes, bytes | None]] = []
        for key in sorted(self._changes):
            record = self._changes[key]
            number = bucket_of(key)
            old = self._base._buckets[number].get(key)
            data = None if record is None else encode(record, self._base.table[key][1])
            if data == (old.data if old else None):
                continue
            out.append((key, data))
            bucket = changed.setdefault(number, dict(self._base._buckets[number]))
            if data is None:
                del bucket[key]
            else:
                bucket[key] = _Entry(data, record)
        return (self._base._replace(changed) if changed else self._base), tuple(out)


class Source(Protocol):
    """Where records are read from: a `State` or a `Draft`."""

    def read(self, key: bytes, form: type[T]) -> T | None:
        """Return the record under `key`, or None."""
        ...
