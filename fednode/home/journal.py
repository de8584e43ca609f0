"""One JSON line per event and effect, so that what a daemon did can be read back a year later.

Security assumption: the journal is handed to support staff. Callers give kinds, hashes, numbers and member ids only;
values whose type could hide key material (`Secret`, bytes longer than a signature) are refused here, not trusted.

Every line ends with a checksum of itself (CRC-32: against disks, not against people). A line that a power cut left
half written is ended by the next start and stays; a journal with any other damaged line is moved aside, whole.
"""

from __future__ import annotations

import itertools
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from fednode.home.files import PRIVATE_FOLDER, environment, set_aside
from fednode.ids import MemberId

MAX_BYTES = 32 * 1024 * 1024
"""A journal file is rotated at this size; one predecessor is kept, so a home holds at most twice as much."""

MAX_BYTES_VALUE = 64
"""Hashes and signatures may be named, vectors and keys may not."""

CHECKED_BYTES = 1024 * 1024
"""The end of a journal that is looked at when it is opened."""

LOOK_MS = 1000
"""How often it is looked whether the journal still has its name."""

CUT = b'{"kind":"line-above-was-cut"}'
"""Written where the line before it was not finished."""

HEAD = frozenset(("t", "me", "kind", "crc"))
"""What every line has. A field of an event by one of these names would make the line unreadable."""

Field = None | bool | int | str | bytes | tuple["Field", ...]


class Journal:
    """Appends lines to `path`; `clock_ms` gives wall-clock time. Not thread-safe: the reactor alone writes."""

    def __init__(self, path: Path, me: MemberId, clock_ms: Callable[[], int]) -> None:
        self._path = path
        self._me = me
        self._clock_ms = clock_ms
        self._looked_ms = clock_ms()
        self._file = self._open()

    @staticmethod
    def keep_damaged(path: Path) -> str | None:
        """Move a journal aside whose latest lines are damaged; return what to tell people about it."""
        with environment("read the journal", path):
            if not path.is_file():
                return None
            size_bytes = path.stat().st_size
            with path.open("rb") as file:
                file.seek(max(0, size_bytes - CHECKED_BYTES))
                data = file.read()
        lines = data.split(b"\n")
        rest = lines.pop()
        if size_bytes > CHECKED_BYTES:
            del lines[:1]  # begins somewhere in a line
        bad = any(not is_line_whole(line) and after != CUT for line, after in itertools.pairwise([*lines, b""]))
        if bad or b"\0" in rest:  # a line that was only not finished has no zeros in it
            return f"the journal {path} is damaged; it is kept as {set_aside(path).name}, a new one was begun"
        if rest:
            with environment("write the journal", path), path.open("ab", buffering=0) as journal:
                journal.write(b"\n" + CUT + b"\n")
                os.fsync(journal.fileno())
        return None

    def _open(self) -> BinaryIO:
        """Open for appending, without a buffer: what could not be written must not come up again at the end."""
        with environment("open the journal", self._path):
            file = cast(BinaryIO, self._path.open("ab", buffering=0))
        found = os.fstat(file.fileno())
        self._size_bytes, self._inode = found.st_size, (found.st_dev, found.st_ino)
        return file

    def reopen(self) -> None:
        """Write on in the file that has the journal's name now: a new one if it was moved or removed."""
        self._file.close()
        with environment("open the journal", self._path):
            self._path.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        self._file = self._open()

    def _follow_name(self, now_ms: int) -> None:
        """Begin anew if the file was moved away; looked at once a second, for it costs as much as a line."""
        if 0 <= now_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = now_ms
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self.reopen()
            return
        if (found.st_dev, found.st_ino) != self._inode:
            self.reopen()

    def write(self, kind: str, **fields: Field) -> None:
        """Append one line; bytes are written as hex, `kind` and the names of fields are plain words.

        Raises `TypeError` for what must not be in a journal, `Unavailable` if the disk does not take it.
        """
        if not HEAD.isdisjoint(fields):
            raise TypeError(f"{', '.join(HEAD.intersection(fields))}: every line of a journal has that already")
        parts = [f',"{name}":{_json_text(value)}' for name, value in fields.items()]
        now_ms = self._clock_ms()
        self._follow_name(now_ms)
        text = f'{{"t":{now_ms},"me":{self._me},"kind":"{kind}"{"".join(parts)}'.encode()
        line = text + b',"crc":"%08x"}\n' % zlib.crc32(text)
        if self._size_bytes + len(line) > MAX_BYTES:
            self._rotate()
        try:
            self._file.write(line)
        except OSError:
            with environment("write the journal", self._path):
                raise
        self._size_bytes += len(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        with environment("rotate the journal", self._path):
            self._path.replace(self._path.with_suffix(".1.jsonl"))
        self._file = self._open()


def is_line_whole(line: bytes) -> bool:
    """Whether a line, without its newline, is as it was written."""
    text, mark, check = line.rpartition(b',"crc":"')
    return line == CUT or (bool(mark) and check == b'%08x"}' % zlib.crc32(text))


def _json_text(value: Field) -> str:
    """Return a value as JSON. Written out by hand: a journal line costs a tenth of a block otherwise."""
    if isinstance(value, bytes):
        if len(value) > MAX_BYTES_VALUE:
            raise TypeError(f"{len(value)} bytes do not belong in the journal")
        return f'"{value.hex()}"'
    if isinstance(value, str):
        return f'"{value}"' if value.isascii() and value.isalnum() else json.dumps(value)
    if isinstance(value, tuple):
        return f"[{','.join(map(_json_text, value))}]"
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value) if value is None or isinstance(value, bool) else str(int(value))
    raise TypeError(f"{type(value).__name__} does not belong in the journal")
