"""This node's own transactions on their way onto the ledger.

A transaction can get lost: pools are bounded, connections break, and a later nonce of ours may be committed first and
make an earlier one worthless. So each body is kept until a block carries it, sent again while it does not, and signed
anew when its nonce was overtaken. Whether it still makes sense is its machine's business: it submits again if not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fednode.crypto import Signer
from fednode.ids import Hash, Height, MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.transactions import Transaction, sign_transaction

VALIDITY_BLOCKS = 100
"""Heights for which a transaction of ours stays good; phase messages are refused long before."""

KEEP_MS = 60_000
"""After this a body is given up: the longest phases last a minute, and machines submit again what they still owe."""

RESEND_MS = 1_000
MAX_PENDING = 60
"""Below the pool's bound of 64 per member."""


@dataclass(slots=True)
class _Pending:
    transaction: Transaction
    since_ms: int


class Outbox:
    """Signs bodies, remembers them until they are final. Nonces are microseconds of the clock, always rising."""

    def __init__(self, chain_id: bytes, member: MemberId, signer: Signer) -> None:
        self._chain_id = chain_id
        self._member = member
        self._signer = signer
        self._last_nonce = 0
        self.closed: str | None = None
        """Why nothing is signed on this chain any more; None as long as it is."""
        self._pending: dict[Hash, _Pending] = {}
        self._bodies: set[Body] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def begin_after(self, nonce: int) -> None:
        """Go on from the nonce the ledger has seen: a clock that was set back must not make everything refused."""
        self._last_nonce = max(self._last_nonce, nonce)

    def sign(self, body: Body, height: int, now_ms: int) -> Transaction | None:
        """Return a new transaction for `body`, or None if the same body is on its way, too much is, or it is closed."""
        if self.closed is not None or len(self._pending) >= MAX_PENDING or body in self._bodies:
            return None
        return self._sign(body, height, now_ms, now_ms)

    def _sign(self, body: Body, height: int, now_ms: int, since_ms: int) -> Transaction:
        self._last_nonce = max(self._last_nonce + 1, 1000 * now_ms)
        transaction = sign_transaction(
            self._signer, self._chain_id, self._member, self._last_nonce, Height(height + VALIDITY_BLOCKS), body
        )
        self._pending[transaction.txid] = _Pending(transaction, since_ms)
        self._bodies.add(body)
        return transaction

    def forget(self, transaction: Transaction) -> None:
        """Give a transaction up."""
        if self._pending.pop(transaction.txid, None) is not None:
            self._bodies.discard(transaction.body)

    def on_block(
        self, committed: Iterable[Transaction], own_nonce: int, height: int, now_ms: int
    ) -> list[Transaction]:
        """Forget what the block carries; return new transactions for bodies whose nonce was overtaken."""
        self._last_nonce = max(self._last_nonce, own_nonce)
        for transaction in committed:
            self.forget(transaction)
        lost = [p for p in self._pending.values() if p.transaction.nonce <= own_nonce]
        for pending in lost:
            self.forget(pending.transaction)
        return [self._sign(pending.transaction.body, height, now_ms, pending.since_ms) for pending in lost]

    def due(self, height: int, now_ms: int) -> list[Transaction]:
        """Return what should be sent again, signed anew where its height is past; give up what is too old.

        A node that has just come back signs for a height that the others left long ago.
        """
        for pending in list(self._pending.values()):
            is_old = now_ms - pending.since_ms > KEEP_MS
            if is_old or pending.transaction.valid_until <= height:
                self.forget(pending.transaction)
            if not is_old and pending.transaction.valid_until <= height:
                self._sign(pending.transaction.body, height, now_ms, pending.since_ms)
        return [pending.transaction for pending in self._pending.values()]
