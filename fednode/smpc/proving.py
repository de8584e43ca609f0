"""Sketch, prove and deal a vector, in boxes that only holders open; answer what others dealt; check the masked sum.

Security assumption: jobs carry the vector, its sketch and shares; they never leave the process and are not printed.
A sketch of the vector is computed for a coin that was drawn when the vector was fixed, and for no other. A box opens
only for its holder; it carries the place, the dealer, the holder and its kind, so one that was copied from elsewhere is
worthless. A root over boxes commits to their contents: an authenticated box opens to one message only. All randomness
of an attempt's shares follows from one secret seed, the coin and the committed root, so the same boxes can be made
again after a crash and never others under the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from fednode.codec import pack
from fednode.crypto import SEALED_OVERHEAD_BYTES, Domain, Secret, hkdf_sha256, seal_from, sha256, tagged_hash
from fednode.errors import Rejected, StorageError
from fednode.ids import PROTOCOL_VERSION, Hash, MemberId
from fednode.keystream import KEY_BYTES, AesCtr
from fednode.smpc import vectors
from fednode.smpc.sketch import PART_ELEMENTS, RingSketch, sketch_update
from fednode.smpc.vectors import HASH_BYTES, Buffer, Layout, Unreadable, is_leaf_of, merkle_path, merkle_root
from fednode.sums import bodies, norm
from fednode.sums import field as f
from fednode.sums.attempt import SumContext
from fednode.sums.bounds import Strength
from fednode.sums.coin import draw_joint_seed
from fednode.sums.field import ELEMENT_BYTES, FieldVector
from fednode.sums.measures import CLAIM, no_claims
from fednode.sums.norm import Statement
from fednode.sums.shares import DealtVector, deal_vector, holds_key, lagrange, open_box

# --- sealed boxes: what a dealer seals to a holder, their sizes, the trees that commit to them -------------------

BITS: Final = "bits"
PROOF: Final = "proof"
_HEAD_BYTES: Final = HASH_BYTES + SEALED_OVERHEAD_BYTES


class DerivedEntropy:
    """The bytes of one purpose of one attempt, from its seed."""

    def __init__(self, seed: bytes, context: SumContext, label: str, *place: bytes | int) -> None:
        info = pack(("fednode-shares", PROTOCOL_VERSION, *context.place, label, *place))
        self._stream = AesCtr(hkdf_sha256(seed, info, KEY_BYTES))

    def random_bytes(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        return self._stream.read(count)


def box_context(context: SumContext, dealer: int, holder: int, kind: str) -> Hash:
    """Return the place a box was made for, its first 32 bytes inside."""
    return tagged_hash(Domain.ROUND, b"sealed shares", pack((*context.place, dealer, holder, kind)))


def box_sizes(statement: Statement, is_key: bool) -> tuple[int, int]:
    """Return the bytes of a holder's sealed box of bits and of its box of the proof."""
    if is_key:
        return _HEAD_BYTES + KEY_BYTES, _HEAD_BYTES + KEY_BYTES
    return (_HEAD_BYTES + statement.length * ELEMENT_BYTES, _HEAD_BYTES + statement.proof_length * ELEMENT_BYTES)


def seal_boxes(
    context: SumContext, dealer: int, dealt: DealtVector, kind: str, seal_keys: Sequence[tuple[int, bytes]],
    entropy: DerivedEntropy,
) -> tuple[bytes, ...]:
    """Return the sealed boxes in the order of `seal_keys`, pairs (holder, X25519 key)."""
    boxes = []
    for holder, key in seal_keys:
        message = box_context(context, dealer, holder, kind) + dealt.boxes[holder]
        ephemeral = Secret(entropy.random_bytes(32))
        try:
            boxes.append(seal_from(ephemeral, key, message))
        except Rejected:  # the holder posted a key nobody can seal to: it gets noise and has no share
            boxes.append(entropy.random_bytes(len(message) + SEALED_OVERHEAD_BYTES))
    return tuple(boxes)


def leaves_of(boxes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the leaves of the tree over boxes: SHA-256, for an auditor may have to compute them from one box."""
    return tuple(sha256(box) for box in boxes)


def paths_of(bits_leaves: Sequence[bytes], proof_leaves: Sequence[bytes], position: int) -> bytes:
    """Return the audit paths of a holder's two boxes, joined."""
    return merkle_path(bits_leaves, position) + merkle_path(proof_leaves, position)


@dataclass(frozen=True, slots=True)
class Roots:
    """What a dealer posted: the roots over its boxes."""

    bits_root: bytes
    proof_root: bytes

    def holds(self, bits_box: bytes, proof_box: bytes, position: int, count: int, paths: bytes) -> bool:
        """Whether both boxes are those of holder number `position` of `count`."""
        half = len(paths) // 2
        return is_leaf_of(self.bits_root, sha256(bits_box), position, count, paths[:half]) and is_leaf_of(
            self.proof_root, sha256(proof_box), position, count, paths[half:]
        )


# --- jobs --------------------------------------------------------------------------------------------------------

NO_ANSWER = b"\xff"
"""Every byte of an answer that no rule counts, for it is not canonical: the holder has no share of this dealer."""


@dataclass(frozen=True, slots=True, eq=False)
class ProveUpdate:
    """Sketch a vector and its masked form, prove the sketch short and the claims possible, share both.

    `root` is the committed root of the masked vector; `holders` are pairs (holder, seal key) in member order;
    `masked` is that vector with its tails, in `chunks` chunks.
    """

    context: SumContext
    me: MemberId
    coin: bytes
    statement: Statement
    degree: int
    seed: bytes = field(repr=False)
    root: bytes
    holders: tuple[tuple[MemberId, bytes], ...]
    values: vectors.Vector = field(repr=False)
    weight: int
    chunks: int
    masked: memoryview = field(repr=False)
    claims: vectors.Vector = field(default_factory=no_claims, repr=False)

    @property
    def is_short(self) -> bool:
        """Never: proofs take long whatever the vector."""
        return False

    def run(self) -> ProvenUpdate | NotProvable | Unreadable:
        """Do the dealer's part."""
        try:
            return _prove_update(self)
        except StorageError as error:
            return Unreadable(str(error))


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """From which what every holder is to hold of a dealer can be computed again: the same of the dealt vectors
    themselves, and the keys of the holders that were dealt keys, (bits, proof)."""

    statement: Statement
    secret: FieldVector = field(repr=False)
    keys: Mapping[int, tuple[bytes, bytes]] = field(repr=False)

    def held_by(self, holder: int) -> FieldVector:
        """Return what a holder keeps (`norm.held_of`) if it was dealt right."""
        points = (0, *sorted(self.keys))
        rows = np.stack([self.secret, *(self._expanded(point) for point in points[1:])])
        return f.combine(np.array(lagrange(points, holder), f.FIELD), rows)

    def _expanded(self, holder: int) -> FieldVector:
        bits, proof = self.keys[holder]
        shares = f.expand(bits, self.statement.length), f.expand(proof, self.statement.proof_length)
        return norm.held_of(self.statement, *shares)


def keep_dealing(
    statement: Statement, secrets: tuple[FieldVector, FieldVector], dealt: tuple[DealtVector, DealtVector], degree: int
) -> Kept:
    """Return what to keep of the dealing of bits and proof."""
    bits, proof = dealt[0].boxes, dealt[1].boxes
    keys = {holder: (bits[holder], proof[holder]) for holder in bits if holds_key(holder, tuple(bits), degree)}
    return Kept(statement, norm.held_of(statement, *secrets), keys)


@dataclass(frozen=True, slots=True, eq=False)
class ProvenUpdate:
    """What to post, the sealed boxes in the order of holders, the contents of this member's own, and what to keep."""

    posted: bodies.ShareRoot
    bits_boxes: tuple[bytes, ...] = field(repr=False)
    proof_boxes: tuple[bytes, ...] = field(repr=False)
    bits_leaves: tuple[bytes, ...]
    proof_leaves: tuple[bytes, ...]
    own: tuple[bytes, bytes] = field(repr=False)
    kept: Kept = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotProvable:
    """This member's own vector is longer than its weight allows, or its claims are impossible: something before this is
    wrong."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class HeldShare:
    """One dealer's share as this holder opened it: contents of both boxes, or None."""

    dealer: MemberId
    statement: Statement
    bits_root: bytes
    contents: tuple[bytes, bytes] | None = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class AnswerProofs:
    """Answer the proofs of U, keep what is held of each, hold the masked sum against the posted sketches.

    `shares` in the order of U; `chunks` of the masked sum of vectors of `length`, None if it is not at hand; `sketches`
    as posted.
    """

    context: SumContext
    coin: bytes
    query_seed: bytes
    is_key: bool
    shares: tuple[HeldShare, ...] = field(repr=False)
    sketches: tuple[bytes, ...]
    strength: Strength
    length: int
    chunks: tuple[Buffer, ...] | None = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Never: there is a proof of every member."""
        return False

    def run(self) -> Answered:
        """Do the holder's part."""
        return _answer_proofs(self)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The answers joined, the dealers that have one, what is held of them joined, and the masked sum's case."""

    answers: bytes = field(repr=False)
    covered: tuple[MemberId, ...]
    held: bytes = field(repr=False)
    sum_ok: bodies.SumCheck


def _prove_update(job: ProveUpdate) -> ProvenUpdate | NotProvable:
    def entropy(label: str) -> DerivedEntropy:
        return DerivedEntropy(job.seed, job.context, label, job.me, job.coin, job.root)

    try:
        values = vectors.lift(vectors.load(job.values))
        rows = job.statement.strength.rows
        layout = Layout(values.size, job.chunks)
        chunks = layout.all_of(job.masked)
        sketch, masked_sketch = sketch_update(job.coin, values, layout.bodies(chunks), rows)
        masked_sketch += layout.pads(enumerate(chunks))
        del values  # another vector's worth of memory, if it was read for this
        bits = norm.encode(job.statement, sketch, job.weight, vectors.load(job.claims).astype(CLAIM, copy=False))
    except ValueError as error:
        return NotProvable(str(error))
    holders = [int(holder) for holder, _ in job.holders]
    dealt = deal_vector(bits, job.degree, holders, entropy(BITS))
    bits_boxes = seal_boxes(job.context, job.me, dealt, BITS, job.holders, entropy("seal bits"))
    bits_leaves = leaves_of(bits_boxes)
    bits_root = merkle_root(bits_leaves)
    seed = draw_joint_seed(job.context, job.coin, job.me, bits_root)
    joint = norm.draw_joint(seed, job.statement.repetitions)
    proof = norm.prove(job.statement, bits, joint, entropy("prove"))
    dealt_proof = deal_vector(proof, job.degree, holders, entropy(PROOF))
    proof_boxes = seal_boxes(job.context, job.me, dealt_proof, PROOF, job.holders, entropy("seal proof"))
    proof_leaves = leaves_of(proof_boxes)
    posted = bodies.ShareRoot(
        *job.context.place[1:], masked_sketch.astype(vectors.RING).tobytes(), bits_root, merkle_root(proof_leaves)
    )
    own = (dealt.boxes[job.me], dealt_proof.boxes[job.me])
    kept = keep_dealing(job.statement, (bits, proof), (dealt, dealt_proof), job.degree)
    return ProvenUpdate(posted, bits_boxes, proof_boxes, bits_leaves, proof_leaves, own, kept)


def _answer_proofs(job: AnswerProofs) -> Answered:
    answers, covered, held = [], [], []
    for share in job.shares:
        opened = open_shares(share, job.is_key)
        if opened is None:
            answers.append(NO_ANSWER * job.strength.answer_bytes)
            continue
        bits, proof = opened
        seed = draw_joint_seed(job.context, job.coin, share.dealer, share.bits_root)
        joint = norm.draw_joint(seed, job.strength.repetitions)
        challenges = norm.draw_query(share.statement, job.query_seed)
        answers.append(f.to_bytes(norm.query(share.statement, bits, proof, joint, challenges)))
        covered.append(share.dealer)
        held.append(f.to_bytes(norm.held_of(share.statement, bits, proof)))
    return Answered(b"".join(answers), tuple(covered), b"".join(held), _hold_against(job))


def open_shares(share: HeldShare, is_key: bool) -> tuple[FieldVector, FieldVector] | None:
    """Return a dealer's shares of bits and proof from the contents of its boxes, or None if they hold none."""
    if share.contents is None:
        return None
    bits = open_box(share.contents[0], share.statement.length, is_key)
    proof = open_box(share.contents[1], share.statement.proof_length, is_key)
    return None if bits is None or proof is None else (bits, proof)


def _hold_against(job: AnswerProofs) -> bodies.SumCheck:
    """Whether the sketch of the masked sum is the sum of the posted sketches, modulo 2^32."""
    if job.chunks is None:
        return bodies.SumCheck.UNKNOWN
    layout = Layout(job.length, len(job.chunks))
    sketch = RingSketch(job.coin, job.length, job.strength.rows)
    for part in vectors.iterate_parts(layout.bodies(job.chunks), PART_ELEMENTS):
        sketch.add(part)
    found = sketch.finish() + layout.pads(enumerate(job.chunks))
    is_equal = bool((found == vectors.sum_buffers(job.sketches)).all())
    return bodies.SumCheck.RIGHT if is_equal else bodies.SumCheck.WRONG
