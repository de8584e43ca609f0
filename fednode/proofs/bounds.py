"""Numbers that makers and checkers of a proof share: the size of an update, of its sketch and of its weight."""

from __future__ import annotations

from typing import Final

SCALE: Final = 1 << 23
"""S: the norm bound of a quantised update."""

MAX_WEIGHT_BOUND: Final = (1 << 16) - 1

MAX_LENGTH: Final = (1 << 30) - 1
"""d above this would leave the integer range of the sketch of the vector."""

OUTPUTS: Final = 256
"""k: numbers in a sketch."""

FOLD_ROWS: Final = 4
"""R: independent folds of a sketch."""

ANSWER_BYTES: Final = 1072
"""A holder's answer about one dealer's proof: 134 elements of 8 bytes."""

HELD_BYTES: Final = 8 * (OUTPUTS + 1 + 2)
"""What a holder keeps of a dealer: its share of the sketch and the weight, and a blind for each repetition."""

CONFIRM_BYTES: Final = 16
"""A holder's answer about what it keeps of one dealer: an element of 8 bytes for each repetition."""

DEALERS_A_PART: Final = 30
"""Dealers whose answers travel in one message."""

SKETCH_BYTES: Final = 4 * OUTPUTS
"""A sketch of a masked vector, 256 numbers of 32 bits."""

OPENING_BYTES: Final = 8 * (OUTPUTS + 1)
"""A holder's share of the summed sketch and the summed weight."""

MAX_LANES: Final = 1 << 20
"""Metric or statistics lanes of one member, each below 2^8 (so 2^16 is a bound of its square)."""

MASKS_WRONG: Final = "the pair masks do not cancel"
"""Why members vote a round failed whose opened sum is not that of the proven sketches."""
