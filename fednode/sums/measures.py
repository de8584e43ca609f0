"""What a member claims of its own rows: fractions, in a form in which an impossible claim cannot be proven.

A *plan* is a public list of splits. A split is a few parts, each a number of `bits` bits, that add up to the unit
2^bits - 1, or are all zero: then the member has no voice in it. So whoever takes part has exactly one voice, however
many rows it has, and a liar moves a mean over V voices by at most 1 / V of its range.

`has_moments`: three parts m2, m1 - m2, 1 - m1 of one column with values in [0, 1], of which also m2 >= m1^2 is proven.
Then the first two moments are those of a possible distribution: every such pair is one (a point mass moved towards 0
and 1), and no column's variance can be claimed away.

Claims are shared bit by bit and proven with the sketch (`norm`): voice, parts, and of moments the slack of
    unit * a = (a + b)^2 + slack        (a, b, c the parts, slack of 2 `bits` bits).
Everything stays below 2^48, far from p, so what holds modulo p holds over the integers.

Sums over at most 256 members are opened packed: a part takes `bits` + 8 bits of a word, and words stay below 2^63.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.errors import Rejected
from fednode.sums import field
from fednode.sums.bounds import MAX_WORDS
from fednode.sums.field import FIELD, FieldVector

CLAIM: Final = np.dtype("<u4")
MAX_BITS: Final = 23
"""Two summed parts of this size fit one word."""
MAX_PARTS: Final = 256
MEMBER_BITS: Final = 8
_WORD_BITS: Final = 63

Claims = NDArray[np.uint32]
"""All parts of a plan in order, shape (`count_parts`,)."""


@dataclass(frozen=True, slots=True)
class Split:
    """One measure: `parts` numbers of `bits` bits that add up to the unit, or are all zero."""

    bits: int
    parts: int
    has_moments: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS or not 2 <= self.parts <= MAX_PARTS:
            raise ValueError(f"a split has 2 to {MAX_PARTS} parts of 1 to {MAX_BITS} bits")
        if self.has_moments and self.parts != 3:
            raise ValueError("moments are a split of three parts")

    @property
    def unit(self) -> int:
        """What the parts of one voice add up to."""
        return (1 << self.bits) - 1

    @property
    def slack_bits(self) -> int:
        """Bits of the slack between m2 and m1^2."""
        return 2 * self.bits if self.has_moments else 0

    @property
    def length(self) -> int:
        """Shared bits: the voice, the parts, lowest bit first, then the slack."""
        return 1 + self.parts * self.bits + self.slack_bits


Plan = tuple[Split, ...]


def count_bits(plan: Plan) -> int:
    """Return how many bits a member shares."""
    return sum(split.length for split in plan)


def count_parts(plan: Plan) -> int:
    """Return how many numbers a claim holds."""
    return sum(split.parts for split in plan)


def count_moments(plan: Plan) -> int:
    """Return how many splits have moments: each takes one product of the proof."""
    return sum(split.has_moments for split in plan)


def count_words(plan: Plan) -> int:
    """Return how many words the opened sum takes."""
    return _packing(plan).words


def no_claims() -> Claims:
    """Return the claims of a plan without splits."""
    return np.empty(0, CLAIM)


# --- one member's claims ----------------------------------------------------------------------------------------

def find_impossible(plan: Plan, claims: Claims) -> str | None:
    """Return why `claims` cannot be proven, or None if they can."""
    if claims.shape != (count_parts(plan),) or claims.dtype != CLAIM:
        return "the claims do not belong to the plan"
    start = 0
    for split in plan:
        parts = claims[start : start + split.parts].tolist()
        start += split.parts
        if sum(parts) not in (0, split.unit):
            return "the parts of a measure do not add up to one voice"
        if _slack_of(split, parts) < 0:
            return "the second moment of a column is below the square of its mean"
    return None


def _slack_of(split: Split, parts: list[int]) -> int:
    return split.unit * parts[0] - (parts[0] + parts[1]) ** 2 if split.has_moments else 0


def encode_claims(plan: Plan, claims: Claims) -> FieldVector:
    """Return the bits to share; `ValueError` for claims that no rows can give."""
    reason = find_impossible(plan, claims)
    if reason is not None:
        raise ValueError(reason)
    bits, start = [], 0
    for split in plan:
        parts = claims[start : start + split.parts]
        start += split.parts
        shifts = np.arange(split.bits, dtype=np.uint64)
        slack = _slack_of(split, parts.tolist())
        bits += [
            np.array([int(parts.any())], FIELD),
            (parts.astype(FIELD)[:, None] >> shifts & np.uint64(1)).reshape(-1),
            np.array([slack >> k & 1 for k in range(split.slack_bits)], FIELD),
        ]
    return np.concatenate([np.empty(0, FIELD), *bits])


# --- the linear parts: the same for bits and for a share of them ----------------------------------------------------

def _blocks(plan: Plan, bits: FieldVector) -> Iterator[tuple[Split, FieldVector]]:
    """Yield the bits of equal splits that follow each other, (count, split.length)."""
    start = 0
    for split, run in groupby(plan):
        count = len(tuple(run))
        yield split, bits[start : start + count * split.length].reshape(count, split.length)
        start += count * split.length


def _parts_of(split: Split, block: FieldVector) -> FieldVector:
    """Return the parts of a block, (count, parts)."""
    grid = block[:, 1 : 1 + split.parts * split.bits].reshape(len(block), split.parts, split.bits)
    return field.dot(grid, field.powers(2, split.bits))


def words_of(plan: Plan, bits: FieldVector) -> FieldVector:
    """Return (`count_words`,): the packed parts, from bits, a share of them, or the sum over dealers of either."""
    packing = _packing(plan)
    parts = [_parts_of(split, block).reshape(-1) for split, block in _blocks(plan, bits)]
    digits = np.concatenate([np.empty(0, FIELD), *parts])
    words = np.zeros(packing.words, FIELD)
    for numbers, at, factors in packing.layers:
        words[at] = field.add(words[at], field.multiply(digits[numbers], factors))
    return words


def squares_of(plan: Plan, bits: FieldVector) -> FieldVector:
    """Return (`count_moments`,): the means a + b, each of which the proof multiplies by itself."""
    found = [np.empty(0, FIELD)]
    for split, block in _blocks(plan, bits):
        if split.has_moments:
            parts = _parts_of(split, block)
            found.append(field.add(parts[:, 0], parts[:, 1]))
    return np.concatenate(found)


def rests_of(plan: Plan, bits: FieldVector) -> tuple[FieldVector, FieldVector]:
    """Return what must be zero without products, (len(plan),), and what must be zero with a square, (moments,).

    The first are sum of parts - unit * voice, the second slack - unit * a, to which (a + b)^2 is still to be added.
    """
    sums, moments = [np.empty(0, FIELD)], [np.empty(0, FIELD)]
    for split, block in _blocks(plan, bits):
        parts = _parts_of(split, block)
        sums.append(field.subtract(field.total(parts), field.scale(block[:, 0], split.unit)))
        if split.has_moments:
            slack = field.dot(block[:, -split.slack_bits :], field.powers(2, split.slack_bits))
            moments.append(field.subtract(slack, field.scale(parts[:, 0], split.unit)))
    return np.concatenate(sums), np.concatenate(moments)


# --- the opened sum ---------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True, eq=False)
class _Packing:
    """Where each part lies: (word, shift) a part; `layers` are the parts that lie first, second, ... in their words."""

    words: int
    places: tuple[tuple[int, int, int], ...]
    layers: tuple[tuple[NDArray[np.int64], NDArray[np.int64], FieldVector], ...]


@lru_cache(maxsize=16)
def _packing(plan: Plan) -> _Packing:
    places, layers = list[tuple[int, int, int]](), list[list[int]]()
    word, used, layer = -1, _WORD_BITS + 1, 0
    for width in (split.bits + MEMBER_BITS for split in plan for _ in range(split.parts)):
        if used + width > _WORD_BITS:
            word, used, layer = word + 1, 0, 0
        if layer == len(layers):
            layers.append([])
        layers[layer].append(len(places))
        places.append((word, used, width))
        used, layer = used + width, layer + 1
    if word + 1 > MAX_WORDS:
        raise ValueError(f"the measures take {word + 1} words, {MAX_WORDS} fit one message")
    packed = []
    for numbers in layers:
        at = np.array([places[number][0] for number in numbers], np.int64)
        factors = field.from_integers([1 << places[number][1] for number in numbers])
        packed.append((np.array(numbers, np.int64), at, factors))
    return _Packing(word + 1, tuple(places), tuple(packed))


@dataclass(frozen=True, slots=True)
class Tally:
    """The sum of one split over the members of a round: `voices` claims, and each part summed."""

    voices: int
    parts: tuple[int, ...]


def read_sums(plan: Plan, words: Sequence[int], members: int) -> tuple[Tally, ...]:
    """Return the sums of a plan over `members`; `ValueError` for words that no proven claims can add up to."""
    packing = _packing(plan)
    if len(words) != packing.words:
        raise ValueError("the words do not belong to the plan")
    left, parts = list(words), []
    for word, _, width in packing.places:
        parts.append(left[word] & (1 << width) - 1)
        left[word] >>= width
    if any(left):
        raise ValueError("a word is larger than its parts can be")
    found, start = [], 0
    for split in plan:
        mine = tuple(parts[start : start + split.parts])
        start += split.parts
        voices, rest = divmod(sum(mine), split.unit)
        if rest or voices > members:
            raise ValueError("the parts of a measure are not whole voices of the members")
        found.append(Tally(voices, mine))
    return tuple(found)


# --- how a hospital claims: fractions instead of counts, and what hides a count in them ---------------------------
# Only sums over at least three members are opened. One hospital has one voice: it says fractions, never counts. A
# liar can claim only what some rows would give; honest sums are off by at most one unit of each part, from rounding,
# and by what `blur` does. A fraction of few rows tells how many there are, and three such fractions can be told apart
# in their sum: each is a number k / n, and few of these add up to just this. So in each claim every count of rows
# that are alike is moved by up to half a row, drawn anew (`blur`): between k / n and its neighbours nothing tells
# where the truth lies. Nobody gets a row of a kind that it does not have, and where all rows are alike nothing
# changes.


PARTS_OF_A_ROW = 1 << 16
"""Rows are counted in these where counts are moved by less than one."""


def divide(unit: int, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return shares of `counts` (n,) in whole parts of `unit` that add up to it, largest remainders first; zeros if
    there is nothing to share."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros_like(counts)
    exact = [unit * int(count) for count in counts]
    shares = [value // total for value in exact]
    order = sorted(range(len(exact)), key=lambda at: (-(exact[at] % total), at))
    for at in order[: unit - sum(shares)]:
        shares[at] += 1
    return np.array(shares, np.int64)


def blur(counts: NDArray[np.int64], entropy: Entropy | None) -> NDArray[np.int64]:
    """Return `counts` of rows (n,) in parts of a row, each that is not zero moved by up to half a row; exact without
    entropy, for figures that do not leave a hospital."""
    exact = counts * PARTS_OF_A_ROW
    if entropy is None:
        return exact
    drawn = np.frombuffer(entropy.random_bytes(2 * counts.size), "<u2").astype(np.int64) - PARTS_OF_A_ROW // 2
    return np.where(counts > 0, exact + drawn, 0)


def join(parts: Sequence[NDArray[np.int64]]) -> Claims:
    """Return the claims whose splits are `parts`, in order."""
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(CLAIM)


def tally(plan: Plan, words: Sequence[int], members: int) -> tuple[Tally, ...]:
    """Read opened words; raise `Rejected` if they are not sums of proven claims."""
    try:
        return read_sums(plan, words, members)
    except ValueError as error:
        raise Rejected(str(error)) from None
