"""Which data sets of this hospital entered the statistics of which study: each enters a second one only if allowed.

Security assumption: none against this hospital's own people, who may allow it; it keeps them from doing it unawares.
Two sums of statistics over different hospitals show what lies between them: with one hospital more, that one alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fednode.crypto import sha256
from fednode.documents import Unreadable, read_json
from fednode.errors import StorageError
from fednode.home.files import read_bounded, write_atomic
from fednode.ids import StudyId

MAX_BYTES = 1 << 20
MAX_DATA_BYTES = 1 << 31


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set entered a study's statistics: the study's id and name, the file's path, SHA-256 of what it held."""

    study: str
    name: str
    data: str
    digest: str


class Entered:
    """The list, as a file of this home; on the disk before a statistic is computed."""

    def __init__(self, path: Path) -> None:
        """Raise `StorageError` if there is a list that cannot be read."""
        self._path = path
        self._entries: tuple[Entry, ...] = ()
        self._allowed: tuple[str, ...] = ()
        self._digests: dict[tuple[str, int, int], str] = {}
        if path.exists():
            self._read(read_bounded(path, MAX_BYTES, "list of statistics", StorageError))

    def _read(self, data: bytes) -> None:
        try:
            found: Any = read_json(data)
            self._entries = tuple(Entry(*map(str, _values(entry))) for entry in found["entered"])
            self._allowed = tuple(map(str, found["allowed"]))
        except (Unreadable, KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"{self._path} does not hold a list of statistics ({error}); restore it from a backup, for without it "
                "the same data set could enter a second one unawares"
            ) from None

    def refusal(self, study: StudyId, name: str, data: str) -> str | None:
        """Return why this data set must not enter the statistics of a study yet, or None if it may."""
        if study.hex() in self._allowed:
            return None
        digest = self._digest_of(data)
        before = [e for e in self._entries if e.study != study.hex() and (e.data == data or e.digest == digest)]
        if not before:
            return None
        names = ", ".join(dict.fromkeys(f"'{entry.name}'" for entry in before))
        return (
            f"this data set entered the statistics of study {names} already. Two sums of statistics over different "
            "hospitals show the difference: if one has a hospital more, its means, spreads and shares of levels. "
            f"If the hospitals are the same, or you accept that: fednode study allow-statistics {name}"
        )

    def enter(self, study: StudyId, name: str, data: str) -> None:
        """Note that a data set enters a study's statistics; on return it is on the disk."""
        entry = Entry(study.hex(), name, data, self._digest_of(data))
        if entry not in self._entries:
            self._entries = (*self._entries, entry)
            self._write()

    def allow(self, study: StudyId) -> None:
        """Let this hospital's data set enter a study's statistics whatever it entered before; durable on return."""
        if study.hex() not in self._allowed:
            self._allowed = (*self._allowed, study.hex())
            self._write()

    def _write(self) -> None:
        document = {"entered": [asdict(entry) for entry in self._entries], "allowed": list(self._allowed)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, json.dumps(document, indent=1).encode())

    def _digest_of(self, data: str) -> str:
        """Return the digest of what the file holds now; empty if it cannot be read, which whoever uses it will say."""
        try:
            found = Path(data).stat()
            stamp = (data, found.st_mtime_ns, found.st_size)
            if stamp not in self._digests:
                self._digests = {stamp: sha256(read_bounded(Path(data), MAX_DATA_BYTES, "data", StorageError)).hex()}
            return self._digests[stamp]
        except (OSError, StorageError):
            return ""


def _values(entry: dict[str, object]) -> tuple[object, ...]:
    return entry["study"], entry["name"], entry["data"], entry["digest"]
