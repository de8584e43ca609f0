"""Numbers that makers and checkers of a proof share: the size of an update, of its sketch and of its weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fednode.ids import fault_bound

MIN_INCLUDED: Final = 3
"""Fewest members of any sum: with two, each would learn the other's vector."""

SCALE: Final = 1 << 23
"""S: the norm bound of a quantised update."""

MAX_WEIGHT_BOUND: Final = (1 << 16) - 1

OUTPUTS: Final = 256
"""k: numbers in a sketch."""

_ANSWER_BYTES: Final = 8 * 67
"""A holder's answer about one dealer's proof, per repetition: 67 elements."""

PART_BYTES: Final = 32_160
"""Answers that travel in one message: as many as fit."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How hard a sum is bound: `rows` (R) independent folds of a sketch, `repetitions` of each proof, and how many
    bits an entry of the sketch is shared by: 28, or 29 of which the last counts as much as the one before."""

    rows: int
    entry_bits: int
    repetitions: int

    @property
    def max_length(self) -> int:
        """Return the largest d: R d 2^31 stays below 2^63, the integer range of the sketch of the vector."""
        return (1 << 32) // self.rows - 1

    @property
    def answer_bytes(self) -> int:
        """Return the size of a holder's answer about one dealer's proof."""
        return _ANSWER_BYTES * self.repetitions

    def held_bytes(self, words: int) -> int:
        """Return the size of what a holder keeps of a dealer: its share of what is opened, and blinds."""
        return opening_bytes(words) + self.confirm_bytes

    @property
    def confirm_bytes(self) -> int:
        """Return the size of a holder's answer about what it keeps of one dealer: an element for each repetition."""
        return 8 * self.repetitions

    @property
    def dealers_a_part(self) -> int:
        """Return the number of dealers whose answers travel in one message."""
        return PART_BYTES // self.answer_bytes


def min_included(member_count: int) -> int:
    """Return max(N - f, 3): fewest members of P, Q, C and U in every sum among `member_count` members.

    Below N - f one owner could pick a victim and learn its update; below 3 the sum is one other's vector.
    """
    return max(member_count - fault_bound(member_count), MIN_INCLUDED)


FEW: Final = Strength(4, 28, 2)
_MANY: Final = ((31, FEW), (127, Strength(8, 29, 3)), (256, Strength(12, 29, 5)))
"""For ledgers of up to so many members; there are none of more than 256."""


def strength_of(members: int) -> Strength:
    """Return how hard the sums of a ledger of N = `members` are bound.

    f of them can choose among 2^f coins an attempt and among binomial(N - f, f) sharings a proof: the more they are,
    the rarer must be a coin that hides something (rows) and a false proof that passes (repetitions).
    """
    return next((strength for most, strength in _MANY if members <= most), _MANY[-1][1])


MAX_LENGTH: Final = FEW.max_length
"""d above this would leave the integer range of the sketch of the vector, whatever the members."""

FOLD_ROWS: Final = FEW.rows
"""R where there are few members."""

SKETCH_BYTES: Final = 4 * OUTPUTS
"""A sketch of a masked vector, 256 numbers of 32 bits."""

MAX_WORDS: Final = 7168
"""Packed words of summed measures in one opening: with the sketch they fit one message."""

SHARE_BITS: Final = 16
"""Bits of a share of rows: levels of a category, rows that are right."""

LOSS_BITS: Final = 20
"""Bits of a mean loss as a share of its bound."""

MAX_ROW_LOSS: Final = 8
"""Nats; one row's loss counts as no more, so that one row, or one hospital, does not outweigh all others."""


def opening_bytes(words: int) -> int:
    """Return the size of a holder's share of the summed sketch, the summed weight and `words` of summed measures."""
    return 8 * (OUTPUTS + 1 + words)


MIN_OPENING_BYTES: Final = opening_bytes(0)
MAX_OPENING_BYTES: Final = opening_bytes(MAX_WORDS)

MASKS_WRONG: Final = "the pair masks do not cancel"
"""Why members vote a round failed whose opened sum is not that of the proven sketches."""
