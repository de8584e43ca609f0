"""The units of a study's numbers and the sizes that hold for every study."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fednode.codec import Range
from fednode.sums.bounds import SCALE

MICRO = 1_000_000
"""Decimals of a study carry six places."""

UNIT_BITS = 24
UNIT = 1 << UNIT_BITS
"""Model values, the clip, means and deviations are integers in units of 2^-24."""

MAX_MEMBERS = (1 << 31) // SCALE
"""256: beyond this the 32-bit sum of N quantised updates of norm `SCALE` could wrap."""

MAX_WEIGHT = (1 << 16) - 1
MAX_CLIP_Q24 = 1 << 34
"""Largest clip (1024.0). With it the product X_k r of the merge stays below 2^62, see `merge`."""

MAX_FEATURES = 8192
MAX_CLASSES = 64
MAX_PARAMETERS = 1 << 25

_LIMIT_MICRO = 10**18
Micro = Annotated[int, Range(-_LIMIT_MICRO, _LIMIT_MICRO)]


def to_micro(value: object) -> int | None:
    """Return an int or Decimal in millionths, or None if it is no number or needs more than six places."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    number = Decimal(value)
    if not number.is_finite() or (number and not -7 < number.adjusted() < 13):  # looked at before it is computed with
        return None
    scaled = number * MICRO if number else Decimal(0)
    return int(scaled) if abs(scaled) <= 10**18 and scaled == scaled.to_integral_value() else None


def decimal_text(micro: int) -> str:
    """Return a number of millionths as a decimal without needless zeros."""
    sign, (whole, places) = "-" if micro < 0 else "", divmod(abs(micro), MICRO)
    return f"{sign}{whole}" + (f".{places:06d}".rstrip("0") if places else "")
