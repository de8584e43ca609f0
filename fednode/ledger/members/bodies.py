"""The bodies about who belongs to the federation: members, their keys and addresses, the roles of others,
and the rules they live by.

Security assumption: an identity card proves that its maker holds its keys, not whose card it is: members vote on it
after comparing the fingerprint. What binds a candidate's key to this chain is its own report, signed over the chain id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.chain.vote import Id
from fednode.codec import U8, U32, U64, Bytes32, Bytes64, Range, Size, tagged
from fednode.ledger.members.identity import Addresses, IdentityCard
from fednode.texts import check_plain

MAX_HOLDER_BYTES = 64


class Role(IntEnum):
    """What a key may be on this chain; hospitals are the members themselves, the role binds further keys of theirs."""

    HOSPITAL = 1
    OPERATOR = 2
    AUDITOR = 3
    CLINICIAN = 4


@tagged(40)
@dataclass(frozen=True, slots=True)
class MemberPropose:
    """Propose a new member: it gets a number and may follow the chain, nothing more until q members approve."""

    card: IdentityCard


@tagged(41)
@dataclass(frozen=True, slots=True)
class MemberRemove:
    """Propose to remove a member; this is also the sender's vote for it."""

    member: Id
    reason: Annotated[str, Size(0, 200)] = ""

    def __post_init__(self) -> None:
        check_plain("a reason", self.reason)


@tagged(42)
@dataclass(frozen=True, slots=True)
class MemberApprove:
    """Vote for an open proposal; q votes of the members of a height remove a member, or let a candidate come in."""

    proposal: U32


@tagged(43)
@dataclass(frozen=True, slots=True)
class MemberReport:
    """A candidate shows that it follows the chain: the state root it computed after block `height`.

    It says so twice. Before anybody approves: then the members may vote. And after q members approved ("here, at this
    state"): with that word it becomes a member. The only kind a candidate may send. `sign_key` must be that of its
    card; it is here so that the signature can be checked without the state.
    """

    sign_key: Bytes32
    height: U64
    state_root: Bytes32


@tagged(44)
@dataclass(frozen=True, slots=True)
class MemberRotate:
    """Replace the sender's keys by those of `card`.

    The transaction is signed by the old sign key; the card by every new key, and `new_signature` is the new sign
    key's over this chain, this member and the card.
    """

    card: IdentityCard
    new_signature: Bytes64


@tagged(45)
@dataclass(frozen=True, slots=True)
class MemberAddresses:
    """Where the others reach the sender from now on."""

    addresses: Addresses


@tagged(46)
@dataclass(frozen=True, slots=True)
class RoleVote:
    """Vote for granting or taking back a role; q equal votes carry it. `holder` is a key or a wallet address."""

    role: U8
    holder: Annotated[bytes, Size(20, MAX_HOLDER_BYTES)]
    is_grant: bool

    def __post_init__(self) -> None:
        if self.role not in tuple(Role):
            raise ValueError(f"role {self.role} is not known to this version")
        if len(self.holder) not in (20, 32):
            raise ValueError("a role is held by an Ed25519 key of 32 bytes or a wallet address of 20")


@tagged(47)
@dataclass(frozen=True, slots=True)
class VersionVote:
    """Vote for a version of the rules from a height on; q equal votes decide it.

    `release` names the first release of the program that knows it, for those who have to install it. A vote for the
    version in force, with the height of the planned one, takes the plan back.
    """

    version: Annotated[int, Range(1, 255)]
    from_height: U64
    release: Annotated[str, Size(1, 40)]

    def __post_init__(self) -> None:
        check_plain("the name of a release", self.release)


MembershipBody = (
    MemberPropose | MemberRemove | MemberApprove | MemberReport | MemberRotate | MemberAddresses | RoleVote
    | VersionVote
)
