"""The state of a chain's application as a value: a map from keys to records, and one hash that commits to all of it.

Security assumption: SHA-256 is collision resistant. A key falls into one of 4096 buckets by its hash; a bucket's
hash covers its leaves in key order, each with the kind of its record and both lengths; the root is the RFC 6962
tree over the bucket hashes. No two different states share a root, and a block costs only the buckets it changes.

    State   never changes; the next one shares every bucket that stayed the same
    Draft   the changes of one block on top of a State; `freeze` turns it into the next one

Records are decoded once per state and encoded once per block. What they are the application says (`RecordTable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from fednode.chain.merkle import hash_leaf, hash_node
from fednode.codec import decode, encode
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected, StorageError
from fednode.ids import Hash

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
