"""What this hospital keeps of its own between the rounds of a study, as encrypted files.

Security assumption: such a state comes from patient rows, like an update. It never leaves the home; it is encrypted
with the keystore's storage key before it touches the disk.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fednode.crypto import Secret
from fednode.errors import KeystoreError, StorageError
from fednode.home.files import environment, make_folder, sync_folder, write_stream
from fednode.home.sealed_parts import SEALED_PART_BYTES, decrypt_parts, encrypt_parts
from fednode.ids import StudyId


class OwnStateStore:
    """One file for each round of a study that made a state."""

    def __init__(self, folder: Path, study: StudyId, key: Secret[bytes]) -> None:
        self._folder = folder / study.hex()
        self._key = key

    def rounds(self) -> tuple[int, ...]:
        """Return the rounds of which a state is kept, in ascending order."""
        with environment("list", self._folder, StorageError):
            names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        return tuple(sorted(int(name) for name in names if name.isdecimal()))

    def load(self, round_number: int) -> bytes:
        """Return the state that a round made; raise `StorageError` if it cannot be read."""
        path = self._path(round_number)
        try:
            with environment("read", path, StorageError), path.open("rb") as file:
                return b"".join(decrypt_parts(self._key, file.read))
        except KeystoreError:
            text = f"{path} is damaged or of another keystore; restore it from a backup"
            raise StorageError(f"{text}, or remove it: this hospital then begins anew with nothing kept") from None

    def keep(self, round_number: int, state: bytes) -> None:
        """Keep the state that a round made; on return it is on the disk, encrypted."""
        make_folder(self._folder)
        view = memoryview(state)
        pieces = (view[start : start + SEALED_PART_BYTES] for start in range(0, len(view), SEALED_PART_BYTES))
        write_stream(self._path(round_number), encrypt_parts(self._key, pieces))

    def forget(self, round_number: int) -> None:
        """Delete the state that a round made."""
        with environment("delete", self._path(round_number), StorageError):
            self._path(round_number).unlink(missing_ok=True)
        sync_folder(self._folder)

    def clear(self) -> None:
        """Delete everything that was kept: the study is over here."""
        if not self._folder.is_dir():
            return
        with environment("delete", self._folder, StorageError):
            shutil.rmtree(self._folder)
        sync_folder(self._folder.parent)

    def _path(self, round_number: int) -> Path:
        return self._folder / f"{round_number:010d}"
