"""Models by hash, as files.

Security assumption: a model is public to the members, and a file is believed only if it hashes to its name.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fednode.errors import Rejected, StorageError
from fednode.fence import judge
from fednode.home.files import (
    PRIVATE_FOLDER,
    PUBLIC_FILE,
    SYNC_BYTES,
    environment,
    set_aside,
    sync_folder,
    write_stream,
)
from fednode.ids import Hash
from fednode.learn.model_file import Buffer, StoredModel, check_model, open_model

SUFFIX = ".safetensors"
DRAFT_PREFIX = ".draft-"
COPY_BYTES = 1 << 21
"""How much of a file is in memory at a time where it is copied."""



class FileDraft:
    """A model file in the making, under a name nobody looks at; it is removed unless the store takes it."""

    def __init__(self, folder: Path) -> None:
        with environment("create the folder", folder):
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=DRAFT_PREFIX, dir=folder)
        self.path = Path(name)
        self._file = open(descriptor, "w+b", buffering=0)  # noqa: SIM115 (lives as long as the draft)
        self._unsynced_bytes = 0
        self._remove = weakref.finalize(self, _remove, self._file, self.path)

    def append(self, data: Buffer) -> None:
        """Write behind what is there; raise `Unavailable` if the disk does not take it."""
        rest = memoryview(data).cast("B")
        with environment("write", self.path):
            while len(rest):
                count = self._file.write(rest)
                rest = rest[count:]
                self._unsynced_bytes += count
                if self._unsynced_bytes >= SYNC_BYTES:
                    os.fdatasync(self._file.fileno())
                    self._unsynced_bytes = 0

    def finish(self, head: bytes) -> None:
        """Write `head` over the beginning; on return everything is on the disk."""
        with environment("write", self.path):
            if os.pwrite(self._file.fileno(), head, 0) != len(head):
                raise OSError(errno.ENOSPC, "")
            os.fsync(self._file.fileno())

    def name(self, path: Path) -> None:
        """Become the file `path`, durably."""
        with environment("write", path):
            os.replace(self.path, path)
            sync_folder(path.parent)
        self._remove.detach()
        self._file.close()


def _remove(file: BinaryIO, path: Path) -> None:
    file.close()
    path.unlink(missing_ok=True)


class ModelStore:
    """Model files in one folder, named by their hash. What takes long is safe in a thread."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        """`tell` gets a sentence when a damaged file was found."""
        self._folder = folder
        self._tell = tell
        self._good: dict[Hash, tuple[int, int, int]] = {}

    def clear_drafts(self) -> None:
        """Remove what a crash left half made; only for the process that holds the home."""
        with environment("clear the folder", self._folder):
            for left in self._folder.glob(f"{DRAFT_PREFIX}*"):
                left.unlink(missing_ok=True)

    def path(self, name: Hash) -> Path:
        """Where the model with this hash lies, whether or not it is there."""
        return self._folder / f"{name.hex()}{SUFFIX}"

    def has(self, name: Hash) -> bool:
        """Whether the model is here."""
        return self.path(name).is_file()

    def is_checked(self, name: Hash) -> bool:
        """Whether the model is here and was read since it last changed: then nothing about it takes long."""
        return self.has(name) and self._good.get(name) == self._stamp(name)

    def new_draft(self) -> FileDraft:
        """Begin a model file."""
        return FileDraft(self._folder)

    def adopt(self, name: Hash, draft: FileDraft) -> None:
        """Keep a finished draft, whose hash was computed as it was written; on return it is on the disk."""
        draft.name(self.path(name))
        self._good[name] = self._stamp(name)

    def receive(self, name: Hash, data: memoryview) -> StoredModel | None:
        """Keep what a member sent as this model; None if it is not."""
        draft = self.new_draft()
        for start in range(0, len(data), COPY_BYTES):
            draft.append(data[start : start + COPY_BYTES])
        try:
            found = judge("a model file", lambda: check_model(lambda: draft.path.open("rb")))
        except Rejected:
            return None
        if found.hash != name:
            return None
        draft.finish(b"")
        self.adopt(name, draft)
        return self.load(name)

    def export(self, name: Hash, path: Path) -> int:
        """Copy a model file to `path`, for anybody to read; return its size. It was checked before."""
        with environment("read", self.path(name), StorageError), self.path(name).open("rb") as source:
            return write_stream(path, iter(lambda: source.read(COPY_BYTES), b""), PUBLIC_FILE)

    def map_file(self, name: Hash) -> memoryview | None:
        """Return a model file for sending, None if it is not here or cannot be read.

        Mapped, not read: members may ask again and again, and what waits for a slow one must not fill this memory. It
        is checked the first time after a start: members would cut off whoever sends them what they did not ask for.
        """
        if not self.is_checked(name) and self.load(name) is None:
            return None
        try:
            with self.path(name).open("rb") as file:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):  # ValueError: the file is empty
            return None

    def load(self, name: Hash) -> StoredModel | None:
        """Return the model, or None if it is not here or damaged: a damaged one is fetched from a member again.

        The damaged file is kept under another name.
        """
        if not self.has(name):
            return None
        path, stamp = self.path(name), self._stamp(name)
        with environment("read the model", path, StorageError):
            try:
                read = open_model if self._good.get(name) == stamp else check_model
                found = judge("a model file", partial(read, lambda: path.open("rb"), str(path)))
                if found.hash == name:
                    self._good[name] = stamp
                    return found
            except Rejected:
                pass
        kept = set_aside(path).name
        self._tell(f"the file of model {name.hex()[:16]} is damaged; it is kept as {kept} and fetched again")
        return None

    def _stamp(self, name: Hash) -> tuple[int, int, int]:
        """What changes when the file does."""
        found = self.path(name).stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def list(self) -> list[Hash]:
        """Return the hashes of all models here, ascending."""
        if not self._folder.is_dir():
            return []
        names = sorted(path.name.removesuffix(SUFFIX) for path in self._folder.glob(f"*{SUFFIX}"))
        return [Hash(bytes.fromhex(name)) for name in names if re.fullmatch("[0-9a-f]{64}", name)]
