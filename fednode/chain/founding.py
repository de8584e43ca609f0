"""What a chain begins with: the one thing besides `consensus.application` that its application has to provide."""

from __future__ import annotations

from typing import Protocol

from fednode.chain.state import RecordTable, State
from fednode.chain.vote import MemberSet
from fednode.ids import Hash


class Founding(Protocol):
    """A chain before its first block. Two foundings with the same `chain_id` are the same in everything else."""

    @property
    def name(self) -> str:
        """The chain's name among people."""
        ...

    @property
    def chain_id(self) -> Hash:
        """The chain's only name among programs; every signature on it covers this."""
        ...

    @property
    def protocol_version(self) -> int:
        """The version of the application's rules in force at height 1."""
        ...

    @property
    def time_ms(self) -> int:
        """When it was founded, UTC since 1970; the first block is later."""
        ...

    @property
    def member_set(self) -> MemberSet:
        """Who decides the first block."""
        ...

    @property
    def records(self) -> RecordTable:
        """The kinds of records in its state."""
        ...

    def first_state(self) -> State:
        """Return the state before the first block."""
        ...
