"""Whole keystreams added to a vector, as the parts of a vector get them one after another."""

from __future__ import annotations

from collections.abc import Sequence

from fednode.smpc.masks import Masks, Stream
from fednode.smpc.vectors import STEP_ELEMENTS, RingVector


def apply_streams(values: RingVector, streams: Sequence[Stream], first_element: int = 0) -> None:
    """Add or subtract streams to `values` in place; its element 0 is the streams' `first_element`."""
    masks = Masks(streams, first_element)
    for start in range(0, values.size, STEP_ELEMENTS):
        masks.add_to(values[start : start + STEP_ELEMENTS])
