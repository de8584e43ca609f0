"""What a round of training sums: named segments of one vector, each with its length, scale, bound and merge.

Computed once from the study, and used by whoever makes, checks, sums, merges or prices a vector; the length stands in
the study's terms on the ledger.

The proof of a contribution bounds the norm of the whole vector by S = `SCALE`. The segments share it: their scales S_i
have sum S_i^2 <= S^2, so that a vector whose segments are each within S_i is within S, and none is below S / 4, which
keeps the products of the merge below 2^62 (see `merge`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fednode.learn.layout import Layout
from fednode.learn.study import StudySpec
from fednode.sums.bounds import SCALE

CARRIED_SEGMENT = "carried"

STEP, ADD = "step", "add"
"""How a segment merges: the algorithm's step takes it, or its mean is added to the carried values."""

Numbers = TypeVar("Numbers", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of the summed vector: `length` values whose L2 norm is at most `clip_q24`, in units of 2^-24, and
    `scale` once it is quantised with the largest weight."""

    name: str
    length: int
    scale: int
    clip_q24: int
    merge: str


@dataclass(frozen=True, slots=True)
class VectorPlan:
    """The segments of the summed vector in order."""

    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        """How many numbers each hospital contributes."""
        return sum(segment.length for segment in self.segments)

    def cut(self, vector: NDArray[Numbers]) -> dict[str, NDArray[Numbers]]:
        """Return a vector's segments by name, as views of it; raise `ValueError` if it has another length."""
        if vector.shape != (self.length,):
            raise ValueError(f"a vector of {vector.size} numbers, {self.length} are summed")
        found, start = {}, 0
        for segment in self.segments:
            found[segment.name] = vector[start : start + segment.length]
            start += segment.length
        return found


@lru_cache(maxsize=32)
def vector_plan(spec: StudySpec) -> VectorPlan:
    """Return what every hospital contributes in a round of training: what the algorithm names, then the change of the
    carried values, if the model has any."""
    layout = Layout.of(spec)
    wanted = [(name, layout.trained, clip, STEP) for name, clip in spec.algorithm.segments(spec.clip_q24).items()]
    if layout.carried:
        wanted.append((CARRIED_SEGMENT, layout.carried, spec.clip_q24, ADD))
    scale = isqrt(SCALE * SCALE // len(wanted))
    return VectorPlan(tuple(Segment(name, length, scale, clip, merge) for name, length, clip, merge in wanted))
