"""The sign-state file: what this member's key has signed last, durable before any signature leaves.

Security assumption: the files are never restored from an older copy; a backup of a home must leave them out. Two slots
are written in turn, in place, so that a vote costs one short synced write and a power cut in the middle of one leaves
the record before it. A record larger than a slot (it carries a block) replaces its file by rename.

A slot that does not read back may be a torn write, whose vote was never sent, or damage to the newest record, whose
vote was. The two look alike, so the member acts as if the worst had happened: it goes on from the other record, but
signs nothing up to the height that was under decision when it stopped. Two unreadable slots: it does not sign at all.
"""

from __future__ import annotations

import os
from pathlib import Path

from fednode.chain.consensus.recovery import (
    MAX_RECORD_BYTES,
    ROTATE_HINT,
    SignRecord,
    decode_record,
    encode_record,
)
from fednode.errors import StorageError
from fednode.home.files import PRIVATE_FOLDER, Home, environment, set_aside, write_atomic
from fednode.ids import Height

SLOT_NAMES = ("slot-a", "slot-b")
SLOT_BYTES = 4096
"""Size of a slot file, one page: an ordinary record has about 300 bytes, and a file that keeps its size needs no
journal commit of the file system."""

LENGTH_BYTES = 4


class SignStateFile:
    """`SignStateStore` in a folder of its own, outside the block store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = tuple(folder / name for name in SLOT_NAMES)
        self._next = 0
        self.silent_until = Height(0)

    def exists(self) -> bool:
        """Whether there is a slot, readable or not."""
        with environment("look for the sign-state", self._folder):
            return any(path.exists() for path in self._paths)

    def create(self, record: SignRecord) -> None:
        """Write the first record of a new key; raise `StorageError` rather than replace one that is there."""
        with environment("create the sign-state folder", self._folder):
            self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        if any(path.exists() for path in self._paths):
            raise StorageError(f"{self._folder} holds a sign-state already: this key may have signed; keep it as it is")
        for path in self._paths:
            write_atomic(path, _slot(encode_record(record)))

    def load(self, tip_height: int = 0) -> SignRecord | None:
        """Return the newest record, None if there is none; raise `StorageError` if no slot can be read.

        With one damaged slot `silent_until` is set from `tip_height`: the lost record cannot be of a later height,
        unless the store was lost as well.
        """
        if not self.exists():
            return None
        records = [self._read(path) for path in self._paths]
        readable = [(record.place, slot) for slot, record in enumerate(records) if record is not None]
        if not readable:
            raise StorageError(f"both records in {self._folder} are damaged, so this node must not sign: {ROTATE_HINT}")
        slot = max(readable)[1]
        newest = records[slot]
        assert newest is not None, "the slot was read"
        self._next = 1 - slot
        if len(readable) == 2:
            return newest
        if tip_height + 1 < newest.height:
            text = f"a sign-state record in {self._folder} is damaged and the store is older than the other one"
            raise StorageError(f"{text}, so this node's last votes are unknown: {ROTATE_HINT}")
        self.silent_until = Height(max(newest.height, tip_height + 1))
        return newest

    @property
    def damage(self) -> str | None:
        """What to tell people about a damaged slot."""
        if not self.silent_until:
            return None
        text = f"one of two sign-state records in {self._folder} is damaged"
        return f"{text}: this node signs nothing up to height {self.silent_until}, then goes on; check the disk"

    def is_whole(self) -> bool:
        """Whether both slots read back."""
        return all(self._read(path) is not None for path in self._paths)

    def keep_damaged(self) -> list[Path]:
        """Move one slot that does not read back away, before it is written over; return where it is now."""
        damaged = [path for path in self._paths if path.exists() and self._read(path) is None]
        return [set_aside(path) for path in damaged] if len(damaged) < len(self._paths) else []

    def save(self, record: SignRecord) -> None:
        """Put the record into the older slot; on return it is on the disk."""
        path, data = self._paths[self._next], encode_record(record)
        slot = _slot(data)
        if len(slot) > SLOT_BYTES or not path.exists() or path.stat().st_size != SLOT_BYTES:
            write_atomic(path, slot)
        else:
            with environment("write", path):
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.pwrite(descriptor, slot, 0)
                    os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
        self._next = 1 - self._next

    def _read(self, path: Path) -> SignRecord | None:
        with environment("read the sign-state", path):
            try:
                with path.open("rb") as file:
                    data = file.read(MAX_RECORD_BYTES + SLOT_BYTES)
            except PermissionError:
                raise  # somebody else's file is not a damaged one
            except OSError:
                return None
        try:
            length = int.from_bytes(data[:LENGTH_BYTES], "big")
            return decode_record(data[LENGTH_BYTES : LENGTH_BYTES + length])
        except StorageError:
            return None



def _slot(data: bytes) -> bytes:
    """Return a slot's bytes: length, record, zeros up to a page."""
    return (len(data).to_bytes(LENGTH_BYTES, "big") + data).ljust(SLOT_BYTES, b"\0")


def joined_mark(home: Home, chain_id: bytes) -> Path:
    """Beside the keys: this key has begun to sign on that chain."""
    return home.keystore.parent / f"joined-{chain_id.hex()[:16]}"


def write_mark(mark: Path) -> None:
    """Remember that a key has begun to sign on a chain."""
    write_atomic(mark, b"This key has begun to sign on the chain named here; see sign-state in docs/operations.md.\n")
