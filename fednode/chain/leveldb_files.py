"""What LevelDB's own files say about each other, looked at before LevelDB opens them.

Security assumption: none; the bytes may be anything. LevelDB itself notices wrong checksums, but not everything that
is gone: without CURRENT it begins a new database over the old files, a log that is missing is an empty one, a zeroed
piece of a log is skipped, and a table is opened only when something in it is read. What is found here is never
repaired. A record that is cut at the end of the newest log is no damage: a power cut leaves it behind, and its write
had not been answered.

Formats: LevelDB, doc/log_format.md, doc/table_format.md, db/version_edit.cc, db/write_batch.cc.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

BLOCK_BYTES = 32 * 1024
HEADER_BYTES = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")

_LOG = re.compile(r"(\d+)\.log")
_TABLE = re.compile(r"(\d+)\.(ldb|sst)")

Read = Callable[[str, int], bytes]
"""`read(name, count)`: the whole file if count is 0, else its last `count` bytes."""


class Damage(Exception):
    """A file of the store is damaged or missing; the text names it and says what is wrong."""


def check_files(sizes: Mapping[str, int], read: Read) -> None:
    """Raise `Damage` unless the files of a folder (name and size in bytes) belong together.

    Reads CURRENT, the manifest, the logs (at most some megabytes) and the last bytes of every table.
    """
    logs = {int(found[1]): name for name in sizes if (found := _LOG.fullmatch(name))}
    tables = {int(found[1]): name for name in sizes if (found := _TABLE.fullmatch(name))}
    manifests = [name for name in sizes if name.startswith("MANIFEST-")]
    if "CURRENT" not in sizes:
        if logs or tables or manifests:
            raise Damage("the file CURRENT is missing")
        return
    current = read("CURRENT", 0)
    name = current[:-1].decode("ascii", "replace")
    if not current.endswith(b"\n") or not re.fullmatch(r"MANIFEST-\d+", name):
        raise Damage("the file CURRENT is damaged")
    if name not in sizes:
        raise Damage(f"the file {name}, which CURRENT names, is missing")
    version = _read_manifest(name, read(name, 0))
    for number, size_bytes in sorted(version.tables.items()):
        _check_table(tables.get(number), number, size_bytes, sizes, read)
    if version.log_number not in logs:
        raise Damage(f"the file {version.log_number:06d}.log is missing")
    live = [(logs[number], read(logs[number], 0)) for number in sorted(logs) if number >= version.log_number]
    _check_logs(live, version.last_sequence)


def _check_table(name: str | None, number: int, size_bytes: int, sizes: Mapping[str, int], read: Read) -> None:
    if name is None:
        raise Damage(f"the file {number:06d}.ldb is missing")
    if sizes[name] != size_bytes:
        raise Damage(f"the file {name} has {sizes[name]} bytes instead of {size_bytes}")
    if size_bytes < len(TABLE_MAGIC) or read(name, len(TABLE_MAGIC)) != TABLE_MAGIC:
        raise Damage(f"the file {name} is damaged at its end")


# --- records of logs and manifests ------------------------------------------------------------------------------

@dataclass(slots=True)
class _Records:
    """The records of one file, in order; `is_cut` once they were read: the last one is not whole."""

    name: str
    data: bytes
    is_cut: bool = False

    def __iter__(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        for kind, part in self._fragments():
            if (kind in (FULL, FIRST)) == bool(parts):
                raise Damage(f"the file {self.name} is damaged: a record in it has no end")
            parts.append(part)
            if kind in (FULL, LAST):
                yield b"".join(parts)
                parts = []
        self.is_cut = self.is_cut or bool(parts)

    def _fragments(self) -> Iterator[tuple[int, bytes]]:
        data, place = self.data, 0
        while place < len(data):
            left = BLOCK_BYTES - place % BLOCK_BYTES
            if left < HEADER_BYTES:
                place += left
                continue
            header = data[place : place + HEADER_BYTES]
            size, kind = int.from_bytes(header[4:6], "little"), header[6] if len(header) == HEADER_BYTES else 0
            end = place + HEADER_BYTES + size
            if len(header) < HEADER_BYTES or (kind in (FULL, FIRST, MIDDLE, LAST) and end > len(data)):
                self.is_cut = True
                return
            if kind == 0 and not any(data[place:]):
                self.is_cut = True  # a file system that grew the file before it wrote the data
                return
            if kind not in (FULL, FIRST, MIDDLE, LAST) or HEADER_BYTES + size > left:
                raise Damage(f"the file {self.name} is damaged at byte {place}")
            yield kind, data[place + HEADER_BYTES : end]
            place = end


def _check_logs(logs: Iterable[tuple[str, bytes]], last_sequence: int) -> None:
    """Check that no write is missing between the first and the last one of the logs."""
    following = last_sequence + 1
    is_first = True
    cut: str | None = None
    for name, data in logs:
        if cut is not None:
            raise Damage(f"the end of the file {cut} is missing")
        records = _Records(name, data)
        for record in records:
            if len(record) < 12:
                raise Damage(f"the file {name} is damaged: a write in it is too short")
            sequence, count = int.from_bytes(record[:8], "little"), int.from_bytes(record[8:12], "little")
            if sequence > following or (sequence < following and not is_first):
                raise Damage(f"the file {name} is damaged: writes are missing in it")
            is_first = False
            following = sequence + count
        cut = name if records.is_cut else None


@dataclass(slots=True)
class _Version:
    """What the manifest says is there; `log_number` is -1 until it is named."""

    log_number: int = -1
    last_sequence: int = 0
    tables: dict[int, int] = field(default_factory=dict)


def _read_manifest(name: str, data: bytes) -> _Version:
    version = _Version()
    try:
        for record in _Records(name, data):
            _apply_edit(version, record)
    except (IndexError, KeyError):
        raise Damage(f"the file {name} is damaged") from None
    if version.log_number < 0:
        raise Damage(f"the file {name} is cut off near its beginning")
    return version


def _apply_edit(version: _Version, record: bytes) -> None:
    """Follow one version edit: tag and value, one after the other."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = record[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def skip_text() -> None:
        nonlocal place
        size = number()
        place += size

    while place < len(record):
        match number():
            case 1:  # comparator
                skip_text()
            case 2:
                version.log_number = number()
            case 3 | 9:  # next file, previous log
                number()
            case 4:
                version.last_sequence = number()
            case 5:  # compaction pointer
                number()
                skip_text()
            case 6:
                number()
                version.tables.pop(number(), None)
            case 7:
                number()
                table = number()
                version.tables[table] = number()
                skip_text()
                skip_text()
            case _:
                raise KeyError("unknown tag")
