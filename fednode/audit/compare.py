"""Comparing two chains: the same, one the beginning of the other, a fork, or chains of different genesis.

Security assumption: none. Blocks are taken as they are; whoever needs to know that they hold verifies them first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fednode.chain.block import Block
from fednode.chain.vote import Certificate, MemberSet
from fednode.errors import UsageError
from fednode.ledger.genesis import Genesis


class Stretch(Protocol):
    """Blocks `first` to `last` of one chain."""

    genesis: Genesis
    first: int
    last: int

    def members_at(self, height: int) -> MemberSet:
        """Return the set that decides a height of the stretch."""
        ...


Pair = tuple[tuple[Block, Certificate], tuple[Block, Certificate]]
"""The blocks of one height, with what proves them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two chains relate, which heights were compared, and of a fork the first height and who signed both blocks."""

    relation: str
    text: str
    compared: tuple[int, int] | None
    height: int | None = None
    signed_both: tuple[int, ...] = ()
    hash_a: bytes | None = None
    hash_b: bytes | None = None

    @property
    def is_contradiction(self) -> bool:
        """Whether the two cannot both be the chain."""
        return self.relation in ("fork", "other chain")


def common_heights(left: Stretch, right: Stretch) -> tuple[int, int]:
    """Return the first and the last height that both have, the last 0 if one is empty; raise `UsageError` for none."""
    begin, end = max(left.first, right.first), min(left.last, right.last)
    if begin > end and left.last and right.last:
        raise UsageError(f"A ends at block {end} before B begins at {begin}; export a stretch that both have")
    return begin, end


def compare(left: Stretch, right: Stretch, pairs: Iterable[Pair]) -> Comparison:
    """Compare two stretches; `pairs` are the blocks of the common heights, in order, read as far as needed."""
    if left.genesis.chain_id != right.genesis.chain_id:
        text = f"chain {left.genesis.chain_id.hex()[:16]} and chain {right.genesis.chain_id.hex()[:16]}"
        return Comparison("other chain", text, None)
    begin, end = common_heights(left, right)
    for (one, by_one), (other, by_other) in pairs:
        if one.hash != other.hash:
            height = int(one.height)
            both = set(by_one.signers(left.members_at(height))) & set(by_other.signers(right.members_at(height)))
            signers = tuple(sorted(map(int, both)))
            text = f"block {height} is another one in each; members {list(signers) or 'none'} signed both"
            return Comparison("fork", text, (begin, height), height, signers, one.hash, other.hash)
    if left.last == right.last:
        return Comparison("same", f"blocks {begin} to {end} are the same in both", (begin, end))
    shorter = "A" if left.last < right.last else "B"
    text = f"the same from block {begin} up to block {end}, where {shorter} ends"
    return Comparison("prefix", text, (begin, end))
