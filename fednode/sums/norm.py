"""A fully linear proof on Shamir shares that a sketch u is short for its weight w, and that claims are possible ones:
none of it is shown to anybody. A statement is the public numbers of a proof, and its sizes.

Security assumptions: at most f of N members lie, the degree of the sharing is g = max(1, f); the joint challenge is
fixed after the measurement's shares are committed, the query challenge after the proof's shares are too (both as a
random oracle or a coin would). Proven over F:
    every shared bit is 0 or 1;  u_j = sum 2^l bit_jl - 2^27 (28 bits; above 31 members a further one that
    counts 2^27, and 3 * 2^26 is taken off), w and slack (62 bits) likewise from their bits;
    |u|^2 + slack = kappa2 w^2 + kappa0;
    what `measures` says of each split of the plan.
The bits bound both sides by 2^63 (with 29 bits an entry by 13 * 2^60) < p, so the equation holds over the integers;
without them vectors exist whose squares add up to anything modulo p. Weights end at W = 2^b - 1.

One polynomial identity checks all products (Corrigan-Gibbs and Boneh 2017; VDAF section 7.3). With r the joint
challenge the products are r^(m+1) x_m * (x_m - 1), u_j * u_j, -kappa2 w * w, and with further powers of r the squares
of the means in the plan; they are cut into calls of 32. Equations without products enter what is left over with powers
of r of their own. Wire j is the polynomial with a random value at 1 and its inputs of call k at the k-th root; p is
the sum over wires of products of pairs of them, so p at the k-th root is the result of call k. All holders compute is
linear in their shares: wires and p at a random point, and the sum of the calls. Error per repetition at most
(bits + splits + moments + 1 + 2 P) / p < 2^-43 for each candidate statement, below 2^-50 without thousands of columns;
so 2^-86 for two repetitions, 2^-129 for three; how many there are follows from the members (`bounds.strength_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.codec import pack
from fednode.crypto import Entropy, hkdf_sha256
from fednode.ids import PROTOCOL_VERSION
from fednode.sums import field, measures
from fednode.sums.bounds import (
    FEW,
    MAX_WEIGHT_BOUND,
    OUTPUTS,
    SCALE,
    Strength,
    strength_of,
)
from fednode.sums.field import FIELD, MODULUS, FieldVector
from fednode.sums.measures import Claims, Plan
from fednode.sums.shares import answers_needed, decode, sharing_degree

# --- the statement -----------------------------------------------------------------------------------------------

ENTRY_BITS: Final = FEW.entry_bits
SLACK_BITS: Final = 62
REPETITIONS: Final = FEW.repetitions
PAIRS: Final = 32
"""Products in one call of the gadget: 67 numbers are answered per repetition and 577 are sent."""
ANSWER: Final = 2 * PAIRS + 3
"""Numbers in an answer per repetition."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The public numbers of a norm proof; see `norm_statement`."""

    weight_bits: int
    kappa2: int
    kappa0: int
    entries: int = OUTPUTS
    strength: Strength = FEW
    plan: Plan = ()

    @property
    def entry_weights(self) -> tuple[int, ...]:
        """What each bit of an entry counts. The range is no power of two where that would let squares reach p."""
        plain = tuple(1 << bit for bit in range(ENTRY_BITS))
        return plain + plain[-1:] * (self.strength.entry_bits - ENTRY_BITS)

    @property
    def half(self) -> int:
        """Entries are in -half .. half - 1."""
        return (sum(self.entry_weights) + 1) // 2

    @property
    def length(self) -> int:
        """Shared bits: of the entries, the weight, the slack and the plan, in this order, lowest bit first."""
        return self.norm_length + measures.count_bits(self.plan)

    @property
    def norm_length(self) -> int:
        """Shared bits before those of the plan."""
        return self.entries * self.strength.entry_bits + self.weight_bits + SLACK_BITS

    @property
    def calls(self) -> int:
        """Calls of the gadget."""
        return -(-(self.length + self.entries + 1 + measures.count_moments(self.plan)) // PAIRS)

    @property
    def size(self) -> int:
        """P: points of a wire polynomial, the first power of two above the calls."""
        return 1 << self.calls.bit_length()

    @property
    def repetitions(self) -> int:
        """Independent repetitions of the proof."""
        return self.strength.repetitions

    @property
    def part_length(self) -> int:
        """Elements of one repetition's proof: wire seeds, the coefficients of p, a blind and a confirm blind."""
        return 2 * PAIRS + 2 * self.size - 1 + 2

    @property
    def proof_length(self) -> int:
        """Elements of a proof."""
        return self.repetitions * self.part_length

    @property
    def held_length(self) -> int:
        """Elements of what a holder keeps of a dealer: see `held_of`."""
        return self.opened_length + self.repetitions

    @property
    def opened_length(self) -> int:
        """Elements of an opening: see `opening_of`."""
        return self.entries + 1 + measures.count_words(self.plan)


def norm_statement(
    length: int, max_weight: int, scale: int = SCALE, strength: Strength = FEW, plan: Plan = ()
) -> Statement:
    """Return the statement for d = `length`, W = `max_weight` (2^b - 1), S = `scale`, and the claims of a plan.

    kappa2 = 1.44 k R S^2 / W^2 and kappa0 = 1.44 k R d / 4, what rounding adds; rounded up.
    """
    if not 1 <= max_weight <= MAX_WEIGHT_BOUND or max_weight & (max_weight + 1):
        raise ValueError("the largest weight of a proof is 2^b - 1, at most 65535")
    if not 0 <= length <= strength.max_length or not 1 <= scale <= SCALE:
        raise ValueError("the vector or the scale are outside the range of the proof")
    gain = 36 * OUTPUTS * strength.rows
    kappa2 = -(-gain * scale**2 // (25 * max_weight**2))
    return Statement(max_weight.bit_length(), kappa2, -(-gain * length // 100), strength=strength, plan=plan)


def statement_of(
    length: int, max_weight: int, public_weight: int | None = None, *, members: int, plan: Plan = ()
) -> Statement:
    """Return what a dealer proves in a round of a ledger of `members` that sums `length` parameters and claims.

    Without parameters its sketch is zero, and nobody has a weight but 1. A public weight enters as a number: nothing
    is left to hide, and the one shared bit of the weight is without meaning.
    """
    strength = strength_of(members)
    if not length:
        return Statement(1, 0, 0, strength=strength, plan=plan)
    statement = norm_statement(length, max_weight, strength=strength, plan=plan)
    if public_weight is None:
        return statement
    if not 1 <= public_weight <= max_weight:
        raise ValueError("the public weight is outside the range of the proof")
    return Statement(1, 0, statement.kappa2 * public_weight**2 + statement.kappa0, strength=strength, plan=plan)


# --- the proof ---------------------------------------------------------------------------------------------------

def encode(
    statement: Statement, sketch: NDArray[np.int64], weight: int, claims: Claims | None = None
) -> FieldVector:
    """Return the bits to share; `ValueError` if the statement is false or a number has no room."""
    half = statement.half
    if sketch.shape != (statement.entries,) or not 0 <= weight < 1 << statement.weight_bits:
        raise ValueError("the sketch or the weight does not belong to the statement")
    if sketch.size and (int(sketch.max()) >= half or int(sketch.min()) < -half):
        raise ValueError("an entry of the sketch is too large to be proven")
    squares = sum(value * value for value in sketch.tolist())
    slack = statement.kappa2 * weight**2 + statement.kappa0 - squares
    if not 0 <= slack < 1 << SLACK_BITS:
        raise ValueError("the update is longer than its weight allows")
    left = (sketch + half).astype(FIELD)
    bits = np.empty((sketch.size, statement.strength.entry_bits), FIELD)
    for at, weighs in reversed(tuple(enumerate(statement.entry_weights))):  # a bit is set if what is left needs it
        bits[:, at] = left >= weighs
        left -= bits[:, at] * np.uint64(weighs)
    tail = [weight >> k & 1 for k in range(statement.weight_bits)] + [slack >> k & 1 for k in range(SLACK_BITS)]
    claimed = measures.encode_claims(statement.plan, measures.no_claims() if claims is None else claims)
    return np.concatenate([bits.reshape(-1), np.array(tail, FIELD), claimed])


# --- challenges -------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Query:
    """The challenges drawn last: a point for the polynomials and a factor for the dealing, per repetition."""

    points: tuple[int, ...]
    factors: tuple[int, ...]


def draw_joint(seed: bytes, repetitions: int = REPETITIONS) -> tuple[int, ...]:
    """Return the joint challenges, one per repetition, from 32 bytes fixed after the measurement's shares."""
    return _draw(seed, "joint", repetitions)


@lru_cache(maxsize=16)
def draw_query(statement: Statement, seed: bytes) -> Query:
    """Return the query challenges from 32 bytes fixed after all shares; no point is a root of unity of P."""
    drawn = _draw(seed, "query", 64)
    count = statement.repetitions
    points = [point for point in drawn[count:] if pow(point, statement.size, MODULUS) != 1]
    return Query(tuple(points[:count]), drawn[:count])


def _draw(seed: bytes, label: str, count: int) -> tuple[int, ...]:
    if len(seed) != 32:
        raise ValueError("challenges are drawn from 32 bytes")
    key = hkdf_sha256(seed, pack(("fednode-proof", PROTOCOL_VERSION, label)), 16)
    return tuple(field.expand(key, count).tolist())


# --- the linear parts: the same for a measurement and for a share of it --------------------------------------------

def entries_of(statement: Statement, bits: FieldVector, dealers: int = 1) -> FieldVector:
    """Return the entries of u from bits, from a share of them, or from the sum over `dealers` of either."""
    entry_bits = statement.strength.entry_bits
    grid = bits[: statement.entries * entry_bits].reshape(statement.entries, entry_bits)
    offset = np.array([dealers * statement.half], FIELD)
    return field.subtract(field.dot(grid, np.array(statement.entry_weights, FIELD)), offset)


def weight_of(statement: Statement, bits: FieldVector) -> FieldVector:
    """Return w, shape (1,), likewise."""
    start = statement.entries * statement.strength.entry_bits
    part = bits[start : start + statement.weight_bits]
    return field.dot(part, field.powers(2, part.size)).reshape(1)


def opening_of(statement: Statement, bits: FieldVector, dealers: int) -> FieldVector:
    """Return (opened_length,): what a holder posts of the sum of its shares over `dealers`, or the sum itself.

    Decoded it is the sum of the u_i and of the weights, centred, and the packed claims: to be asked for after Unmask
    only.
    """
    words = measures.words_of(statement.plan, _plan_bits(statement, bits))
    return np.concatenate([entries_of(statement, bits, dealers), weight_of(statement, bits), words])


def _plan_bits(statement: Statement, bits: FieldVector) -> FieldVector:
    return bits[statement.norm_length :]


def _pairs_of(statement: Statement, bits: FieldVector, joint: tuple[int, ...]) -> list[tuple[FieldVector, FieldVector]]:
    """Return the left and right factors of all products, (calls, PAIRS) each, filled up with zeros, per challenge."""
    entries, weight = entries_of(statement, bits), weight_of(statement, bits)
    means = measures.squares_of(statement.plan, _plan_bits(statement, bits))
    spare = np.zeros(statement.calls * PAIRS - bits.size - entries.size - 1 - means.size, FIELD)
    shape = (statement.calls, PAIRS)
    right = np.concatenate([field.subtract(bits, np.ones(1, FIELD)), entries, weight, means, spare]).reshape(shape)
    norm = [entries, field.scale(weight, -statement.kappa2)]
    pairs = []
    for challenge in joint:
        weights = field.powers(challenge, bits.size, challenge)
        squares = field.multiply(_plan_weights(statement, challenge)[1], means)
        left = np.concatenate([field.multiply(weights, bits), *norm, squares, spare])
        pairs.append((left.reshape(shape), right))
    return pairs


def _plan_weights(statement: Statement, challenge: int) -> tuple[FieldVector, FieldVector]:
    """Return the powers of r of the plan's equations without a product, and of those with one."""
    splits, moments = len(statement.plan), measures.count_moments(statement.plan)
    weights = field.powers(challenge, splits + moments, pow(challenge, statement.length + 1, MODULUS))
    return weights[:splits], weights[splits:]


def _rests_of(statement: Statement, bits: FieldVector, joint: tuple[int, ...]) -> list[FieldVector]:
    """Return the part of all equations without products, (1,) a challenge: slack - kappa0, and that of the plan."""
    tail = bits[statement.norm_length - SLACK_BITS : statement.norm_length]
    slack = field.dot(tail, field.powers(2, SLACK_BITS)).reshape(1)
    slack = field.subtract(slack, field.from_integers([statement.kappa0]))
    claimed = np.concatenate(measures.rests_of(statement.plan, _plan_bits(statement, bits)))
    weights = [np.concatenate(_plan_weights(statement, challenge)) for challenge in joint]
    return [field.add(slack, field.dot(each, claimed).reshape(1)) if claimed.size else slack for each in weights]


def inputs_of(left: FieldVector, right: FieldVector, seeds: FieldVector) -> FieldVector:
    """Return the values of all wires, left ones first, at the first roots: seeds, then calls; (calls + 1, wires)."""
    return np.concatenate([seeds[None], np.concatenate([left, right], axis=1)])


def wires_of(inputs: FieldVector, size: int) -> FieldVector:
    """Return the values of all wires at all roots, zero behind the calls: (wires, size)."""
    wires = np.zeros((inputs.shape[1], size), FIELD)
    wires[:, : len(inputs)] = inputs.T
    return wires


def gadget_polynomial(wires: FieldVector) -> FieldVector:
    """Return the 2 P - 1 coefficients of p, the sum over pairs of the products of their wires."""
    coefficients = field.interpolate_at_roots(wires)
    values = field.evaluate_at_roots(np.concatenate([coefficients, np.zeros_like(coefficients)], axis=1))
    pairs = len(wires) // 2
    return field.interpolate_at_roots(field.dot(values[:pairs], values[pairs:], axis=0))[:-1]


def query_gadget(
    inputs: FieldVector, coefficients: FieldVector, size: int, point: int
) -> tuple[FieldVector, FieldVector, FieldVector]:
    """Return the wires at the point, p at the point (1,) and the sum of p over the calls (1,)."""
    at_point = field.combine(field.lagrange_at_roots(size, point)[: len(inputs)], inputs)
    value = field.dot(coefficients, _powers_of(point, coefficients.size)).reshape(1)
    return at_point, value, field.dot(coefficients, _call_sums(size, len(inputs) - 1)).reshape(1)


@lru_cache(maxsize=16)
def _powers_of(challenge: int, count: int) -> FieldVector:
    """Return the powers of a query challenge, which is the same for all dealers."""
    powers = field.powers(challenge, count)
    powers.setflags(write=False)
    return powers


@lru_cache(maxsize=8)
def _call_sums(size: int, calls: int) -> FieldVector:
    """Return the sums over the calls of the powers of their roots: their product with p is the sum of the calls."""
    is_call = np.zeros(size, FIELD)
    is_call[1 : calls + 1] = 1
    sums = np.tile(field.evaluate_at_roots(is_call), 2)[:-1]
    sums.setflags(write=False)
    return sums


# --- prove, query, decide ---------------------------------------------------------------------------------------

def prove(statement: Statement, bits: FieldVector, joint: tuple[int, ...], entropy: Entropy) -> FieldVector:
    """Return the proof to share, (proof_length,). It is as secret as the bits."""
    parts = []
    for left, right in _pairs_of(statement, bits, joint):
        drawn = field.expand(entropy.random_bytes(16), 2 * PAIRS + 2)
        seeds, blinds = drawn[: 2 * PAIRS], drawn[2 * PAIRS :]
        wires = wires_of(inputs_of(left, right, seeds), statement.size)
        parts += [seeds, gadget_polynomial(wires), blinds]
    return np.concatenate(parts)


def query(
    statement: Statement, bits: FieldVector, proof: FieldVector, joint: tuple[int, ...], challenges: Query
) -> FieldVector:
    """Return a holder's answer from its two shares: wires, p, the equation and the dealing, per repetition."""
    if bits.size != statement.length or proof.size != statement.proof_length:
        raise ValueError("the shares do not belong to the statement")
    dealt, rests, answer = np.concatenate([bits, proof]), _rests_of(statement, bits, joint), []
    parts, pairs = proof.reshape(statement.repetitions, -1), _pairs_of(statement, bits, joint)
    for part, (left, right), rest, point, factor in zip(
        parts, pairs, rests, challenges.points, challenges.factors, strict=True
    ):
        seeds, coefficients, blind = part[: 2 * PAIRS], part[2 * PAIRS : -2], part[-2:-1]
        at_point, value, total = query_gadget(inputs_of(left, right, seeds), coefficients, statement.size, point)
        mixed = field.dot(dealt, _powers_of(factor, dealt.size)).reshape(1)
        answer += [at_point, value, field.add(total, rest), field.add(mixed, blind)]
    return np.concatenate(answer)


def decide(answers: Mapping[int, FieldVector], members: int) -> tuple[int, ...] | None:
    """Return the members whose answers carry the accepted proof, ascending; None if it is not accepted.

    `answers` of one dealer (member -> whole answer), `members` is N. A member that is not in the result answered
    wrongly or was dealt another share; only its complaint can tell which.
    """
    repetitions = strength_of(members).repetitions
    right = {member: answer for member, answer in answers.items() if answer.shape == (repetitions * ANSWER,)}
    decoded = decode(right, sharing_degree(members), answers_needed(members), members)
    if decoded is None or not all(is_valid(part) for part in decoded.value.reshape(repetitions, -1)):
        return None
    return decoded.members


def is_valid(part: FieldVector) -> bool:
    """Whether one repetition's decoded answer holds: p is the product of its wires and the equation gives zero."""
    product = field.dot(part[:PAIRS], part[PAIRS : 2 * PAIRS])
    return int(product) == int(part[2 * PAIRS]) and not part[2 * PAIRS + 1]


# --- what a holder keeps, and whether it is what was proven ---------------------------------------------------------

def held_of(statement: Statement, bits: FieldVector, proof: FieldVector) -> FieldVector:
    """Return (held_length,): what a holder keeps of its two shares, or the dealer's own from what it shared.

    The part to be opened (`opening_of` one dealer), then one confirm blind for each repetition.
    """
    blinds = proof.reshape(statement.repetitions, -1)[:, -1]
    return np.concatenate([opening_of(statement, bits, 1), blinds])


def draw_confirm(seed: bytes, repetitions: int = REPETITIONS) -> tuple[int, ...]:
    """Return the challenges of the confirm query from 32 bytes fixed after everything that is held."""
    return _draw(seed, "confirm", repetitions)


def confirm(held: FieldVector, challenges: tuple[int, ...]) -> FieldVector:
    """Return (len(challenges),): for each rho the sum of rho^(k+1) held_k over the part to be opened, and its blind.

    Linear, so a holder's answer is a share of the dealer's, and the blinds hide it: for one query in an attempt. Two
    vectors give the same answer with chance (held_length / p) a challenge, if they were fixed before it.
    """
    opened, blinds = held[: -len(challenges)], held[-len(challenges) :]
    mixed = [field.dot(opened, field.powers(rho, opened.size, rho)).reshape(1) for rho in challenges]
    return field.add(np.concatenate(mixed), blinds)
