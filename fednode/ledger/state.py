"""The ledger's state as a value: a map from keys to records, and one hash that commits to all of it.

Security assumption: SHA-256 is collision resistant. A key falls into one of 4096 buckets by its hash; a bucket's
hash covers its leaves in key order, each with the kind of its record and both lengths; the root is the RFC 6962
tree over the bucket hashes. No two different states share a root, and a block costs only the buckets it changes.

    State   never changes; the next one shares every bucket that stayed the same
    Draft   the changes of one block on top of a State; `freeze` turns it into the next one

Records are decoded once per state and encoded once per block. `get_*` and `is_*` work on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, cast

from fednode.chain.members import Member, MemberSet
from fednode.chain.merkle import hash_leaf, hash_node
from fednode.codec import decode, encode
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected, StorageError
from fednode.ids import Hash, MemberId, StudyId
from fednode.ledger.bodies import Keys
from fednode.ledger.check_bodies import Confirm, Proof, Recheck, Redeal, ShareRoot
from fednode.ledger.members.records import FlagRecord, Membership, OriginRecord, RoleList, UsedKey, VersionRecord
from fednode.ledger.records import (
    ChainRecord,
    MemberList,
    MemberRecord,
    NonceRecord,
    RoundRecord,
    RoundReport,
    SeenRecord,
    SpecRecord,
    StudyList,
    StudyRecord,
)

BUCKETS = 4096
MAX_RECORD_BYTES = 8 * 1024 * 1024
"""A bound for the decoder; the largest record, a round of 100 members with every share opened, has under 1 MiB."""

T = TypeVar("T")

_FORMS: dict[bytes, tuple[int, type]] = {
    b"chain": (1, ChainRecord),
    b"members": (2, MemberList),
    b"nonce": (3, NonceRecord),
    b"studies": (4, StudyList),
    b"study": (5, StudyRecord),
    b"spec": (6, SpecRecord),
    b"round": (7, RoundRecord),
    b"report": (8, RoundReport),
    b"keys": (9, Keys),
    b"seen": (10, SeenRecord),
    b"membership": (11, Membership),
    b"usedkey": (12, UsedKey),
    b"roles": (13, RoleList),
    b"flag": (14, FlagRecord),
    b"share": (15, ShareRoot),
    b"proof": (16, Proof),
    b"recheck": (17, Recheck),
    b"redeal": (18, Redeal),
    b"confirm": (19, Confirm),
    b"versions": (20, VersionRecord),
    b"origin": (21, OriginRecord),
}
"""Kind and form of the records under each prefix of keys; the numbers are hashed, never reuse one."""

Changes = tuple[tuple[bytes, bytes | None], ...]
"""Keys a block changed, ascending, with the new value or None for 'deleted'."""

Leaf = tuple[int, bytes, bytes]
"""Kind, key and encoded record: all that a bucket's hash covers of one entry."""


def _form_of(key: bytes) -> tuple[int, type]:
    return _FORMS[key.split(b"/", 1)[0]]


def decode_record(key: bytes, data: bytes) -> object:
    """Return the record that `data` encodes under `key`; raise `Rejected` if it cannot be one."""
    if key.split(b"/", 1)[0] not in _FORMS:
        raise Rejected("a key of a kind that this version does not know")
    return cast(object, decode(_form_of(key)[1], data, MAX_RECORD_BYTES))


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


def _leaves(bucket: _Bucket) -> Iterator[Leaf]:
    return ((_form_of(key)[0], key, bucket[key].data) for key in sorted(bucket))


def _hash_bucket(bucket: _Bucket) -> Hash:
    return hash_bucket(_leaves(bucket))


class State:
    """An immutable state. Equal roots mean equal states."""

    __slots__ = ("_buckets", "_nodes")

    def __init__(self, buckets: tuple[_Bucket, ...], nodes: tuple[bytes, ...]) -> None:
        # nodes is a heap: 1 is the root, i has the children 2i and 2i + 1, the leaves start at BUCKETS
        self._buckets = buckets
        self._nodes = nodes

    @staticmethod
    def empty() -> State:
        """Return the state without any key."""
        level: bytes = _hash_bucket({})
        nodes = [b""] * (2 * BUCKETS)
        width = BUCKETS
        while width:
            nodes[width : 2 * width] = [level] * width
            level, width = hash_node(level, level), width // 2
        return State(({},) * BUCKETS, tuple(nodes))

    @staticmethod
    def load(items: Iterable[tuple[bytes, bytes]]) -> State:
        """Build a state from stored keys and values."""
        draft: dict[int, _Bucket] = {}
        for key, value in items:
            if key.split(b"/", 1)[0] not in _FORMS:
                raise StorageError("the stored state has a key of unknown kind; resync into a new directory")
            draft.setdefault(bucket_of(key), {})[key] = _Entry(value)
        return State.empty()._replace(draft)

    def _replace(self, changed: dict[int, _Bucket]) -> State:
        buckets, nodes = list(self._buckets), list(self._nodes)
        dirty = set()
        for number, bucket in changed.items():
            buckets[number] = bucket
            nodes[BUCKETS + number] = _hash_bucket(bucket)
            dirty.add((BUCKETS + number) // 2)
        while dirty:  # every node of one level is done before its parents: all leaves have the same depth
            for node in dirty:
                nodes[node] = hash_node(nodes[2 * node], nodes[2 * node + 1])
            dirty = {node // 2 for node in dirty if node > 1}
        return State(tuple(buckets), tuple(nodes))

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
        return tuple(_leaves(self._buckets[number]))

    def leaves(self) -> Iterator[Leaf]:
        """Yield every leaf by bucket, then key: the order of an export."""
        for bucket in self._buckets:
            yield from _leaves(bucket)

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
            data = None if record is None else encode(record, _form_of(key)[1])
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


# --- keys ------------------------------------------------------------------------------------------------------

CHAIN_KEY = b"chain"
ORIGIN_KEY = b"origin"
MEMBERS_KEY = b"members"
STUDIES_KEY = b"studies"
MEMBERSHIP_KEY = b"membership"
ROLES_KEY = b"roles"
VERSIONS_KEY = b"versions"


def nonce_key(member: int) -> bytes:
    """Key of a sender's highest nonce."""
    return b"nonce/" + member.to_bytes(2, "big")


def study_key(study: bytes) -> bytes:
    """Key of a study's record."""
    return b"study/" + study


def spec_key(study: bytes) -> bytes:
    """Key of a study's specification."""
    return b"spec/" + study


def round_key(study: bytes) -> bytes:
    """Key of the round a study is in."""
    return b"round/" + study


def report_key(study: bytes, number: int) -> bytes:
    """Key of a closed round's report."""
    return b"report/" + study + number.to_bytes(4, "big")


def keys_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of the keys a member posted in an attempt."""
    place = number.to_bytes(4, "big") + attempt.to_bytes(2, "big") + member.to_bytes(2, "big")
    return b"keys/" + study + place


def seen_key(point: bytes) -> bytes:
    """Key under which a used key point is remembered."""
    return b"seen/" + point


def used_key(key: bytes) -> bytes:
    """Key under which a member's former key is remembered."""
    return b"usedkey/" + key


def flag_key(member: int) -> bytes:
    """Key of a member's double votes."""
    return b"flag/" + member.to_bytes(2, "big")


# --- readers ---------------------------------------------------------------------------------------------------

def _require(record: T | None, what: str) -> T:
    if record is None:
        raise StorageError(f"the state has no {what}: it was not made from a genesis")
    return record


def get_chain(source: Source) -> ChainRecord:
    """Return what the genesis said about the chain."""
    return _require(source.read(CHAIN_KEY, ChainRecord), "chain record")


def get_members(source: Source) -> tuple[MemberRecord, ...]:
    """Return all members, ascending."""
    return _require(source.read(MEMBERS_KEY, MemberList), "members").members


def get_member_set(source: Source) -> MemberSet:
    """Return the voters, as headers and certificates know them."""
    return MemberSet(tuple(Member(record.member, record.sign_key) for record in get_members(source)))


def get_nonce(source: Source, member: int) -> int:
    """Return the highest nonce a member has used; 0 if none."""
    record = source.read(nonce_key(member), NonceRecord)
    return 0 if record is None else record.nonce


def get_studies(source: Source) -> tuple[StudyId, ...]:
    """Return the ids of all studies in order of creation."""
    record = source.read(STUDIES_KEY, StudyList)
    return () if record is None else tuple(StudyId(study) for study in record.studies)


def get_study(source: Source, study: bytes) -> StudyRecord | None:
    """Return a study's record."""
    return source.read(study_key(study), StudyRecord)


def get_spec(source: Source, study: bytes) -> bytes | None:
    """Return the bytes of a study's specification."""
    record = source.read(spec_key(study), SpecRecord)
    return None if record is None else record.spec


def get_round(source: Source, study: bytes) -> RoundRecord | None:
    """Return the round a study is in, if one runs."""
    return source.read(round_key(study), RoundRecord)


def get_report(source: Source, study: bytes, number: int) -> RoundReport | None:
    """Return the report of a closed round."""
    return source.read(report_key(study, number), RoundReport)


def get_keys(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> Keys | None:
    """Return the keys a member posted in an attempt of the running round."""
    return source.read(keys_key(study, number, attempt, member), Keys)


def is_point_seen(source: Source, point: bytes) -> bool:
    """Whether a key point was ever used on this chain."""
    return source.read(seen_key(point), SeenRecord) is not None

