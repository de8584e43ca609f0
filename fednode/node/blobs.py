"""Models by hash, and the encrypted records of running secure sums, as files.

Security assumption: a model is public to the members, and a file is believed only if it hashes to its name. A round
record holds this hospital's update and mask keys: it is encrypted with the keystore's storage key before it touches
the disk and deleted when its round has closed.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable
from pathlib import Path

from fednode.crypto import Secret, decrypt_at_rest, encrypt_at_rest
from fednode.errors import KeystoreError, Rejected, StorageError
from fednode.ids import Hash, StudyId
from fednode.learn.jobs import MAX_FRAME_BYTES
from fednode.learn.model_file import ModelFile, read_model
from fednode.node.files import PRIVATE_FOLDER, environment, read_bounded, set_aside, sync_folder, write_atomic

SUFFIX = ".safetensors"
MAX_RECORD_BYTES = 1 << 29
"""A round record: the vector of the largest model (uint32) and some kilobytes."""


class ModelStore:
    """Model files in one folder, named by their hash."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        """`tell` gets a sentence when a damaged file was found."""
        self._folder = folder
        self._tell = tell
        self._good: dict[Hash, tuple[int, int, int]] = {}

    def path(self, name: Hash) -> Path:
        """Where the model with this hash lies, whether or not it is there."""
        return self._folder / f"{name.hex()}{SUFFIX}"

    def has(self, name: Hash) -> bool:
        """Whether the model is here."""
        return self.path(name).is_file()

    def put(self, name: Hash, data: bytes) -> None:
        """Keep a model file; on return it is on the disk."""
        with environment("create the folder", self._folder):
            self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        write_atomic(self.path(name), data)
        self._good[name] = self._stamp(name)

    def read_bytes(self, name: Hash) -> bytes:
        """Return a model file's bytes, unchecked."""
        return read_bounded(self.path(name), MAX_FRAME_BYTES, "model", StorageError)

    def map_file(self, name: Hash) -> memoryview | None:
        """Return a model file for sending, None if it is not here or cannot be read.

        Mapped, not read: members may ask again and again, and what waits for a slow one must not fill this memory. It
        is checked the first time after a start: members would cut off whoever sends them what they did not ask for.
        """
        if self.has(name) and self._good.get(name) != self._stamp(name) and self.load(name) is None:
            return None
        try:
            with self.path(name).open("rb") as file:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):  # ValueError: the file is empty
            return None

    def load(self, name: Hash) -> ModelFile | None:
        """Return the model, or None if it is not here or damaged: a damaged one is fetched from a member again.

        The damaged file is kept under another name.
        """
        if not self.has(name):
            return None
        model = check_model(name, self.read_bytes(name))
        if model is None:
            kept = set_aside(self.path(name)).name
            self._tell(f"the file of model {name.hex()[:16]} is damaged; it is kept as {kept} and fetched again")
        else:
            self._good[name] = self._stamp(name)
        return model

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


def check_model(name: Hash, data: bytes | memoryview) -> ModelFile | None:
    """Return the model that `data` holds, or None unless it is the one called `name`."""
    try:
        model = read_model(bytes(data))
    except Rejected:
        return None
    return model if model.hash == name else None


class RoundStore:
    """Encrypted round records: one file per study, round and part."""

    def __init__(self, folder: Path, key: Secret[bytes]) -> None:
        self._folder = folder
        self._key = key

    def put(self, study: StudyId, round_number: int, part: str, data: Secret[bytes]) -> None:
        """Replace a part; on return it is on the disk, encrypted."""
        with environment("create the folder", self._folder):
            self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        write_atomic(self._path(study, round_number, part), encrypt_at_rest(self._key, data.reveal()))

    def load(self, study: StudyId, round_number: int, part: str) -> bytes | None:
        """Return a part in clear, None if there is none; raise `StorageError` if it does not open."""
        path = self._path(study, round_number, part)
        if not path.exists():
            return None
        box = read_bounded(path, MAX_RECORD_BYTES, "round record", StorageError)
        try:
            return decrypt_at_rest(self._key, box)
        except KeystoreError:
            raise StorageError(
                f"the round record {path} is damaged or of another keystore; this hospital sits the round out"
            ) from None

    def forget(self, study: StudyId, up_to: int) -> None:
        """Delete the records of a study's rounds up to and including `up_to`."""
        if not self._folder.is_dir():
            return
        deleted = False
        for path in self._folder.glob(f"{study.hex()}-*"):
            number = path.name.split("-")[1]
            if number.isdigit() and int(number) <= up_to:
                path.unlink(missing_ok=True)
                deleted = True
        if deleted:
            sync_folder(self._folder)

    def _path(self, study: StudyId, round_number: int, part: str) -> Path:
        return self._folder / f"{study.hex()}-{round_number:010d}-{part}"
