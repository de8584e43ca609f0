"""A text file of unknown encoding as lines."""

from __future__ import annotations

import codecs
import io
import stat
from pathlib import Path

from fednode.errors import DataError

MAX_FILE_BYTES = 1 << 30
_SAMPLE_BYTES = 4096
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_NO_TEXT = {
    b"PK\x03\x04": "a spreadsheet or archive", b"\xd0\xcf\x11\xe0": "a spreadsheet of an old format",
    b"\x1f\x8b": "compressed", b"%PDF": "a PDF document", b"PAR1": "a Parquet file", b"SQLite": "a database",
}


def read_lines(path: Path) -> tuple[list[str], list[str]]:
    """Return the lines of a file, each with its end, and what to tell about its encoding.

    Raises `DataError` if it cannot be read, is too large, or is no text.
    """
    try:
        if not stat.S_ISREG((found := path.stat()).st_mode) and not stat.S_ISDIR(found.st_mode):
            raise DataError(f"data file {path} is a pipe or device; it is read more than once, save it as a file")
        if found.st_size > MAX_FILE_BYTES:
            raise DataError(f"data file {path} is larger than 1 GiB; split it or drop columns")
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"data file {path} cannot be read: {reason}; check the path and its permissions") from None
    for start, what in _NO_TEXT.items():
        if data.startswith(start):
            raise DataError(f"data file {path} is {what}, not text; export the table as CSV in UTF-8")
    text, remarks = _decode(data, path)
    return io.StringIO(text, newline="").readlines(), remarks


def _decode(data: bytes, path: Path) -> tuple[str, list[str]]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _as(data[len(mark):], encoding, path), ([] if encoding == "utf-8" else [f"encoding {encoding}"])
    sample = data[:_SAMPLE_BYTES]
    if b"\0" in sample:
        even, odd = sample[::2].count(0), sample[1::2].count(0)
        if max(even, odd) < len(sample) // 4 or len(data) % 2:
            raise DataError(f"data file {path} is not text; export the table as CSV in UTF-8")
        encoding = "utf-16-le" if odd > even else "utf-16-be"
        return _as(data, encoding, path), [f"encoding {encoding}"]
    try:
        return data.decode(), []
    except UnicodeDecodeError:
        return _as(data, "cp1252", path), ["the file is not UTF-8; it is read as Windows-1252 (Western European)"]


def _as(data: bytes, encoding: str, path: Path) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"data file {path} is not text in UTF-8, UTF-16 or Windows-1252; export it in UTF-8") from None
