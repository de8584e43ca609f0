"""Rows as a model sees them, before scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Encoded rows: `features` float64 (n, ...), of a table (n, features) with u in [0, 1] or NaN; `labels` int64 (n,),
    -1 where unknown."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]
