"""A ledger small enough to check by hand: the state is a running hash, some transactions may not be in a block."""

from __future__ import annotations

from typing import Protocol

from fednode.chain.block import Block, BlockContext, Execution
from fednode.chain.consensus.application import Application
from fednode.chain.state import EMPTY_ROOT
from fednode.chain.vote import MemberSet
from fednode.crypto import sha256
from fednode.errors import Rejected
from fednode.ids import NO_HASH, Hash, MemberId

PARAMS = Hash(sha256(b"params"))
MAX_PER_BLOCK = 8


JOINING = MemberId(2)
"""The member that joins later, where one does: not the last in member order, so that everybody's index changes."""


def found_with(everybody: MemberSet, joins: bool) -> MemberSet:
    """Return the founders: everybody, or all but the one that joins."""
    return MemberSet(tuple(m for m in everybody.members if not joins or m.id != JOINING))


def compute_members(members: MemberSet, everybody: MemberSet, transactions: tuple[bytes, ...]) -> MemberSet:
    """Return who decides the next height: a transaction 'join' adds its member."""
    if b"join %d" % JOINING not in transactions:
        return members
    return MemberSet(tuple(m for m in everybody.members if m in members.members or m.id == JOINING))


def is_allowed(transaction: bytes) -> bool:
    """The one rule."""
    return not transaction.startswith(b"bad")


def compute_state_root(before: bytes, transactions: tuple[bytes, ...]) -> Hash:
    """The state after some transactions."""
    return sha256(before, len(transactions).to_bytes(4, "big"), *transactions)


class SimLedger(Application, Protocol):
    """An application with a pool in front of it, as a simulated machine runs it."""

    def add(self, transaction: bytes) -> bool:
        """Put a transaction into the pool; return whether it is new."""
        ...

    def is_new(self, transaction: bytes) -> bool:
        """Whether a transaction is not on the chain yet."""
        ...


class ToyLedger:
    """An `Application`: remembers what was committed, takes what is pending in order of arrival."""

    def __init__(self, members: MemberSet, everybody: MemberSet | None = None) -> None:
        self.members = members
        self._everybody = everybody or members
        self.state_root: Hash = NO_HASH
        self.pending: dict[bytes, None] = {}
        self.committed: set[bytes] = set()

    def add(self, transaction: bytes) -> bool:
        if transaction in self.committed or transaction in self.pending:
            return False
        self.pending[transaction] = None
        return True

    def is_new(self, transaction: bytes) -> bool:
        return transaction not in self.committed

    def has_work(self) -> bool:
        return bool(self.pending)

    def pick(self, context: BlockContext, may_be_empty: bool) -> Execution | None:
        chosen = tuple(self.pending)[:MAX_PER_BLOCK]
        return self._run(chosen) if chosen or may_be_empty else None

    def execute(self, context: BlockContext, transactions: tuple[bytes, ...]) -> Execution:
        if any(not is_allowed(item) or item in self.committed for item in transactions):
            raise Rejected("a transaction that may not be in a block")
        if len(set(transactions)) != len(transactions):
            raise Rejected("a transaction twice")
        return self._run(transactions)

    def _run(self, transactions: tuple[bytes, ...]) -> Execution:
        root = compute_state_root(self.state_root, transactions)
        members = compute_members(self.members, self._everybody, transactions)
        return Execution(transactions, EMPTY_ROOT, root, PARAMS, members)

    def commit(self, block: Block, done: Execution) -> None:
        self.state_root, self.members = done.state_root, done.next_members
        self.committed.update(block.transactions)
        for item in block.transactions:
            self.pending.pop(item, None)
