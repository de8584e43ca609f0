"""Which rows train and which only measure: a fifth of each class, chosen by content, the same every round."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fednode.learn.schema import Rows
from fednode.learn.spec import StudySpec

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
    content = np.nan_to_num(rows.features, nan=-1.0).astype("<f8")
    digests = [hashlib.sha256(seed + row.tobytes()).digest() for row in content]
    mask = np.zeros(len(rows.labels), bool)
    for label in np.unique(rows.labels):
        members = sorted(np.flatnonzero(rows.labels == label).tolist(), key=lambda index: digests[index])
        mask[members[: len(members) // VALIDATION_SHARE]] = True
    if not mask.any() and len(mask) > 1:
        largest = np.bincount(rows.labels).argmax()
        mask[min(np.flatnonzero(rows.labels == largest).tolist(), key=lambda index: digests[index])] = True
    return mask


def training_rows(spec: StudySpec, rows: Rows) -> Rows:
    """Return the rows that train."""
    keep = ~validation_mask(spec, rows)
    return Rows(rows.features[keep], rows.labels[keep])


def validation_rows(spec: StudySpec, rows: Rows) -> Rows:
    """Return the rows that only measure."""
    keep = validation_mask(spec, rows)
    return Rows(rows.features[keep], rows.labels[keep])
