"""Long computations of RECHECK: add up masked chunks as they come, then say what they come to.

Security assumption: a chunk counts only under the root its dealer committed, so everybody that has it has the same.
Masked chunks are all these jobs see.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fednode.crypto import sha256
from fednode.ids import MemberId
from fednode.smpc import vectors
from fednode.smpc.sketch import fold_part, mix_folds
from fednode.smpc.vectors import Buffer, Layout, RingVector, digest_chunk, is_leaf_of
from fednode.sums.bounds import FOLD_ROWS, OUTPUTS


@dataclass(frozen=True, slots=True, eq=False)
class MaskedPart:
    """One chunk of a dealer's masked vector as it came from `source`, with its path to the committed `root`."""

    source: MemberId
    dealer: MemberId
    chunk: int
    root: bytes
    path: bytes = field(repr=False)
    data: Buffer = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class AddParts:
    """Add chunks to the sums of their chunk and to the buckets of their dealer's sketch.

    `totals` and `folds` are what was added up before, of the chunks and dealers among `parts`, where there is anything.
    """

    coin: bytes
    layout: Layout
    parts: tuple[MaskedPart, ...] = field(repr=False)
    totals: tuple[tuple[int, RingVector], ...] = field(repr=False)
    folds: tuple[tuple[MemberId, RingVector], ...] = field(repr=False)
    rows: int = FOLD_ROWS

    @property
    def is_short(self) -> bool:
        """Never: parts come in large numbers."""
        return False

    def run(self) -> AddedParts:
        """Take in the chunks that are what their dealers committed."""
        return _add_parts(self)


@dataclass(frozen=True, slots=True, eq=False)
class AddedParts:
    """What was added up by now, and the parts that were under their roots, each with its digest."""

    totals: tuple[tuple[int, RingVector], ...] = field(repr=False)
    folds: tuple[tuple[MemberId, RingVector], ...] = field(repr=False)
    taken: tuple[tuple[MaskedPart, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class NameFindings:
    """Digest sums over all of U and finish the sketches of whole vectors."""

    coin: bytes
    totals: tuple[tuple[int, RingVector], ...] = field(repr=False)
    folds: tuple[tuple[MemberId, RingVector], ...] = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Never: these are sums of whole vectors."""
        return False

    def run(self) -> Recounted:
        """Digest what came out."""
        return _name_findings(self)


@dataclass(frozen=True, slots=True)
class Recounted:
    """Digests (chunk, BLAKE3) of sums and (dealer, SHA-256) of sketches, each in order."""

    digests: tuple[tuple[int, bytes], ...]
    sketches: tuple[tuple[MemberId, bytes], ...]


def _add_parts(job: AddParts) -> AddedParts:
    totals: dict[int, RingVector] = {}
    folds: dict[MemberId, RingVector] = {}
    before, folded_before = dict(job.totals), dict(job.folds)
    taken = []
    for part in job.parts:
        digest = digest_chunk(part.data)
        if not is_leaf_of(part.root, digest, part.chunk, job.layout.count, part.path):
            continue
        taken.append((part, digest))
        values = vectors.from_bytes(part.data)
        if part.chunk not in totals:
            known = before.get(part.chunk)
            totals[part.chunk] = values.copy() if known is None else known + values
        else:
            totals[part.chunk] += values
        fold = _fold(job, part.chunk, part.data)
        known = folds.get(part.dealer, folded_before.get(part.dealer))
        folds[part.dealer] = fold if known is None else known + fold
    return AddedParts(tuple(totals.items()), tuple(folds.items()), tuple(taken))


def _fold(job: AddParts, chunk: int, data: Buffer) -> RingVector:
    """Return what a chunk adds to the buckets of its dealer's sketch, and after them to the sketch itself."""
    values = vectors.from_bytes(job.layout.bodies([data])[0])
    folded = fold_part(job.coin, values, job.layout.bounds(chunk)[0], job.rows)
    return np.concatenate([folded, job.layout.pads([(chunk, data)])])


def _name_findings(job: NameFindings) -> Recounted:
    digests = tuple((chunk, digest_chunk(vectors.view_bytes(total))) for chunk, total in job.totals)
    sketches = mix_folds(job.coin, [fold[:-OUTPUTS] for _, fold in job.folds])
    named = (
        (dealer, sha256((sketch + fold[-OUTPUTS:]).tobytes()))
        for (dealer, fold), sketch in zip(job.folds, sketches, strict=True)
    )
    return Recounted(digests, tuple(named))
