"""A stretch of the chain in one file, for people who run no node.

Security assumption: an export proves itself. It carries the genesis (whose hash is the chain id), every block with its
certificate, receipts and member changes, and every record of the state after the last block, from which the state root
in that block's header is rebuilt. The records, not proofs of single ones, because only all of them together show that
no round report was left out. The digest at the end finds damage, not forgery.

    file    = PREAMBLE record*
    record  = length (4 bytes, big-endian) || canonical msgpack of one of the forms below
    order   = head step* item* block* end

An export that does not begin with block 1 has steps from the genesis to the block before its first (`light.py`).
Items are in order of bucket, then key, so that a reader needs one bucket in memory at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, cast

from fednode.audit.verify import MAX_CERTIFICATE_BYTES, ChainEntry
from fednode.chain.block import MAX_BLOCK_BYTES, MAX_TRANSACTIONS
from fednode.chain.light import LightBlock
from fednode.chain.state import BUCKETS, MAX_RECORD_BYTES, Leaf, bucket_of, compute_root_of_hashes, hash_bucket
from fednode.chain.vote import MemberSet
from fednode.codec import U8, U16, U64, Bytes32, Size, decode, encode, tagged
from fednode.errors import Rejected
from fednode.ids import Hash
from fednode.ledger.genesis import Genesis

EXPORT_FORMAT = 1
PREAMBLE = (
    b"fednode-export 1\n"
    b"Blocks of a fednode chain with certificates and receipts, and the state after the last block.\n"
    b"Check it with: python scripts/verify_export.py --chain-id ID FILE (needs Python and PyNaCl, nothing of fednode)\n"
    b"\n"
)
LENGTH_BYTES = 4
MAX_GENESIS_BYTES = 32 * 1024 * 1024
MAX_EXPORT_RECORD_BYTES = MAX_GENESIS_BYTES + 1024
"""Largest record of the file: one record of the state. A block with its receipts has at most 3 MiB."""


@tagged(1)
@dataclass(frozen=True, slots=True)
class ExportHead:
    """What the file holds: blocks `first` to `last` of the chain with this genesis, the last one with this hash."""

    format: U16
    chain_id: Bytes32
    first: U64
    last: U64
    last_hash: Bytes32
    genesis: Annotated[bytes, Size(1, MAX_GENESIS_BYTES)]


@tagged(2)
@dataclass(frozen=True, slots=True)
class ExportStep:
    """A block on the way from the genesis to the block before the first; that block is the last step."""

    block: LightBlock


@tagged(3)
@dataclass(frozen=True, slots=True)
class ExportItem:
    """One record of the state: its kind, which is hashed with it, its key and its bytes."""

    kind: U8
    key: Annotated[bytes, Size(1, 256)]
    value: Annotated[bytes, Size(0, MAX_RECORD_BYTES)]


@tagged(4)
@dataclass(frozen=True, slots=True)
class ExportBlock:
    """A block with what proves it final and what came of it; `next_members` only where the block changes the set."""

    block: Annotated[bytes, Size(1, MAX_BLOCK_BYTES)]
    certificate: Annotated[bytes, Size(1, MAX_CERTIFICATE_BYTES)]
    receipts: Annotated[tuple[Annotated[bytes, Size(1, 1024)], ...], Size(0, MAX_TRANSACTIONS)]
    next_members: MemberSet | None


@tagged(5)
@dataclass(frozen=True, slots=True)
class ExportEnd:
    """How many records of each kind came before, and SHA-256 over the file up to here."""

    steps: U64
    items: U64
    blocks: U64
    digest: Bytes32


Record = ExportHead | ExportStep | ExportItem | ExportBlock | ExportEnd


# --- writing ---------------------------------------------------------------------------------------------------

def make_head(genesis: Genesis, first: int, last: int, last_hash: bytes) -> ExportHead:
    """Return the head of an export of blocks `first` to `last`; raise `Rejected` if there is none of them."""
    if not 1 <= first <= last:
        raise Rejected(f"blocks {first} to {last} are none")
    return ExportHead(EXPORT_FORMAT, genesis.chain_id, first, last, last_hash, encode(genesis))


def write_export(
    head: ExportHead, steps: Iterable[LightBlock], leaves: Iterable[Leaf], blocks: Iterable[ExportBlock]
) -> Iterator[bytes]:
    """Yield the bytes of an export, piece by piece. `leaves`: the state after the last block, by bucket and key."""
    digest, counts = hashlib.sha256(PREAMBLE), [0, 0, 0]
    yield PREAMBLE

    def frame(record: Record) -> bytes:
        data = encode(record, Record)
        piece = len(data).to_bytes(LENGTH_BYTES, "big") + data
        digest.update(piece)
        return piece

    yield frame(head)
    for step in steps:
        counts[0] += 1
        yield frame(ExportStep(step))
    for leaf in leaves:
        counts[1] += 1
        yield frame(ExportItem(*leaf))
    for block in blocks:
        counts[2] += 1
        yield frame(block)
    yield frame(ExportEnd(counts[0], counts[1], counts[2], digest.digest()))


def record_of(entry: ChainEntry) -> ExportBlock:
    """Return a block as an export has it; raise `Rejected` if its member set cannot be read."""
    members = None if entry.next_members is None else decode(MemberSet, entry.next_members, MAX_CERTIFICATE_BYTES)
    return ExportBlock(entry.block, entry.certificate, entry.receipts or (), members)


# --- reading ---------------------------------------------------------------------------------------------------

Read = Callable[[int], bytes]
"""Returns the next so many bytes of a file, fewer only at its end."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An export whose head was read; `records` are the rest, up to the end, whose counts and digest are checked."""

    head: ExportHead
    genesis: Genesis
    records: Iterator[ExportStep | ExportItem | ExportBlock]


def open_export(read: Read) -> Opened:
    """Begin to read an export; raise `Rejected`, here or while reading on, where the file is not one."""
    if read(len(PREAMBLE)) != PREAMBLE:
        raise Rejected("this is no fednode export of format 1")
    digest = hashlib.sha256(PREAMBLE)
    head = _read_record(read, digest)
    if not isinstance(head, ExportHead):
        raise Rejected("the export does not begin with its head")
    if head.format != EXPORT_FORMAT or not 1 <= head.first <= head.last:
        raise Rejected("the head of the export is of another format, or names no blocks")
    genesis = decode(Genesis, head.genesis, MAX_GENESIS_BYTES)
    if genesis.chain_id != head.chain_id:
        raise Rejected("the genesis in the export is not that of the chain it names")
    return Opened(head, genesis, _read_rest(read, digest, head))


def _read_record(read: Read, digest: hashlib._Hash) -> Record:
    length = read(LENGTH_BYTES)
    size = int.from_bytes(length, "big")
    if len(length) < LENGTH_BYTES or size > MAX_EXPORT_RECORD_BYTES:
        raise Rejected("the export is cut off, or a record of it is longer than any can be")
    data = read(size)
    if len(data) != size:
        raise Rejected("the export is cut off in the middle of a record")
    record = decode(cast("type[Record]", Record), data, MAX_EXPORT_RECORD_BYTES)
    if not isinstance(record, ExportEnd):
        digest.update(length)
        digest.update(data)
    return record


_PLACES: dict[type, int] = {ExportStep: 0, ExportItem: 1, ExportBlock: 2}


def _read_rest(
    read: Read, digest: hashlib._Hash, head: ExportHead
) -> Iterator[ExportStep | ExportItem | ExportBlock]:
    counts, place = [0, 0, 0], 0
    while not isinstance(record := _read_record(read, digest), ExportEnd):
        if isinstance(record, ExportHead) or _PLACES[type(record)] < place:
            raise Rejected("a record of the export is out of its order")
        place = _PLACES[type(record)]
        counts[place] += 1
        yield record
    if record != ExportEnd(counts[0], counts[1], counts[2], digest.digest()):
        raise Rejected("the digest at the end of the export differs: the file was damaged or cut")
    if counts[2] != head.last - head.first + 1 or bool(counts[0]) != (head.first > 1):
        raise Rejected("the export does not hold the blocks its head names")
    if read(1):
        raise Rejected("something follows the end of the export")


class StateReader:
    """Rebuilds a state root from leaves in order of bucket and key, one bucket in memory at a time."""

    def __init__(self) -> None:
        self._hashes = [hash_bucket(())] * BUCKETS
        self._number = -1
        self._bucket: list[Leaf] = []
        self.is_empty = True

    def add(self, item: ExportItem) -> None:
        """Take the next record; raise `Rejected` if it is out of order."""
        number = bucket_of(item.key)
        if number < self._number or (self._bucket and number == self._number and item.key <= self._bucket[-1][1]):
            raise Rejected("the records of the state are out of order, or one is there twice")
        if number != self._number:
            self._close()
            self._number = number
        self._bucket.append((item.kind, item.key, item.value))
        self.is_empty = False

    def _close(self) -> None:
        if self._bucket:
            self._hashes[self._number] = hash_bucket(self._bucket)
        self._bucket = []

    def compute_root(self) -> Hash:
        """Return the root over all records taken."""
        self._close()
        return compute_root_of_hashes(self._hashes)


def entry_of(record: ExportBlock) -> ChainEntry:
    """Return a block of an export as `verify_chain` reads it."""
    members = None if record.next_members is None else encode(record.next_members)
    return ChainEntry(record.block, record.certificate, record.receipts, members)


