"""What the ledger remembers to bind a sum: the members' hash chains, and an attempt's coin, sketches and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fednode.codec import U8, U16, U32, U64, Bytes32, Size
from fednode.ids import MemberId
from fednode.sums.bodies import Member, Members
from fednode.sums.bounds import MAX_OPENING_BYTES, MIN_OPENING_BYTES


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


Pair = tuple[Member, Member]
"""(dealer, holder)."""


@dataclass(frozen=True, slots=True)
class DisputesRecord:
    """Holders that have not the share of a dealer that was proven, from the end of PROOF on; pairs ascending.

    redealt        what was dealt again (the boxes lie under their own keys); confirm_seed: what the challenges of the
                   confirm query are drawn from, once all is
    confirmed      who answered the query
    unconfirmed    (dealer, holder, the answer that the holder's proven share gives) where the holder gave another one
    exposed        of these, boxes that their holder has opened to everybody, and that are wrong
    """

    pairs: tuple[Pair, ...]
    redealt: tuple[Pair, ...] = ()
    confirm_seed: Bytes32 | None = None
    confirmed: Members = ()
    unconfirmed: tuple[tuple[Member, Member, Annotated[bytes, Size(8, 64)]], ...] = ()
    exposed: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class ChecksRecord:
    """What came after the freeze block. The long bodies lie under their own keys of the state.

    freeze_height  height of the freeze block (the q-th ack of the list of digests); freeze_block: its hash, known
                   from the next block on
    number         which link of every chain makes the coin; links: (member, link)
    shared         posted sketch and roots; query_seed: what the challenges are drawn from, once all of U have
    answered       (member, what it says of the sum, the parts that are in) of every member that answered
    openers        members whose answers carried the verdict on every dealer of U, or that confirmed what was dealt
                   again to them: whose openings count
    openings       (member, share of the summed sketch, weight and measures, hidden by what only members know)
    sum_opened     what they decode to, hidden alike
    disputes       about shares, if there are any
    """

    freeze_height: U64
    number: U32
    freeze_block: Bytes32 | None = None
    links: tuple[tuple[Member, Bytes32], ...] = ()
    coin: Bytes32 | None = None
    shared: Members = ()
    query_seed: Bytes32 | None = None
    answered: tuple[tuple[Member, U8, tuple[U8, ...]], ...] = ()
    openers: Members = ()
    openings: tuple[tuple[Member, Annotated[bytes, Size(MIN_OPENING_BYTES, MAX_OPENING_BYTES)]], ...] = ()
    sum_opened: Annotated[bytes, Size(MIN_OPENING_BYTES, MAX_OPENING_BYTES)] | None = None
    disputes: DisputesRecord | None = None
