"""Long computations of a secure sum as values: a frozen job and the pure `run(job)` that may run in a thread.

Security assumption: jobs carry scalars and unmasked vectors; they never leave the process and are not printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Domain, is_point_valid, is_share_valid, tagged_hash
from fednode.errors import StorageError
from fednode.ids import Hash, MemberId
from fednode.proofs.bounds import MASKS_WRONG
from fednode.proofs.context import SumContext
from fednode.smpc import ring
from fednode.smpc.chunks import Layout, digest_chunk
from fednode.smpc.feldman import is_key_of, reconstruct
from fednode.smpc.masks import own_streams, removal_streams
from fednode.smpc.prg import apply_streams
from fednode.smpc.proof_jobs import (
    Answered,
    AnswerProofs,
    NotProvable,
    ProvenUpdate,
    ProveUpdate,
    answer_proofs,
    prove_update,
)
from fednode.smpc.ring import Buffer, RingVector
from fednode.smpc.sketch import sketch_integers

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
    """Check the shares `holder` received. Result: the dealers whose shares do not fit, ascending."""

    holder: MemberId
    dealt: tuple[DealtPair, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MaskInput:
    """Mask a vector and digest its chunks. Result: `MaskedInput`. `points`: A of all of Q, `me` included."""

    context: SumContext
    me: MemberId
    values: ring.Vector = field(repr=False)
    a_scalar: int = field(repr=False)
    b_scalar: int = field(repr=False)
    points: PointOf


@dataclass(frozen=True, slots=True, eq=False)
class MaskedInput:
    """The masked vector's bytes and the digests of its chunks."""

    data: memoryview = field(repr=False)
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HashChunk:
    """Digest a chunk that arrived. Result: 32 bytes."""

    data: Buffer = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SumChunks:
    """Sum chunks over U: (chunk, the data of every member of U). Result: a tuple of `SummedChunk`."""

    chunks: tuple[tuple[int, tuple[Buffer, ...]], ...] = field(repr=False)


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
    """Remove all masks from the masked sum over U. Result: `Unmasked`, `NotOpened`, or `NotBound`.

    `chunks` in order; `b` of exactly U, `a` of exactly Q outside U, `points`: A of U. With a `coin` the sum must have
    the opened `sketch`, as integers.
    """

    context: SumContext
    chunks: tuple[Buffer, ...] = field(repr=False)
    b: tuple[OpenedSecret, ...] = field(repr=False)
    a: tuple[OpenedSecret, ...] = field(repr=False)
    points: PointOf
    coin: bytes | None = None
    sketch: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Unmasked:
    """The sum, int32 and centred, and the digest that members compare."""

    values: NDArray[np.int32] = field(repr=False)
    digest: Hash


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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The vector on record cannot be read any more."""

    reason: str


Job = CheckShares | MaskInput | HashChunk | SumChunks | Unmask | ProveUpdate | AnswerProofs
Result = (
    tuple[MemberId, ...] | MaskedInput | bytes | tuple[SummedChunk, ...] | Unmasked | NotOpened | NotBound
    | ProvenUpdate | NotProvable | Answered | Unreadable
)


def run(job: Job) -> Result:
    """Do the work of a job; deterministic, safe in a thread."""
    try:
        return _run(job)
    except StorageError as error:
        return Unreadable(str(error))


def _run(job: Job) -> Result:
    match job:
        case CheckShares():
            return _check_shares(job)
        case MaskInput():
            return _mask_input(job)
        case HashChunk():
            return digest_chunk(job.data)
        case SumChunks():
            return _sum_chunks(job)
        case Unmask():
            return _unmask(job)
        case ProveUpdate():
            return prove_update(job)
        case AnswerProofs():
            return answer_proofs(job)
        case _:
            assert_never(job)


def _check_shares(job: CheckShares) -> tuple[MemberId, ...]:
    return tuple(
        pair.dealer
        for pair in job.dealt
        if not (is_point_valid(pair.a_points[0]) and is_point_valid(pair.b_points[0]))
        or not is_share_valid(pair.a_points, job.holder, pair.a_share)
        or not is_share_valid(pair.b_points, job.holder, pair.b_share)
    )


def _mask_input(job: MaskInput) -> MaskedInput:
    points = {int(member): point for member, point in job.points}
    masked = ring.load(job.values).copy()
    apply_streams(masked, own_streams(job.context, job.me, job.a_scalar, job.b_scalar, points))
    data = ring.view_bytes(masked)
    layout = Layout(masked.size, len(points))
    return MaskedInput(data, tuple(digest_chunk(layout.cut(data, chunk)) for chunk in range(layout.count)))


def _sum_chunks(job: SumChunks) -> tuple[SummedChunk, ...]:
    summed = []
    for chunk, buffers in job.chunks:
        data = ring.view_bytes(ring.sum_buffers(buffers))
        summed.append(SummedChunk(chunk, data, digest_chunk(data)))
    return tuple(summed)


def _unmask(job: Unmask) -> Unmasked | NotOpened | NotBound:
    points = {int(member): point for member, point in job.points}
    scalars: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for found, secrets in zip(scalars, (job.b, job.a), strict=True):
        for opened in secrets:
            scalar = open_secret(opened)
            if scalar is None:
                return NotOpened(opened.member)
            found[opened.member] = scalar
    b_scalars, a_scalars = scalars
    total = np.concatenate([ring.from_bytes(chunk) for chunk in job.chunks])
    apply_streams(total, removal_streams(job.context, b_scalars, a_scalars, points))
    if job.coin is not None and not is_bound(job.coin, ring.lift(total), job.sketch):
        return NotBound()
    return Unmasked(ring.lift(total), digest_sum(job.context, total))


def is_bound(coin: bytes, total: NDArray[np.int32], sketch: tuple[int, ...] | None) -> bool:
    """Whether the sum has the opened sketch. -2^31 has no exact sketch; no sum of proven vectors comes near it."""
    if total.size and int(total.min()) == -(1 << 31):
        return False
    return tuple(sketch_integers(coin, total).tolist()) == sketch


def open_secret(opened: OpenedSecret) -> int | None:
    """Return the scalar the openings give, checked against its key point, or None."""
    if opened.scalar is not None:
        scalar = int.from_bytes(opened.scalar, "little")
        return scalar if is_key_of(scalar, opened.points[0]) else None
    shares = {int(holder): int.from_bytes(share, "little") for holder, share in opened.shares}
    return reconstruct(opened.points, shares)


def digest_sum(context: SumContext, total: RingVector) -> Hash:
    """Return the SHA-256 digest that names an opened sum, bound to its study and round."""
    place = (context.study, context.round.to_bytes(4, "big"))
    return tagged_hash(Domain.ROUND, b"sum", *place, ring.view_bytes(total))
