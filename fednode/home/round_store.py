"""The encrypted records of running secure sums, as files.

Security assumption: a round record holds this hospital's update and mask keys: it is encrypted with the keystore's
storage key before it touches the disk and deleted when its round has closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fednode.crypto import Entropy, Secret, decrypt_at_rest, encrypt_at_rest
from fednode.errors import KeystoreError, StorageError
from fednode.home.files import (
    environment,
    make_folder,
    read_bounded,
    sync_folder,
    write_atomic,
    write_stream,
)
from fednode.home.sealed_parts import SEALED_PART_BYTES, decrypt_parts, encrypt_parts
from fednode.ids import StudyId
from fednode.smpc.record import LongPart
from fednode.smpc.vectors import Buffer
from fednode.sums.coin import LINK_BYTES

MAX_RECORD_BYTES = 1 << 29
"""A round record: the vector of the largest model (uint32) and some kilobytes."""

LONG_MARK = b"fednode long part 1\n"
"""The beginning of a part that was written piece by piece; others begin with a random nonce."""


class RoundStore:
    """Encrypted round records: one file per study, round and part."""

    def __init__(self, folder: Path, key: Secret[bytes]) -> None:
        """What a crash left half written is removed."""
        self._folder = folder
        with environment("clear the folder", folder):
            for left in folder.glob(".*.new"):
                left.unlink(missing_ok=True)
        self._key = key
        self._forgotten: dict[StudyId, int] = {}

    def put(self, study: StudyId, round_number: int, part: str, data: Secret[bytes]) -> None:
        """Replace a part; on return it is on the disk, encrypted."""
        make_folder(self._folder)
        write_atomic(self._path(study, round_number, part), encrypt_at_rest(self._key, data.reveal()))

    def put_long(self, study: StudyId, round_number: int, part: str, pieces: Sequence[Buffer]) -> None:
        """Replace a part by `pieces`, joined; on return it is on the disk, encrypted. Safe in a thread.

        The first piece is short and can be read without the others. Nothing is left of a round that was forgotten
        meanwhile.
        """
        path = self._path(study, round_number, part)
        make_folder(self._folder)
        write_stream(path, chain((LONG_MARK,), encrypt_parts(self._key, _cut(pieces))))
        if round_number <= self._forgotten.get(study, -1):
            path.unlink(missing_ok=True)

    def coin_seed(self, study: StudyId, entropy: Entropy) -> bytes:
        """Return the secret of this hospital's hash chain of a study, drawn and on the disk before it is used.

        It is of this study alone: no key that is kept for longer gives it. A chain that cannot be read is drawn anew;
        the hospital then announces another head. Safe in a thread.
        """
        path = self._folder / f"{study.hex()}-coin"
        if path.exists():
            box = read_bounded(path, MAX_RECORD_BYTES, "secret of the coin", StorageError)
            with suppress(KeystoreError):
                return decrypt_at_rest(self._key, box)
        seed = entropy.random_bytes(LINK_BYTES)
        make_folder(self._folder)
        write_atomic(path, encrypt_at_rest(self._key, seed))
        return seed

    def load(self, study: StudyId, round_number: int, part: str) -> bytes | LongPart | None:
        """Return a part in clear, None if there is none; raise `StorageError` if it does not open."""
        path = self._path(study, round_number, part)
        if not path.exists():
            return None
        with environment("read the round record", path, StorageError), path.open("rb") as file:
            if file.read(len(LONG_MARK)) == LONG_MARK:
                pieces = self._open(path, file)
                return LongPart(next(pieces), lambda size_bytes: self._read_rest(path, size_bytes))
        box = read_bounded(path, MAX_RECORD_BYTES, "round record", StorageError)
        try:
            return decrypt_at_rest(self._key, box)
        except KeystoreError:
            raise _damaged(path) from None

    def _open(self, path: Path, file: BinaryIO) -> Iterator[bytes]:
        try:
            yield from decrypt_parts(self._key, file.read)
        except KeystoreError:
            raise _damaged(path) from None

    def _read_rest(self, path: Path, size_bytes: int) -> memoryview:
        """Return all but the first piece, which must have this size."""
        data = np.empty(size_bytes, np.uint8).data
        filled = 0
        with environment("read the round record", path, StorageError), path.open("rb") as file:
            file.read(len(LONG_MARK))
            for piece in islice(self._open(path, file), 1, None):
                if len(piece) > size_bytes - filled:
                    raise _damaged(path)
                data[filled : filled + len(piece)] = piece
                filled += len(piece)
        if filled < size_bytes:
            raise _damaged(path)
        return data

    def forget(self, study: StudyId, up_to: int) -> None:
        """Delete the records of a study's rounds up to and including `up_to`."""
        self._forgotten[study] = max(up_to, self._forgotten.get(study, -1))
        if not self._folder.is_dir():
            return
        deleted = False
        for path in self._folder.glob(f"{study.hex()}-*"):
            number = path.name.split("-")[1]
            if number.isdecimal() and int(number) <= up_to:
                path.unlink(missing_ok=True)
                deleted = True
        if deleted:
            sync_folder(self._folder)

    def _path(self, study: StudyId, round_number: int, part: str) -> Path:
        return self._folder / f"{study.hex()}-{round_number:010d}-{part}"


def _cut(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    for piece in pieces:
        for start in range(0, max(len(piece), 1), SEALED_PART_BYTES):
            yield piece[start : start + SEALED_PART_BYTES]


def _damaged(path: Path) -> StorageError:
    return StorageError(f"the round record {path} is damaged or of another keystore; this hospital sits the round out")
