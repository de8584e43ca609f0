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

    @property
    def place(self) -> tuple[bytes, bytes, int, int]:
        """All of it, as it enters whatever is hashed or derived."""
        return (self.chain_id, self.study, self.round, self.attempt)
