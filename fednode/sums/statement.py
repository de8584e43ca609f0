"""What a dealer proves about its sketch, weight and claims: the public numbers of a statement, and its sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fednode.sums import measures
from fednode.sums.bounds import (
    FEW,
    MAX_WEIGHT_BOUND,
    OUTPUTS,
    SCALE,
    Strength,
    strength_of,
)
from fednode.sums.measures import Plan

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
