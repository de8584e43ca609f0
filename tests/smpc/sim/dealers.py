"""Dealers that lie: like the honest job, with any bits, proof or boxes in the place of the right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fednode.smpc import jobs, vectors
from fednode.smpc import messages as m
from fednode.smpc.proving import (
    BITS,
    PROOF,
    DerivedEntropy,
    ProvenUpdate,
    ProveUpdate,
    keep_dealing,
    leaves_of,
    seal_boxes,
)
from fednode.smpc.sketch import sketch_integers, sketch_ring
from fednode.smpc.vectors import Layout, digest_chunk, merkle_root
from fednode.sums import bodies, norm
from fednode.sums import field as f
from fednode.sums.attempt import SumContext
from fednode.sums.coin import draw_joint_seed
from fednode.sums.norm import Statement
from fednode.sums.shares import DealtVector, deal_vector

Bits = Callable[[ProveUpdate, f.FieldVector], f.FieldVector]
Boxes = Callable[[dict[int, bytes]], dict[int, bytes]]


def deal_as(
    job: ProveUpdate, *, bits: Bits | None = None, boxes: Boxes | None = None, proofs: Boxes | None = None,
    joint_context: SumContext | None = None, box_context: SumContext | None = None,
) -> ProvenUpdate:
    """Deal with the lies given; the proof is made for the lying bits and is right wherever it can be.

    What is dealt again is right, whatever the boxes held.
    """

    def entropy(label: str) -> DerivedEntropy:
        return DerivedEntropy(job.seed, job.context, "lie " + label, job.me)

    def spoil(dealt: DealtVector, change: Boxes | None) -> DealtVector:
        return dealt if change is None else replace(dealt, boxes=change(dict(dealt.boxes)))

    rows = job.statement.strength.rows
    sketch = sketch_integers(job.coin, vectors.lift(job.values), rows)
    secret = encode_anything(job, sketch)
    secret = secret if bits is None else bits(job, secret)
    holders = [int(holder) for holder, _ in job.holders]
    place = box_context or job.context
    right = deal_vector(secret, job.degree, holders, entropy(BITS))
    dealt = spoil(right, boxes)
    bits_boxes = seal_boxes(place, job.me, dealt, BITS, job.holders, entropy("seal bits"))
    bits_leaves = leaves_of(bits_boxes)
    seed = draw_joint_seed(joint_context or job.context, job.coin, job.me, merkle_root(bits_leaves))
    proof = norm.prove(job.statement, secret, norm.draw_joint(seed, job.statement.repetitions), entropy("prove"))
    right_proof = deal_vector(proof, job.degree, holders, entropy(PROOF))
    dealt_proof = spoil(right_proof, proofs)
    proof_boxes = seal_boxes(place, job.me, dealt_proof, PROOF, job.holders, entropy("seal proof"))
    proof_leaves = leaves_of(proof_boxes)
    layout = Layout(vectors.load(job.values).size, job.chunks)
    chunks = layout.all_of(job.masked)
    masked = sketch_ring(job.coin, vectors.from_bytes(b"".join(layout.bodies(chunks))), rows)
    masked += layout.pads(enumerate(chunks))
    roots = merkle_root(bits_leaves), merkle_root(proof_leaves)
    posted = bodies.ShareRoot(*job.context.place[1:], masked.tobytes(), *roots)
    own = (dealt.boxes[job.me], dealt_proof.boxes[job.me])
    kept = keep_dealing(job.statement, (secret, proof), (right, right_proof), job.degree)
    return ProvenUpdate(posted, bits_boxes, proof_boxes, bits_leaves, proof_leaves, own, kept)


def slack_of(statement: Statement) -> slice:
    """Where the bits of the slack lie."""
    return slice(statement.norm_length - 62, statement.norm_length)


def encode_anything(job: ProveUpdate, sketch: np.ndarray) -> f.FieldVector:
    """The bits of a statement that may be false: entries and slack are cut to their room, claims stay."""
    statement, weight = job.statement, job.weight
    roomy = Statement(statement.weight_bits, 0, (1 << 62) - 1, strength=statement.strength, plan=statement.plan)
    bits = norm.encode(roomy, np.clip(sketch, -(2**26), 2**26), weight, vectors.load(job.claims))
    squares = sum(value * value for value in np.clip(sketch, -(2**26), 2**26).tolist())
    slack = min(max(statement.kappa2 * weight**2 + statement.kappa0 - squares, 0), (1 << 62) - 1)
    bits[slack_of(statement)] = [slack >> k & 1 for k in range(62)]
    return bits


def set_bit(at: int, value: int) -> Bits:
    """One shared bit is any number."""

    def change(job: ProveUpdate, bits: f.FieldVector) -> f.FieldVector:
        bits = bits.copy()
        bits[at] = value
        return bits

    return change


def two_for_the_next_bit(job: ProveUpdate, bits: f.FieldVector) -> f.FieldVector:
    """The same sketch from numbers that are not bits: 2 and 0 instead of 0 and 1. Every equation holds."""
    bits = bits.copy()
    at = next(k for k in range(0, 256 * 28, 28) if not bits[k] and bits[k + 1])
    bits[at], bits[at + 1] = 2, 0
    return bits


def weight_above_the_bound(job: ProveUpdate, bits: f.FieldVector) -> f.FieldVector:
    """w = W + 1 from a 'bit' that is 2, and a slack that makes the equation hold."""
    statement, bits = job.statement, bits.copy()
    start = 256 * statement.strength.entry_bits
    bits[start : start + statement.weight_bits] = 0
    bits[start + statement.weight_bits - 1] = 2
    squares = sum(int(v) ** 2 for v in f.centre(norm.entries_of(statement, bits)).tolist())
    slack = statement.kappa2 * (1 << statement.weight_bits) ** 2 + statement.kappa0 - squares
    bits[slack_of(statement)] = [slack >> k & 1 for k in range(62)]
    return bits


def longer(factor: int) -> Bits:
    """The sketch of a vector that is too long for its weight."""

    def change(job: ProveUpdate, bits: f.FieldVector) -> f.FieldVector:
        sketch = sketch_integers(job.coin, vectors.lift(job.values), job.statement.strength.rows) * factor
        return encode_anything(job, sketch)

    return change


def other_statement(job: ProveUpdate, bits: f.FieldVector) -> f.FieldVector:
    """Right for a statement with more room than the study's."""
    rows = job.statement.strength.rows
    sketch = sketch_integers(job.coin, vectors.lift(job.values), rows)
    wide = Statement(job.statement.weight_bits, job.statement.kappa2, 4 * job.statement.kappa0 + 12345,
                     strength=job.statement.strength, plan=job.statement.plan)
    return norm.encode(wide, sketch, job.weight, vectors.load(job.claims))


def claim(voice: int | None = None, parts: dict[int, int] | None = None, slack: int | None = None) -> Bits:
    """Other claims about the column: its voice, some of its three parts, its slack; each by bits that are bits."""

    def change(job: ProveUpdate, bits: f.FieldVector) -> f.FieldVector:
        bits, (split, *_) = bits.copy(), job.statement.plan
        start = job.statement.norm_length
        bits[start] = bits[start] if voice is None else voice
        for part, value in (parts or {}).items():
            at = start + 1 + part * split.bits
            bits[at : at + split.bits] = [value >> k & 1 for k in range(split.bits)]
        if slack is not None:
            at = start + 1 + split.parts * split.bits
            bits[at : at + split.slack_bits] = [slack >> k & 1 for k in range(split.slack_bits)]
        return bits

    return change


def two_for_the_next_bit_of_a_claim(job: ProveUpdate, bits: f.FieldVector) -> f.FieldVector:
    """The same claims from numbers that are not bits."""
    bits, start = bits.copy(), job.statement.norm_length + 1
    at = next(k for k in range(start, start + 60) if not bits[k] and bits[k + 1] and (k - start) % 23 < 22)
    bits[at], bits[at + 1] = 2, 0
    return bits


def spoil_boxes(holders: set[int], *, is_opening: bool = True) -> Boxes:
    """Some holders are dealt other elements (or nothing a box could hold)."""

    def change(boxes: dict[int, bytes]) -> dict[int, bytes]:
        for holder in holders & set(boxes):
            size = len(boxes[holder])
            boxes[holder] = bytes(size - 8) + b"\x05" + bytes(7) if is_opening else b"\xff" * size
        return boxes

    return change


def deal(**lies: Any) -> Callable[[Any], object]:
    """Return what does a member's jobs, of which the dealing lies as in `deal_as`."""
    return lambda job: deal_as(job, **lies) if isinstance(job, ProveUpdate) else job.run()


def mask_wrongly(result: object) -> object:
    """Change every word of a masked vector by one; its digests are those of the changed words."""
    if not isinstance(result, jobs.MaskedInput):
        return result
    data = memoryview(np.frombuffer(result.data, np.uint32) + np.uint32(1)).cast("B")
    count = len(result.leaves)
    layout = Layout(len(data) // 4 - count * Layout(0, count).tail, count)
    return jobs.MaskedInput(data, tuple(digest_chunk(layout.cut(data, c)) for c in range(layout.count)))


def spoil_chunk(effect: m.SendChunk) -> m.SendChunk:
    """Change the first byte of a chunk on its way."""
    return replace(effect, data=memoryview(bytes([effect.data[0] ^ 1]) + bytes(effect.data[1:])))
