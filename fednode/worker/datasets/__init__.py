"""Sources of rows, by file suffix, one file each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fednode.errors import DataError
from fednode.learn.tables.kind import Tables
from fednode.learn.tables.site_map import PLAIN, SiteMap
from fednode.learn.tables.table import Table
from fednode.worker.datasets import delimited

Reader = Callable[[Tables, Path, SiteMap], Table]

DATASETS: dict[str, Reader] = {
    ".csv": delimited.read, ".tsv": delimited.read, ".data": delimited.read, ".txt": delimited.read,
}


def read_table(schema: Tables, path: Path, site: SiteMap = PLAIN) -> Table:
    """Read a data file; raise `DataError` naming cause and fix if it cannot be read as a table."""
    reader = DATASETS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(DATASETS)
        raise DataError(f"data file {path}: suffix '{path.suffix}' is not known; use one of {known}")
    return reader(schema, path, site)
