"""One JSON line per event and effect, so that what a daemon did can be read back a year later.

Security assumption: the journal is handed to support staff. Callers give kinds, hashes, numbers and member ids only;
values whose type could hide key material (`Secret`, bytes longer than a signature) are refused here, not trusted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from fednode.ids import MemberId
from fednode.node.files import environment

MAX_BYTES = 32 * 1024 * 1024
"""A journal file is rotated at this size; one predecessor is kept, so a home holds at most twice as much."""

MAX_BYTES_VALUE = 64
"""Hashes and signatures may be named, vectors and keys may not."""

Field = None | bool | int | str | bytes | tuple["Field", ...]


class Journal:
    """Appends lines to `path`; `clock_ms` gives wall-clock time. Not thread-safe: the reactor alone writes."""

    def __init__(self, path: Path, me: MemberId, clock_ms: Callable[[], int]) -> None:
        self._path = path
        self._me = me
        self._clock_ms = clock_ms
        self._file = self._open()
        self._size_bytes = path.stat().st_size

    def _open(self) -> BinaryIO:
        """Open for appending, without a buffer: what could not be written must not come up again at the end."""
        with environment("open the journal", self._path):
            return cast(BinaryIO, self._path.open("ab", buffering=0))

    def write(self, kind: str, **fields: Field) -> None:
        """Append one line; bytes are written as hex, `kind` and the names of fields are plain words.

        Raises `TypeError` for what must not be in a journal, `Unavailable` if the disk does not take it.
        """
        parts = [f',"{name}":{_json_text(value)}' for name, value in fields.items()]
        line = f'{{"t":{self._clock_ms()},"member":{self._me},"kind":"{kind}"{"".join(parts)}}}\n'.encode()
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
        self._size_bytes = 0


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
