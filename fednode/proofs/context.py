"""The place every key, coin and challenge of one attempt is bound to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SumContext:
    """One attempt of one round: nothing derived for it fits another."""

    chain_id: bytes
    study: bytes
    round: int
    attempt: int
