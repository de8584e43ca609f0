"""What a node keeps of the chain, and the keys it lies under.

Security assumption: one decided block is one atomic, synced write: block, certificate, receipts, state and indexes
can never be of different heights. A store that contradicts itself is never repaired; a node resyncs into a new one.

    b/h    header and evidence        t/h/i  transaction i          r/h/i  its receipt
    c/h    certificate of block h, as block h + 1 carries it        s      seen certificate of the tip
    H/x    height of block hash x     x/id   height and index of a transaction
    v/h    member set that decides from height h on                 S/key  state          m/...  format, chain, tip
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Protocol

from fednode.chain.block import Block, Header, Receipt, Tip, compute_block_hash
from fednode.chain.founding import Founding
from fednode.chain.state import Changes, State
from fednode.chain.vote import Certificate, Evidence, MemberSet, verify_certificate
from fednode.codec import Size, decode, encode
from fednode.crypto import sha256
from fednode.errors import Rejected, StorageError
from fednode.ids import Hash, Height

STORE_FORMAT = 1
CHECKED_BLOCKS = 64
"""Latest blocks whose links are looked at when a store is opened."""

MAX_STORED_BYTES = 8 * 1024 * 1024
RESYNC = "'fednode start --resync' moves the directory away, keeps it, and fetches the chain from the other members"

FORMAT_KEY = b"m/format"
CHAIN_KEY = b"m/chain"
TIP_KEY = b"m/tip"
SEEN_KEY = b"s"
STATE_PREFIX = b"S/"
MEMBERS_PREFIX = b"v/"


class StoreDamaged(StorageError):
    """The store contradicts itself: nothing in it is used any more, and the chain is fetched anew."""


def height_key(prefix: bytes, height: int) -> bytes:
    """Return the key of something of one height."""
    return prefix + height.to_bytes(8, "big")


def item_key(prefix: bytes, height: int, index: int) -> bytes:
    """Return the key of the transaction or receipt `index` of a block."""
    return prefix + height.to_bytes(8, "big") + index.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class BlockHead:
    """A block without its transactions and its parent's certificate, which have keys of their own."""

    header: Header
    evidence: Annotated[tuple[Evidence, ...], Size(0, 16)]


@dataclass(frozen=True, slots=True)
class TransactionPlace:
    """Where a transaction lies in the chain."""

    height: Height
    index: int


@dataclass(frozen=True, slots=True)
class DecidedBlock:
    """All of one decided block: written together or not at all. `tip` is the end of the chain after it."""

    block: Block
    certificate: Certificate
    tip: Tip
    receipts: tuple[Receipt, ...]
    changes: Changes


class LedgerStore(Protocol):
    """Keeps a chain. Reads return None for what is not there and raise `StorageError` for what is damaged."""

    @property
    def tip(self) -> Tip:
        """The end of the stored chain; the genesis tip before the first block."""
        ...

    def load_state(self) -> State:
        """Return the state after the tip."""
        ...

    def append(self, decided: DecidedBlock) -> None:
        """Make the block after the tip durable before returning."""
        ...

    def get_block(self, height: int) -> Block | None:
        """Return a block."""
        ...

    def get_certificate(self, height: int) -> Certificate | None:
        """Return the certificate of a block: of the tip the seen one, else the one its successor carries."""
        ...

    def get_receipts(self, height: int) -> tuple[Receipt, ...] | None:
        """Return a block's receipts in order of its transactions."""
        ...

    def get_members(self, height: int) -> MemberSet:
        """Return the member set that decides a height."""
        ...

    def find_block(self, block_hash: bytes) -> Height | None:
        """Return the height of a block hash."""
        ...

    def find_transaction(self, txid: bytes) -> TransactionPlace | None:
        """Return where a transaction is."""
        ...

    def blocks(self, first: int, last: int) -> Iterator[tuple[Block, Certificate]]:
        """Yield the blocks `first` to `last` as far as they are there, each with its certificate."""
        ...

    def headers(self, first: int, last: int) -> Iterator[Header]:
        """Yield the headers of the blocks `first` to `last` as far as they are there, and read nothing else."""
        ...

    def close(self) -> None:
        """Release the store."""
        ...


Batch = list[tuple[bytes, bytes | None]]
"""Keys to write, or to delete where the value is None."""


def genesis_batch(genesis: Founding, tip: Tip) -> Batch:
    """Return what an empty store is filled with."""
    batch: Batch = [
        (FORMAT_KEY, STORE_FORMAT.to_bytes(2, "big")),
        (CHAIN_KEY, genesis.chain_id),
        (TIP_KEY, encode(tip)),
        (height_key(MEMBERS_PREFIX, 1), encode(tip.members)),
    ]
    batch += [(STATE_PREFIX + key, value) for key, value in genesis.first_state().items()]
    return batch


def block_batch(tip: Tip, decided: DecidedBlock) -> Batch:
    """Return what a block that follows `tip` adds to the store."""
    block, height = decided.block, decided.block.height
    if height != tip.height + 1 or block.header.parent_hash != tip.block_hash:
        raise AssertionError("only the block after the tip can be stored")
    if decided.tip.block_hash != block.hash or decided.certificate.block_hash != block.hash:
        raise AssertionError("tip and certificate must be those of the block")
    if len(decided.receipts) != len(block.transactions):
        raise AssertionError("one receipt per transaction")
    batch: Batch = [
        (height_key(b"b/", height), encode(BlockHead(block.header, block.evidence))),
        (b"H/" + block.hash, height.to_bytes(8, "big")),
        (SEEN_KEY, encode(decided.certificate)),
        (TIP_KEY, encode(decided.tip)),
    ]
    if block.parent_certificate is not None:
        batch.append((height_key(b"c/", height - 1), encode(block.parent_certificate)))
    if decided.tip.members != tip.members:
        batch.append((height_key(MEMBERS_PREFIX, height + 1), encode(decided.tip.members)))
    for index, (data, receipt) in enumerate(zip(block.transactions, decided.receipts, strict=True)):
        batch.append((item_key(b"t/", height, index), data))
        batch.append((item_key(b"r/", height, index), encode(receipt)))
        batch.append((b"x/" + sha256(data), item_key(b"", height, index)))
    batch += [(STATE_PREFIX + key, value) for key, value in decided.changes]
    return batch


def check_store(store: LedgerStore, genesis: Founding, state_root: bytes) -> None:
    """Raise `StorageError` unless tip, latest links, the tip's certificate and the state belong together.

    `state_root` is that of the loaded state. Costs a few milliseconds whatever the length of the chain, except for
    the state, which has been read anyway.
    """
    tip = store.tip
    if tip.chain_id != genesis.chain_id:
        raise StorageError(f"the store holds another chain than genesis '{genesis.name}'; use its own home directory")
    if tip.height == 0:
        expected = genesis.first_state().root
    else:
        expected = _check_latest(store, tip)
    if state_root != expected:
        raise StoreDamaged(f"the stored state is not the one block {tip.height} names; {RESYNC}")


def _check_latest(store: LedgerStore, tip: Tip) -> Hash:
    """Check the last blocks from the tip down; return the state root the tip's header names."""
    wanted, root = tip.block_hash, b""
    for height in range(tip.height, max(0, tip.height - CHECKED_BLOCKS), -1):
        block = store.get_block(height)
        if block is None or compute_block_hash(block.header) != wanted or store.find_block(wanted) != height:
            raise StoreDamaged(f"block {height} in the store is missing or not the one its successor names; {RESYNC}")
        wanted = Hash(block.header.parent_hash)
        root = root or block.header.state_root
    certificate = store.get_certificate(tip.height)
    try:
        if certificate is None or (certificate.height, certificate.block_hash) != (tip.height, tip.block_hash):
            raise Rejected("it is of another block")
        verify_certificate(certificate, tip.signed_by, tip.chain_id)
    except Rejected as error:
        raise StoreDamaged(f"the certificate of block {tip.height} does not hold ({error.reason}); {RESYNC}") from None
    return Hash(root)


def decode_stored(form: type, data: bytes, what: str) -> object:
    """Decode what this node wrote; raise `StorageError` if it cannot be read."""
    try:
        return decode(form, data, MAX_STORED_BYTES)
    except Rejected as error:
        raise StoreDamaged(f"{what} in the store is damaged ({error.reason}); {RESYNC}") from None
