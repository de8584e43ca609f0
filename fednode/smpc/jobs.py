"""Long computations of a secure sum as values (`effects.Job`).

Security assumption: jobs carry scalars and unmasked vectors; they never leave the process and are not printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Domain, Sha256, begin_tagged_hash, is_point_valid, is_share_valid
from fednode.effects import SHORT_VECTOR_BYTES
from fednode.errors import StorageError
from fednode.ids import Hash, MemberId
from fednode.keystream import AesCtr
from fednode.smpc import vectors
from fednode.smpc.masks import Masks, SumKey, name_sum, own_streams, removal_streams, tail_key
from fednode.smpc.proving import Answered, NotProvable, ProvenUpdate
from fednode.smpc.recheck_jobs import AddedParts, Recounted
from fednode.smpc.sketch import PART_ELEMENTS, IntegerSketch
from fednode.smpc.vectors import STEP_ELEMENTS, Buffer, ChunkDigests, Layout, RingVector, Unreadable, digest_chunk
from fednode.sums.attempt import SumContext
from fednode.sums.bounds import FOLD_ROWS, MASKS_WRONG, OUTPUTS
from fednode.sums.field import centre
from fednode.sums.shares import is_key_of, reconstruct

PointOf = tuple[tuple[MemberId, bytes], ...]


@dataclass(frozen=True, slots=True)
class DealtPair:
    """One dealer's points and the shares of a and b that came with them."""

    dealer: MemberId
    a_points: tuple[bytes, ...]
    b_points: tuple[bytes, ...]
    a_share: int = field(repr=False)
    b_share: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckShares:
    """Check the shares `holder` received."""

    holder: MemberId
    dealt: tuple[DealtPair, ...]

    @property
    def is_short(self) -> bool:
        """Whether there are few shares."""
        return len(self.dealt) <= 8

    def run(self) -> CheckedShares:
        """Hold each pair of shares against its dealer's points."""
        return CheckedShares(tuple(pair.dealer for pair in self.dealt if not _is_good(pair, self.holder)))


@dataclass(frozen=True, slots=True)
class CheckedShares:
    """The dealers whose shares do not fit, ascending."""

    wrong: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MaskInput:
    """Mask a vector with fresh tails, digest its chunks. `points`: A of all of Q, `me` too."""

    context: SumContext
    me: MemberId
    values: vectors.Vector = field(repr=False)
    a_scalar: int = field(repr=False)
    b_scalar: int = field(repr=False)
    points: PointOf

    @property
    def is_short(self) -> bool:
        """Whether the vector is at hand, and small for so many masks."""
        return not callable(self.values) and self.values.nbytes * len(self.points) <= SHORT_VECTOR_BYTES

    def run(self) -> MaskedInput | Unreadable:
        """Mask and digest, step by step while each is in cache."""
        try:
            return _mask_input(self)
        except StorageError as error:
            return Unreadable(str(error))


@dataclass(frozen=True, slots=True, eq=False)
class MaskedInput:
    """The bytes of the masked vector with its tails (`vectors.Layout`) and the digests of its chunks."""

    data: memoryview = field(repr=False)
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HashChunk:
    """Digest a chunk that arrived."""

    data: Buffer = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Whether the chunk is small; a digest is quicker than a sum."""
        return len(self.data) <= 4 * SHORT_VECTOR_BYTES

    def run(self) -> bytes:
        """Return the digest, 32 bytes."""
        return digest_chunk(self.data)


@dataclass(frozen=True, slots=True, eq=False)
class SumChunks:
    """Sum chunks over U: (chunk, the data of every member of U)."""

    chunks: tuple[tuple[int, tuple[Buffer, ...]], ...] = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Whether all of it together is small."""
        return sum(len(part) for _, parts in self.chunks for part in parts) <= SHORT_VECTOR_BYTES

    def run(self) -> tuple[SummedChunk, ...]:
        """Sum and digest each chunk."""
        return tuple(_sum_chunk(chunk, buffers) for chunk, buffers in self.chunks)


@dataclass(frozen=True, slots=True, eq=False)
class SummedChunk:
    """One chunk of the masked sum and its digest."""

    chunk: int
    data: memoryview = field(repr=False)
    digest: bytes


@dataclass(frozen=True, slots=True)
class OpenedSecret:
    """What the ledger opened of one member's secret: the scalar itself, or holders' shares, with its points."""

    member: MemberId
    points: tuple[bytes, ...]
    scalar: bytes | None = field(repr=False)
    shares: tuple[tuple[MemberId, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Unmask:
    """Remove all masks from the masked sum over U, of `length`.

    `chunks` in order; `b` of exactly U, `a` of exactly Q outside U, `points`: A of U. `weight`: the sum of
    those on the ledger. The sum must have the sketch (of `rows` folds) that was `opened` for the `coin`, as integers,
    and where no weight is on the ledger that which was opened counts. `room`: a vector nobody reads any more, which is
    written over.
    """

    context: SumContext
    length: int
    chunks: tuple[Buffer, ...] = field(repr=False)
    b: tuple[OpenedSecret, ...] = field(repr=False)
    a: tuple[OpenedSecret, ...] = field(repr=False)
    points: PointOf
    weight: int
    coin: bytes
    opened: bytes = field(repr=False)
    room: RingVector | None = field(default=None, repr=False)
    rows: int = FOLD_ROWS

    @property
    def is_short(self) -> bool:
        """Whether the vector is small for so many masks."""
        return sum(map(len, self.chunks)) * len(self.points) <= SHORT_VECTOR_BYTES

    def run(self) -> Unmasked | NotOpened | NotBound:
        """Open the secrets, then the sum."""
        return _unmask(self)


@dataclass(frozen=True, slots=True, eq=False)
class Unmasked:
    """The sum, int32 and centred; sums of weights and claims; the salted digest that members compare; the sum's key."""

    values: NDArray[np.int32] = field(repr=False)
    weight: int
    words: tuple[int, ...] = field(repr=False)
    digest: Hash
    key: SumKey = field(repr=False)

    @property
    def opened(self) -> tuple[NDArray[np.int32], int, Hash, tuple[int, ...]]:
        """All of it but the key."""
        return self.values, self.weight, self.digest, self.words


@dataclass(frozen=True, slots=True)
class NotOpened:
    """The openings do not give this member's secret."""

    member: MemberId

    @property
    def reason(self) -> str:
        """Why there is no sum, for people."""
        return f"the openings do not give the secret of member {self.member}"


@dataclass(frozen=True, slots=True)
class NotBound:
    """The sum is not the one whose sketch was opened."""

    reason: str = MASKS_WRONG


Result = (
    CheckedShares | MaskedInput | bytes | tuple[SummedChunk, ...] | Unmasked | NotOpened | NotBound
    | ProvenUpdate | NotProvable | Answered | Unreadable | AddedParts | Recounted
)


def _is_good(pair: DealtPair, holder: MemberId) -> bool:
    return (
        is_point_valid(pair.a_points[0]) and is_point_valid(pair.b_points[0])
        and is_share_valid(pair.a_points, holder, pair.a_share)
        and is_share_valid(pair.b_points, holder, pair.b_share)
    )


def _mask_input(job: MaskInput) -> MaskedInput:
    points = {int(member): point for member, point in job.points}
    values = vectors.load(job.values)
    layout = Layout(values.size, len(points))
    masked = np.empty(layout.total, vectors.RING)
    streams = own_streams(job.context, job.me, job.a_scalar, job.b_scalar, points)
    masks, tail_masks = Masks(streams), Masks(streams, layout.tails_at)
    tails = AesCtr(tail_key(job.context, job.a_scalar, job.me))
    digests = ChunkDigests(layout)
    for chunk in range(layout.count):
        (first, last), (at, end) = layout.bounds(chunk), layout.place(chunk)
        for start in range(first, last, STEP_ELEMENTS):
            part = masked[at + start - first : at + min(start + STEP_ELEMENTS, last) - first]
            part[:] = values[start : start + part.size]
            masks.add_to(part)
            digests.update(vectors.view_bytes(part))
        tail = masked[end - layout.tail : end]
        tail[:] = vectors.from_bytes(tails.read(vectors.ELEMENT_BYTES * layout.tail))
        tail_masks.add_to(tail)
        digests.update(vectors.view_bytes(tail))
    return MaskedInput(vectors.view_bytes(masked), digests.finish())


def _sum_chunk(chunk: int, buffers: tuple[Buffer, ...]) -> SummedChunk:
    data = vectors.view_bytes(vectors.sum_buffers(buffers))
    return SummedChunk(chunk, data, digest_chunk(data))


def _unmask(job: Unmask) -> Unmasked | NotOpened | NotBound:
    points = {int(member): point for member, point in job.points}
    scalars: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for found, secrets in zip(scalars, (job.b, job.a), strict=True):
        for opened in secrets:
            scalar = open_secret(opened)
            if scalar is None:
                return NotOpened(opened.member)
            found[opened.member] = scalar
    return _open_sum(job, Masks(removal_streams(job.context, *scalars, points)))


def _open_sum(job: Unmask, masks: Masks) -> Unmasked | NotBound:
    """Unmask, sketch and digest the sum, part by part while each is in cache."""
    length = job.length
    total = np.empty(length, vectors.RING) if job.room is None else job.room
    sketch = IntegerSketch(job.coin, length, job.rows)
    digest = begin_sum_digest(job.context, length)
    start = 0
    layout = Layout(length, len(job.chunks))
    key = SumKey(job.context, layout.salts(job.chunks))
    for chunk in vectors.iterate_parts(layout.bodies(job.chunks), PART_ELEMENTS):
        part = total[start : start + chunk.size]
        part[:] = chunk
        masks.add_to(part)
        sketch.add(vectors.lift(part))
        digest.update(vectors.view_bytes(part))
        start += part.size
    shown = key.show(job.opened)
    if shown is None or not is_bound(sketch, centre(shown)):
        return NotBound()
    weight = job.weight or int(centre(shown)[OUTPUTS])
    words = tuple(shown[OUTPUTS + 1 :].tolist())
    return Unmasked(vectors.lift(total), weight, words, name_sum(key.salt("sum"), digest.digest()), key)


def is_bound(total: IntegerSketch, opened: NDArray[np.int64]) -> bool:
    """Whether the sum has the opened sketch. -2^31 has no exact sketch; no sum of proven vectors comes near it."""
    found = total.finish()
    return found is not None and bool((found == opened[:OUTPUTS]).all()) and int(opened[OUTPUTS]) >= 0


def open_secret(opened: OpenedSecret) -> int | None:
    """Return the scalar the openings give, checked against its key point, or None."""
    if opened.scalar is not None:
        scalar = int.from_bytes(opened.scalar, "little")
        return scalar if is_key_of(scalar, opened.points[0]) else None
    shares = {int(holder): int.from_bytes(share, "little") for holder, share in opened.shares}
    return reconstruct(opened.points, shares)


def begin_sum_digest(context: SumContext, length: int) -> Sha256:
    """Return the digest that names an opened sum of `length` elements, bound to its study and round; the bytes of the
    sum are still to be added."""
    place = (context.study, context.round.to_bytes(4, "big"))
    return begin_tagged_hash(Domain.ROUND, b"sum", *place, last_bytes=length * vectors.ELEMENT_BYTES)
