"""Long computations of the checks: sketch, prove and deal a vector; answer what others dealt; check the masked sum.

Security assumption: jobs carry the vector, its sketch and shares; they never leave the process and are not printed.
A sketch of the vector is computed for a coin that was drawn when the vector was fixed, and for no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fednode.errors import StorageError
from fednode.ids import MemberId
from fednode.smpc import ring
from fednode.smpc.chunks import Layout, merkle_root
from fednode.smpc.ring import Buffer, Unreadable
from fednode.smpc.sealed import BITS, PROOF, DerivedEntropy, leaves_of, seal_boxes
from fednode.smpc.sketch import PART_ELEMENTS, RingSketch, sketch_update
from fednode.sums import bodies, norm
from fednode.sums import field as f
from fednode.sums.attempt import SumContext
from fednode.sums.bounds import Strength
from fednode.sums.coin import draw_joint_seed
from fednode.sums.field import FieldVector
from fednode.sums.measures import CLAIM, no_claims
from fednode.sums.norm import Statement
from fednode.sums.shares import DealtVector, deal_vector, holds_key, lagrange, open_box

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
    values: ring.Vector = field(repr=False)
    weight: int
    chunks: int
    masked: memoryview = field(repr=False)
    claims: ring.Vector = field(default_factory=no_claims, repr=False)

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
        values = ring.lift(ring.load(job.values))
        rows = job.statement.strength.rows
        layout = Layout(values.size, job.chunks)
        chunks = layout.all_of(job.masked)
        sketch, masked_sketch = sketch_update(job.coin, values, layout.bodies(chunks), rows)
        masked_sketch += layout.pads(enumerate(chunks))
        del values  # another vector's worth of memory, if it was read for this
        bits = norm.encode(job.statement, sketch, job.weight, ring.load(job.claims).astype(CLAIM, copy=False))
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
        *job.context.place[1:], masked_sketch.astype(ring.RING).tobytes(), bits_root, merkle_root(proof_leaves)
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
    for part in ring.iterate_parts(layout.bodies(job.chunks), PART_ELEMENTS):
        sketch.add(part)
    found = sketch.finish() + layout.pads(enumerate(job.chunks))
    is_equal = bool((found == ring.sum_buffers(job.sketches)).all())
    return bodies.SumCheck.RIGHT if is_equal else bodies.SumCheck.WRONG
