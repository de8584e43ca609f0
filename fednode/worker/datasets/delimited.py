"""Comma, semicolon or tab separated text, with or without a line of column names."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from fednode.errors import DataError
from fednode.learn.schema import Table, has_header
from fednode.learn.spec import StudySpec

SEPARATORS = (",", ";", "\t")
MAX_FILE_BYTES = 1 << 30


def read(spec: StudySpec, path: Path) -> Table:
    """Read `path` whole; the separator is the one most frequent in the first line. Blank lines are skipped."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"data file {path} is larger than 1 GiB; split it or drop columns")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"data file {path} is not UTF-8 text; export it as CSV in UTF-8") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"data file {path} cannot be read: {reason}; check the path and its permissions") from None
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first_line.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows = tuple(tuple(row) for row in reader if any(cell.strip() for cell in row))
    except csv.Error as error:
        raise DataError(f"data file {path} is not valid CSV: {error}; export it again") from None
    if rows and has_header(spec, rows[0]):
        return Table(tuple(cell.strip() for cell in rows[0]), rows[1:])
    return Table(None, rows)
