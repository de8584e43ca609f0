"""Names for the plain values that travel through every layer.

Reserved words: *height* (block), *view* (one leader's attempt at a height), *round* (training), *phase* (step of
a secure sum), *attempt* (one try at a round's secure sum), *epoch* (local pass over data), *study* (what is
trained), *member* (a hospital on the ledger).
"""

from __future__ import annotations

from typing import NewType

MemberId = NewType("MemberId", int)
"""1-based number of a hospital, given by the ledger in order of admission and never reused.

At genesis the order is that of the signing keys. It is also the evaluation point of the member's Shamir shares,
which is why zero is not a member.
"""

PeerId = NewType("PeerId", str)
"""libp2p peer id (base58 of the network key's identity multihash)."""

Height = NewType("Height", int)
"""Height of a block; the genesis state has height 0, the first block height 1."""

View = NewType("View", int)
"""One leader's attempt at a height, from 0."""

Hash = NewType("Hash", bytes)
"""A 32-byte SHA-256 digest."""

StudyId = NewType("StudyId", bytes)
"""The 32-byte hash of a study's terms and specification: its only name on the ledger."""

PROTOCOL_VERSION = 1
"""Version of the wire and the secure sum, and of the rules a chain begins with; peers of another one are refused by
name. Which rules are in force at a height is decided on the chain (`chain/block.py`).
"""

NO_HASH = Hash(bytes(32))
"""Thirty-two zero bytes: 'nil' in votes, 'no parent' in the first block."""


def fault_bound(members: int) -> int:
    """Return f, the largest number of arbitrarily faulty members that `members` tolerate: floor((n - 1) / 3)."""
    return (members - 1) // 3


def quorum(members: int) -> int:
    """Return q = floor(2n/3) + 1, which equals T = n - f for every n >= 1.

    2f + 1 is not used: unless n = 3f + 1 two such quorums need not share an honest member.
    """
    return 2 * members // 3 + 1

MAX_TIME_MS = 253_402_300_799_999
"""The end of the year 9999, that of the calendar: what others call a time may be beyond it, and is then no date."""
