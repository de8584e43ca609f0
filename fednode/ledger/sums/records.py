"""What the ledger remembers of a study's members beyond a round: their hash chains, and who is kept out."""

from __future__ import annotations

from dataclasses import dataclass

from fednode.codec import U16, U32, Bytes32
from fednode.ids import MemberId
from fednode.sums.bodies import Member, Members


@dataclass(frozen=True, slots=True)
class CoinHead:
    """How far a member's hash chain is known: `link` is link `index` of the chain of `head`, which is link 0."""

    member: Member
    head: Bytes32
    link: Bytes32
    index: U32


@dataclass(frozen=True, slots=True)
class Coins:
    """The coins of a study: how many COIN phases it has opened (the number of the last link asked for), the chains,
    and how many rounds in a row failed because the opened sum was not the proven one."""

    opened: U32 = 0
    heads: tuple[CoinHead, ...] = ()
    mask_failures: U16 = 0

    @property
    def holders(self) -> frozenset[MemberId]:
        """The members that have a chain."""
        return frozenset(head.member for head in self.heads)


NO_COINS = Coins()


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Members that a round of the study named `faulty`, and who votes to let them take part again."""

    members: Members
    readmit_votes: Members = ()
