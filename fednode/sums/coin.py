"""A coin nobody could know before the freeze block: every member's next link of a hash chain it committed to.

Security assumptions: SHA-256 is preimage resistant and behaves as a random oracle; at least one revealed chain was
drawn honestly. The head is posted once per term, link k is revealed in sum number k of the term and only after the
freeze block is final; so a member can withhold a link (at most 2^f choices of the coin for f members) but not choose
one. Nothing recorded after the reveals enters the coin, so nobody can grind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fednode.codec import pack
from fednode.crypto import Domain, tagged_hash
from fednode.ids import PROTOCOL_VERSION, Hash
from fednode.sums.attempt import SumContext

LINK_BYTES: Final = 32
MAX_LINKS: Final = 1 << 16
MARK_STEPS: Final = 256
SKETCH_LABEL: Final = "sketch"


@dataclass(frozen=True, slots=True)
class Chain:
    """A member's chain for a term: `seed` is secret, `head` is posted. Link k opens head in k steps (1..length)."""

    seed: bytes = field(repr=False)
    length: int
    head: Hash
    marks: tuple[bytes, ...] = field(default=(), repr=False)
    """The seed and every 256th value on the way to the head: no link is further than that from one of them."""

    def link(self, index: int) -> bytes:
        """Return the link of sum `index` of the term, 1..length; never call it before that sum is frozen."""
        if not 1 <= index <= self.length:
            raise ValueError(f"the chain has links 1 to {self.length}")
        steps = self.length - index
        mark = min(steps // MARK_STEPS, len(self.marks) - 1)
        return _walk(self.marks[mark], steps - mark * MARK_STEPS) if mark >= 0 else _walk(self.seed, steps)


def restore_chain(seed: bytes, length: int) -> Chain:
    """Return the chain of a seed, for `length` sums: every attempt of every round of the term takes one link.

    Some tenths of a second for 65536 links: once per process.
    """
    if len(seed) != LINK_BYTES or not 1 <= length <= MAX_LINKS:
        raise ValueError(f"a chain has a seed of {LINK_BYTES} bytes and 1 to {MAX_LINKS} links")
    marks = [seed]
    for _ in range(length // MARK_STEPS):
        marks.append(_walk(marks[-1], MARK_STEPS))
    return Chain(seed, length, Hash(_walk(marks[-1], length % MARK_STEPS)), tuple(marks))


def is_link(known: bytes, known_index: int, link: bytes, index: int) -> bool:
    """Whether `link` is link `index` of the chain of which `known` is link `known_index` (the head is link 0).

    Sums of which a member's link is missing are skipped: its later links still lead to what is known.
    """
    if len(link) != LINK_BYTES or not 0 <= known_index < index <= MAX_LINKS:
        return False
    return _walk(link, index - known_index) == known


def _walk(value: bytes, steps: int) -> bytes:
    for _ in range(steps):
        value = tagged_hash(Domain.ROUND, b"coin link", value)
    return value


def draw_coin(context: SumContext, label: str, freeze_block: Hash, links: Mapping[int, bytes]) -> Hash:
    """Return the coin of one attempt from the links revealed in time (member -> link), at least one.

    `freeze_block` is the hash of the block with the q-th ack; `label` tells coins of one attempt apart.
    """
    if not links:
        raise ValueError("a coin needs at least one revealed link")
    revealed = tuple((member, links[member]) for member in sorted(links))
    return tagged_hash(Domain.ROUND, b"coin", pack((PROTOCOL_VERSION, *context.place, label, freeze_block, revealed)))


def draw_joint_seed(context: SumContext, coin: bytes, dealer: int, bits_root: bytes) -> Hash:
    """Return what a dealer's joint challenges are drawn from: fixed by the coin and the shares of its bits."""
    return tagged_hash(Domain.ROUND, b"joint", pack((PROTOCOL_VERSION, *context.place, coin, dealer, bits_root)))


def draw_query_seed(
    context: SumContext, coin: bytes, freeze_block: bytes, posted: Mapping[int, tuple[bytes, bytes, bytes]]
) -> Hash:
    """Return what the query challenges of all dealers are drawn from.

    `posted` maps each member of U to its (sketch, root of bits, root of proofs). A random oracle over everything that
    was dealt: no block has to come after it, and whoever posts last can only choose by dealing something else.
    """
    bodies = tuple((member, *posted[member]) for member in sorted(posted))
    return tagged_hash(Domain.ROUND, b"query", pack((PROTOCOL_VERSION, *context.place, coin, freeze_block, bodies)))


def draw_confirm_seed(context: SumContext, query_seed: bytes, boxes: Mapping[tuple[int, int], bytes]) -> Hash:
    """Return what the confirm challenges are drawn from: fixed by all shares that were dealt again.

    `boxes` maps (dealer, holder) to the box. Whoever deals last can only choose by dealing something else.
    """
    dealt = tuple((dealer, holder, boxes[dealer, holder]) for dealer, holder in sorted(boxes))
    return tagged_hash(Domain.ROUND, b"confirm", pack((PROTOCOL_VERSION, *context.place, query_seed, dealt)))
