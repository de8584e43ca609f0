"""Transactions on their way into a block: this node's own, and those of others that wait here.

Security assumption: a member may send a transaction to some and not to others. One that lies in a pool keeps its owner
from voting that a phase is over, so a message that only one member has could hold a phase open for ever: what has
waited here for a while is passed on to all, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fednode.chain.block import MAX_TRANSACTIONS_BYTES
from fednode.core import effects as do
from fednode.core import wire
from fednode.core.effects import log
from fednode.core.outbox import RESEND_MS, Outbox
from fednode.crypto import Signer
from fednode.errors import Rejected
from fednode.ids import Hash, MemberId
from fednode.ledger.application import LedgerApplication
from fednode.ledger.bodies import Body
from fednode.ledger.sums.phases import RoundBody
from fednode.ledger.transactions import Transaction

GATHER_MS = 5
"""Own transactions leave in at most so many frames: a frame costs everybody more to read than a transaction in it."""

MAX_REFUSED = 64
"""Transactions of one frame that the pool may refuse before the rest goes unread: checking a thousand signatures for
nothing takes a tenth of a second."""


class Traffic:
    """The outbox, and what is done about the pool. The caller wakes consensus after anything was added."""

    def __init__(self, chain: LedgerApplication, chain_id: bytes, member: MemberId, signer: Signer) -> None:
        self._chain = chain
        self.outbox = Outbox(chain_id, member, signer)
        self._public_key = signer.public_key
        self._gathered: list[bytes] = []
        self._is_gathering = False
        self._is_timed = False
        self._waiting: set[Hash] = set()
        self._passed_on: set[Hash] = set()

    def receive(self, items: Iterable[bytes]) -> tuple[bool, list[do.Effect]]:
        """Take others' transactions; return whether one is new.

        One that is late, doubled or too many is no fault of whoever sent it; raises `Rejected` for one that no honest
        member has: it does not decode, or its signature does not hold.
        """
        is_new, refused = False, 0
        for data in items:
            transaction = self._chain.read(data)
            try:
                is_welcome = self._chain.is_welcome(transaction)
            except Rejected:
                refused += 1
                if refused >= MAX_REFUSED:
                    break
                continue
            if is_welcome:
                self._chain.check.count += 1
                is_new |= self._chain.admit(self._chain.verify(data, transaction))
        return is_new, self._start_timer() if is_new else []

    def submit(self, body: Body, now_ms: int) -> list[do.Effect]:
        """Sign a body and send it, unless it is on its way already."""
        transaction = self.outbox.sign(body, self._chain.height, now_ms)
        return [] if transaction is None else self.send([transaction])

    def send(self, transactions: Sequence[Transaction]) -> list[do.Effect]:
        """Send own transactions to all, in as few frames as they fit, and keep them here: the leader may be another,
        or this node.
        """
        effects = self._gather(transactions)
        for transaction in transactions:
            try:
                self._chain.admit(self._chain.adopt(transaction, self._public_key))
            except Rejected as error:
                effects.append(log("own-transaction-refused", reason=error.reason, id=transaction.txid))
        return effects + self._start_timer() if transactions else effects

    def _gather(self, transactions: Sequence[Transaction]) -> list[do.Effect]:
        """Send at once what comes after a pause, and the rest in one frame every `GATHER_MS`."""
        if not transactions:
            return []
        self._gathered += [transaction.data for transaction in transactions]
        return [] if self._is_gathering else self.flush()

    def flush(self) -> list[do.Effect]:
        """Send what was gathered."""
        self._is_gathering = bool(self._gathered)
        if not self._gathered:
            return []
        frames = [do.SendToAll(frame) for frame in _frames(self._gathered)]
        self._gathered = []
        return [*frames, do.start_timer(do.CoreTimer.GATHER, GATHER_MS)]

    def on_block(self, committed: Iterable[Transaction], own_nonce: int, now_ms: int) -> list[do.Effect]:
        """Forget what the block carries; send again what its nonces made worthless.

        Except a round's message that came too late: a phase that has ended never opens again, and a phase that needs
        only a quorum leaves the slowest member with one every time, until it could say nothing more.
        """
        again: list[Transaction] = []
        for transaction in self.outbox.on_block(committed, own_nonce, self._chain.height, now_ms):
            if _is_of_a_phase(transaction.body) and not self._chain.judge(transaction).ok:
                self.outbox.forget(transaction)
            else:
                again.append(transaction)
        return self.send(again)

    def send_again(self, now_ms: int) -> list[do.Effect]:
        """Send own transactions again, and pass on what was already here the last time."""
        self._is_timed = False
        own = self.outbox.due(self._chain.height, now_ms)
        effects = self.send(own)
        mine = {transaction.txid for transaction in own}
        here = {transaction.txid: transaction.data for transaction in self._chain.pool if transaction.txid not in mine}
        self._passed_on &= here.keys()
        stuck = [txid for txid in here if txid in self._waiting and txid not in self._passed_on]
        effects += [do.SendToAll(frame) for frame in _frames(here[txid] for txid in stuck)]
        self._passed_on.update(stuck)
        self._waiting = here.keys() - self._passed_on
        return effects + self._start_timer() if own or self._waiting else effects

    def greet(self, member: MemberId) -> list[do.Effect]:
        """Give a member that has just come everything that waits."""
        return [do.SendFrame(member, frame) for frame in _frames(transaction.data for transaction in self._chain.pool)]

    def _start_timer(self) -> list[do.Effect]:
        if self._is_timed:
            return []
        self._is_timed = True
        return [do.start_timer(do.CoreTimer.RESEND, RESEND_MS)]


def _is_of_a_phase(body: Body) -> bool:
    """Whether a body means something in one phase of a round only."""
    return isinstance(body, RoundBody)


def _frames(items: Iterable[bytes]) -> Iterator[bytes]:
    """Yield frames with all of `items`, none larger or longer than a frame may be."""
    part: list[bytes] = []
    size_bytes = 0
    for data in items:
        if len(part) == wire.MAX_TRANSACTIONS_IN_FRAME or size_bytes + len(data) > MAX_TRANSACTIONS_BYTES:
            yield wire.TRANSACTIONS.frame(wire.Transactions(tuple(part)))
            part, size_bytes = [], 0
        part.append(data)
        size_bytes += len(data)
    if part:
        yield wire.TRANSACTIONS.frame(wire.Transactions(tuple(part)))
