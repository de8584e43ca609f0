"""The chain on disk: LevelDB, the only file that imports plyvel.

Security assumption: with `paranoid_checks` and `verify_checksums` LevelDB reports a damaged file instead of leaving
records out (with its defaults it opened with 70 of 2000 records missing after 16 changed bytes). A synced batch is
atomic and durable. What LevelDB does not notice by itself is looked at before it opens anything (`leveldb_files`).
Nothing is ever repaired in place, and no directory is deleted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar, cast

import plyvel

from fednode.chain.block import Block, Header, Receipt, Tip, genesis_tip
from fednode.chain.founding import Founding
from fednode.chain.leveldb_files import Damage, check_files
from fednode.chain.state import State
from fednode.chain.store import (
    CHAIN_KEY,
    FORMAT_KEY,
    MEMBERS_PREFIX,
    RESYNC,
    SEEN_KEY,
    STATE_PREFIX,
    STORE_FORMAT,
    TIP_KEY,
    Batch,
    BlockHead,
    DecidedBlock,
    StoreDamaged,
    TransactionPlace,
    block_batch,
    check_store,
    decode_stored,
    genesis_batch,
    height_key,
)
from fednode.chain.vote import Certificate, MemberSet
from fednode.errors import HomeInUse, StorageError, Unavailable
from fednode.ids import Height

WRITE_BUFFER_BYTES = 4 * 1024 * 1024
CACHE_BYTES = 4 * 1024 * 1024
AUDITED_BYTES = 16 * 1024 * 1024
"""A store up to this size is read whole when it is opened (a fifth of a second); of a larger one the state and the
latest blocks, the rest when it is asked for or by `chain verify`."""

T = TypeVar("T")


class LevelDbStore:
    """A `LedgerStore` in one directory, held by one process at a time."""

    def __init__(self, database: plyvel.DB, path: Path, genesis: Founding) -> None:
        self._database = database
        self._path, self._records = path, genesis.records
        with self._damage():
            self._prepare(genesis)
            self._last_head: tuple[int, BlockHead] | None = None
            self._tip = self._require(Tip, TIP_KEY, "the end of the chain")
            self._state: State | None = self._read_state()
            check_store(self, genesis, self._state.root)
            if sum(file.stat().st_size for file in path.iterdir() if file.is_file()) <= AUDITED_BYTES:
                self.audit()

    def _damage(self) -> _Damage:
        return _Damage(self._path)

    def _prepare(self, genesis: Founding) -> None:
        """Fill an empty directory, or check that this version can read a full one."""
        form = self._database.get(FORMAT_KEY, verify_checksums=True)
        if form is None:
            with self._database.iterator(include_value=False, verify_checksums=True) as keys:
                if next(keys, None) is not None:
                    raise StoreDamaged(f"the store has no format mark, so it is not whole; {RESYNC}")
            tip = genesis_tip(genesis.chain_id, genesis.member_set, genesis.time_ms)
            self._write(genesis_batch(genesis, tip))
        elif form != STORE_FORMAT.to_bytes(2, "big"):
            raise StorageError(
                f"the store has format {int.from_bytes(form, 'big')}, this version reads {STORE_FORMAT}; "
                "use the version that wrote it"
            )
        elif self._database.get(CHAIN_KEY, verify_checksums=True) != genesis.chain_id:
            raise StorageError(f"the store holds another chain than genesis '{genesis.name}'; use its own home")

    def _write(self, batch: Batch) -> None:
        with self._database.write_batch(transaction=True, sync=True) as writer:
            for key, value in batch:
                if value is None:
                    writer.delete(key)
                else:
                    writer.put(key, value)

    def _get(self, key: bytes) -> bytes | None:
        with self._damage():
            return cast("bytes | None", self._database.get(key, verify_checksums=True))

    def _read(self, form: type[T], key: bytes, what: str) -> T | None:
        data = self._get(key)
        return None if data is None else cast(T, decode_stored(form, data, what))

    def _require(self, form: type[T], key: bytes, what: str) -> T:
        value = self._read(form, key, what)
        if value is None:
            raise StoreDamaged(f"{what} is missing in the store; {RESYNC}")
        return value

    def _scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._damage(), self._database.iterator(prefix=prefix, verify_checksums=True) as items:
            yield from items

    def _read_state(self) -> State:
        try:
            items = ((key[len(STATE_PREFIX):], value) for key, value in self._scan(STATE_PREFIX))
            return State.load(self._records, items)
        except StoreDamaged:
            raise
        except StorageError as error:
            raise StoreDamaged(f"{str(error).partition(';')[0]}; {RESYNC}") from None

    # --- LedgerStore -----------------------------------------------------------------------------------------------

    @property
    def tip(self) -> Tip:
        """The end of the stored chain."""
        return self._tip

    def load_state(self) -> State:
        """Return the state after the tip."""
        if self._state is None:
            self._state = self._read_state()
        return self._state

    def append(self, decided: DecidedBlock) -> None:
        """Make the block after the tip durable before returning."""
        with self._damage():
            self._write(block_batch(self._tip, decided))
        self._tip, self._state = decided.tip, None

    def get_block(self, height: int) -> Block | None:
        """Return a block."""
        parent = None
        if height > 1:
            parent = self._read(Certificate, height_key(b"c/", height - 1), f"the certificate of block {height - 1}")
        return self._get_block(height, parent)

    def _get_block(self, height: int, parent: Certificate | None) -> Block | None:
        head = self._head(height)
        if head is None:
            return None
        if parent is None and height > 1:
            raise StoreDamaged(f"the certificate of block {height - 1} is missing in the store; {RESYNC}")
        transactions = tuple(self._items(b"t/", height, head.header.tx_count, "transaction"))
        return Block(head.header, transactions, head.evidence, parent)

    def _head(self, height: int) -> BlockHead | None:
        """Return a block's head; the last one is remembered, since its receipts are mostly asked for next."""
        if self._last_head is None or self._last_head[0] != height:
            head = self._read(BlockHead, height_key(b"b/", height), f"block {height}")
            self._last_head = None if head is None else (height, head)
            return head
        return self._last_head[1]

    def _items(self, prefix: bytes, height: int, count: int, what: str) -> list[bytes]:
        items = [value for _, value in self._scan(height_key(prefix, height))]
        if len(items) != count:
            raise StoreDamaged(f"block {height} in the store has {len(items)} of {count} {what}s; {RESYNC}")
        return items

    def get_certificate(self, height: int) -> Certificate | None:
        """Return the certificate of a block."""
        what = f"the certificate of block {height}"
        if height == self._tip.height:
            seen = self._read(Certificate, SEEN_KEY, what)
            if seen is None or seen.height == height:
                return seen  # otherwise a block was appended since the line before: the reader is another thread
        return self._read(Certificate, height_key(b"c/", height), what)

    def get_receipts(self, height: int) -> tuple[Receipt, ...] | None:
        """Return a block's receipts."""
        head = self._head(height)
        if head is None:
            return None
        items = self._items(b"r/", height, head.header.tx_count, "receipt")
        return tuple(cast(Receipt, decode_stored(Receipt, data, f"a receipt of block {height}")) for data in items)

    def get_members(self, height: int) -> MemberSet:
        """Return the member set that decides a height."""
        with self._damage(), self._database.iterator(
            start=MEMBERS_PREFIX, stop=height_key(MEMBERS_PREFIX, height + 1), reverse=True, verify_checksums=True
        ) as found:
            item = next(found, None)
        if item is None:
            raise StoreDamaged(f"the member set of height {height} is missing in the store; {RESYNC}")
        return cast(MemberSet, decode_stored(MemberSet, item[1], "a member set"))

    def find_block(self, block_hash: bytes) -> Height | None:
        """Return the height of a block hash."""
        data = self._get(b"H/" + block_hash)
        return None if data is None else Height(int.from_bytes(data, "big"))

    def find_transaction(self, txid: bytes) -> TransactionPlace | None:
        """Return where a transaction is."""
        data = self._get(b"x/" + txid)
        if data is None:
            return None
        return TransactionPlace(Height(int.from_bytes(data[:8], "big")), int.from_bytes(data[8:], "big"))

    def blocks(self, first: int, last: int) -> Iterator[tuple[Block, Certificate]]:
        """Yield the blocks `first` to `last` as far as they are there, each with its certificate."""
        parent = self.get_certificate(first - 1) if first > 1 else None
        for height in range(max(first, 1), min(last, self._tip.height) + 1):
            block, certificate = self._get_block(height, parent), self.get_certificate(height)
            if block is None or certificate is None:
                raise StoreDamaged(f"block {height} or its certificate is missing in the store; {RESYNC}")
            yield block, certificate
            parent = certificate

    def headers(self, first: int, last: int) -> Iterator[Header]:
        """Yield the headers of the blocks `first` to `last` as far as they are there, and read nothing else."""
        for height in range(max(first, 1), min(last, self._tip.height) + 1):
            yield self._require(BlockHead, height_key(b"b/", height), f"block {height}").header

    def audit(self) -> int:
        """Read every record with its checksum; return their number. For `chain verify --level 0`."""
        return sum(1 for _ in self._scan(b""))

    def close(self) -> None:
        """Release the store."""
        self._database.close()


class _Damage:
    """Turns what LevelDB says about a damaged or unusable directory into one sentence."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, plyvel.CorruptionError):
            raise StoreDamaged(f"the store {self._path} is damaged ({_words(error)}); {RESYNC}") from None
        if isinstance(error, plyvel.IOError):
            _check_space(self._path, error)
            raise StorageError(
                f"the store {self._path} cannot be read or written ({_words(error)}); free some space or check the disk"
            ) from None


def _words(error: plyvel.Error) -> str:
    """Return what LevelDB said, which plyvel hands on as bytes."""
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _check_space(path: Path, error: plyvel.Error) -> None:
    """Raise `Unavailable` if LevelDB only ran out of space: nothing is wrong with what is there."""
    for words, what in (("No space left", "the disk is full"), ("quota exceeded", "the disk quota is used up")):
        if words in str(error):
            text = f"cannot write the store {path}: {what}; free some space and start again, nothing was lost"
            raise Unavailable(text) from None


def open_store(path: Path, genesis: Founding) -> LevelDbStore:
    """Open the chain in directory `path`, made with its first blocks' genesis if it is empty, and check it.

    Raises `HomeInUse` while another process holds it, `StoreDamaged` if it is damaged, and another `StorageError` if it
    is foreign or unreadable. The directory is left as it is found.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        _check_folder(path)
        database = plyvel.DB(
            str(path), create_if_missing=True, paranoid_checks=True,
            write_buffer_size=WRITE_BUFFER_BYTES, lru_cache_size=CACHE_BYTES,
        )
    except plyvel.CorruptionError as error:
        raise StoreDamaged(f"the store {path} is damaged ({_words(error)}); {RESYNC}") from None
    except plyvel.Error as error:
        if any(words in str(error) for words in ("Resource temporarily unavailable", "already held by process")):
            raise _in_use(path) from None
        _check_space(path, error)
        if any(words in str(error) for words in ("Permission denied", "Read-only", "Input/output")):
            fix = "check the owner of the folder, and that its disk is sound and not mounted read-only"
            raise StorageError(f"the store {path} cannot be opened ({_words(error)}); {fix}") from None
        raise StoreDamaged(f"the store {path} cannot be opened ({_words(error)}); {RESYNC}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(f"cannot make the store {path}: the disk is full; free some space") from None
        raise StorageError(
            f"the store {path} cannot be used ({error.strerror}); check the folder's owner, and that its disk is sound "
            "and not mounted read-only"
        ) from None
    try:
        return LevelDbStore(database, path, genesis)
    except BaseException:
        database.close()
        raise


def _check_folder(path: Path) -> None:
    """Raise `StoreDamaged` unless the files in the folder belong together."""
    def read(name: str, count: int) -> bytes:
        with (path / name).open("rb") as file:
            if count:
                file.seek(-count, os.SEEK_END)
            return file.read()

    try:
        check_files({file.name: file.stat().st_size for file in path.iterdir() if file.is_file()}, read)
    except Damage as damage:
        if _is_held(path):
            raise _in_use(path) from None  # what another process writes at the moment looks damaged
        raise StoreDamaged(f"the store {path} is damaged ({damage}); {RESYNC}") from None


def _is_held(path: Path) -> bool:
    """Whether another process has the directory open."""
    form = "hhqqi"
    try:
        with (path / "LOCK").open("rb") as lock:
            wanted = struct.pack(form, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return bool(struct.unpack(form, fcntl.fcntl(lock, fcntl.F_GETLK, wanted))[0] != fcntl.F_UNLCK)
    except OSError:
        return False


def _in_use(path: Path) -> HomeInUse:
    return HomeInUse(f"another process holds the store {path}; stop the other daemon of this home, or ask it instead")
