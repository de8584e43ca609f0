"""A data file made ready: rows encoded once, and the fifth of each class that only measures set apart.

The fifth is chosen by content, the same every round, so it never trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fednode.errors import DataError
from fednode.learn.jobs import MAX_WARNINGS, DataAt, TableSeen
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec
from fednode.learn.tables.check import Checked
from fednode.learn.tables.verdicts import WARNING, Verdict
from fednode.worker.data import reader_of

VALIDATION_SHARE = 5
"""One row in five of each class; classes of fewer than five rows all train."""


def validation_mask(spec: StudySpec, rows: Rows) -> NDArray[np.bool_]:
    """Return which rows belong to the validation fifth, bool (n,).

    Rows are ranked within their class by the hash of seed and content, so the choice survives a re-sorted
    file and equal rows stay together as far as the share allows. A file whose classes are all smaller than
    five gives the first row of the largest class, so that every hospital measures something; a single row
    trains.
    """
    seed = spec.seed.to_bytes(8, "big")
    content = _flat(rows).astype("<f8")
    digests = [hashlib.sha256(seed + row.tobytes()).digest() for row in content]
    mask = np.zeros(len(rows.labels), bool)
    for label in np.unique(rows.labels):
        members = sorted(np.flatnonzero(rows.labels == label).tolist(), key=lambda index: digests[index])
        mask[members[: len(members) // VALIDATION_SHARE]] = True
    if not mask.any() and len(mask) > 1:
        largest = np.bincount(rows.labels).argmax()
        mask[min(np.flatnonzero(rows.labels == largest).tolist(), key=lambda index: digests[index])] = True
    return mask


def _flat(rows: Rows) -> NDArray[np.float64]:
    """Return the features as (n, ...), one row each, missing values as -1."""
    return np.nan_to_num(rows.features.reshape(len(rows.labels), -1), nan=-1.0)


def digest_of(rows: Rows) -> bytes:
    """Return a hash of the rows that does not depend on their order."""
    content = np.column_stack([_flat(rows), rows.labels]).astype("<f8")
    digest = hashlib.sha256()
    for row in sorted(row.tobytes() for row in content):
        digest.update(row)
    return digest.digest()


def select(rows: Rows, keep: NDArray[np.bool_]) -> Rows:
    """Return the rows where `keep` is true."""
    return Rows(rows.features[keep], rows.labels[keep])


def usable_rows(checked: Checked, path: Path) -> Rows:
    """Return the encoded rows; raise `DataError` with the first verdict that is an error."""
    if checked.rows is None:
        raise DataError(f"data file {path}: {checked.errors[0].sentence}")
    return checked.rows


def load_rows(spec: StudySpec, data: DataAt) -> Rows:
    """Read and encode the labelled rows of a file; raise `DataError` if it does not fit the schema."""
    return usable_rows(reader_of(spec).check(spec.data, data), Path(data.path))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Encoded rows of a training file: all of them, those that train, those that only measure."""

    rows: Rows
    training: Rows
    validation: Rows
    seen: TableSeen

    @staticmethod
    def of(spec: StudySpec, rows: Rows, verdicts: Sequence[Verdict] = ()) -> Prepared:
        """Set the validation rows apart."""
        mask = validation_mask(spec, rows)
        classes = tuple(np.bincount(rows.labels, minlength=len(spec.data.classes)).tolist())
        warnings = tuple(verdict.sentence for verdict in verdicts if verdict.status == WARNING)[:MAX_WARNINGS]
        seen = TableSeen(digest_of(rows), len(rows.labels), classes, warnings)
        return Prepared(rows, select(rows, ~mask), select(rows, mask), seen)


class DataCache:
    """Keeps the last file prepared until it changes on disk or another study asks: rounds are many, reading is slow."""

    def __init__(self) -> None:
        self._key: tuple[StudySpec, DataAt, int, int] | None = None
        self._prepared: Prepared | None = None

    def get(self, spec: StudySpec, data: DataAt) -> Prepared:
        """Return the prepared file; raise `DataError` if it cannot be used."""
        path = Path(data.path)
        try:
            status = path.stat()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise DataError(f"data file {path} cannot be read: {reason}; check the path and its permissions") from None
        key = (spec, data, status.st_mtime_ns, status.st_size)
        if self._prepared is None or key != self._key:
            checked = reader_of(spec).check(spec.data, data)
            self._prepared, self._key = Prepared.of(spec, usable_rows(checked, path), checked.verdicts), key
        return self._prepared
