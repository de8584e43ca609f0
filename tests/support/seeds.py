"""Everything random in a test comes from a seed."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> bytes:
    """Return 32 bytes that stand for these words and numbers."""
    return hashlib.sha256(repr(parts).encode()).digest()


class Stream:
    """Entropy from a seed: other bytes in every call, the same in every run."""

    def __init__(self, *seed: object) -> None:
        self._seed, self._count = repr(seed).encode(), 0

    def random_bytes(self, count: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(count)
