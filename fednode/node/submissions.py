"""Commands that wait for what they submitted: a body may be signed anew on its way, so it is what they are known by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import trio

from fednode.chain.block import Receipt
from fednode.ids import MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.transactions import Transaction


@dataclass(frozen=True, slots=True)
class Final:
    """What became of a body: the transaction that brought it, the height of its block and the receipt."""

    transaction: Transaction
    height: int
    receipt: Receipt


class Submissions:
    """Bodies of this node that somebody waits for."""

    def __init__(self) -> None:
        self._done: dict[Body, Final | None] = {}
        self._changed = trio.Event()

    async def wait(self, bodies: Sequence[Body]) -> list[Final]:
        """Return what became of all of `bodies`, in their order, once the last of them is in a block."""
        try:
            while any(self._done[body] is None for body in bodies):
                await self._changed.wait()
            return [final for body in bodies if (final := self._done[body]) is not None]
        finally:
            for body in bodies:
                del self._done[body]

    def open(self, bodies: Iterable[Body]) -> None:
        """Begin to look out for bodies; `wait` must follow."""
        self._done.update(dict.fromkeys(bodies))

    def settle(
        self, sender: MemberId, height: int, transactions: Iterable[Transaction], receipts: Iterable[Receipt]
    ) -> None:
        """Take note of what a block carries of this node, `sender`."""
        if not self._done:
            return
        for transaction, receipt in zip(transactions, receipts, strict=True):
            if transaction.sender == sender and transaction.body in self._done:
                self._done[transaction.body] = Final(transaction, height, receipt)
        self._changed.set()
        self._changed = trio.Event()
