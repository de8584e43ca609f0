"""The sign-state file: what this member's key has signed last, durable before any signature leaves.

Security assumption: the file is never restored from an older copy; a backup of a home must leave it out. It is
replaced by rename, so a crash leaves the old or the new record whole, and a file that does not read back exactly is
damage, never a torn write: the node then refuses to sign.
"""

from __future__ import annotations

from pathlib import Path

from fednode.errors import StorageError
from fednode.ledger.consensus.signing import MAX_RECORD_BYTES, SignRecord, decode_record, encode_record
from fednode.node.files import PRIVATE_FOLDER, environment, read_bounded, write_atomic

FILE_NAME = "record"


class SignStateFile:
    """`SignStateStore` in a folder of its own, outside the block store."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    def create(self, record: SignRecord) -> None:
        """Write the first record of a new key; raise `StorageError` rather than replace one that is there."""
        with environment("create the sign-state folder", self._path.parent):
            self._path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        if self._path.exists():
            raise StorageError(f"{self._path} exists already: this key may have signed; keep the file as it is")
        self.save(record)

    def load(self) -> SignRecord | None:
        """Return the record, None if there is none; raise `StorageError` if it is damaged."""
        if not self._path.exists():
            return None
        return decode_record(read_bounded(self._path, MAX_RECORD_BYTES, "sign-state", StorageError))

    def save(self, record: SignRecord) -> None:
        """Replace the record; on return it is on the disk."""
        write_atomic(self._path, encode_record(record))
