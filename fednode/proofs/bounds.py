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
