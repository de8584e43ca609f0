"""Chains made for the benchmark: blocks that the keys of all members certify, with as large a state as asked for.

Security assumption: none is needed. The keys belong to the benchmark, which is why it can sign for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fednode.chain.block import (
    BlockContext,
    Execution,
    advance,
    assemble,
    compute_params_hash,
    genesis_tip,
    receipts_data,
)
from fednode.chain.state import Changes, Draft, State, compute_root
from fednode.chain.store import DecidedBlock
from fednode.chain.vote import NO_VIEW, PRECOMMIT, Certificate, Vote, make_certificate, sign_bytes
from fednode.crypto import Domain, sha256
from fednode.ids import NO_HASH, PROTOCOL_VERSION, Hash, Height, MemberId, View
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import get_member_set
from fednode.ledger.rules import apply_block
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.records import SeenRecord, seen_key
from fednode.ledger.transactions import Transaction, sign_transaction

if TYPE_CHECKING:
    from fednode.crypto import Signer

TX_BYTES = 256
"""Size of the transactions: that of the published figures for other ledgers."""

_TEXT_LENGTH = 172
"""What remains of `TX_BYTES` for a memo's text, once heights have three bytes."""
_VALIDITY_BLOCKS = 100
_FIRST_NONCE = 1_700_000_000_000_000


def memo_text(name: str) -> str:
    """Return a line for auditors that makes a transaction of 256 bytes. Distinct names make distinct lines."""
    return name.ljust(_TEXT_LENGTH, ".")


def transaction_bytes() -> int:
    """Return the size of a transaction with such a line, as members send and store it."""
    memo = Memo(memo_text("size"))
    return len(Transaction(MemberId(1), _FIRST_NONCE, Height(1000), memo, bytes(64)).data)


def large_state(genesis: Genesis, keys: int) -> tuple[State, Changes]:
    """Return the state of the genesis with `keys` more records, and those records.

    They are key points that must never be used again: what a state gathers most of over the years.
    """
    draft = Draft(genesis.first_state())
    for number in range(keys):
        point = sha256(b"bench", number.to_bytes(8, "big"))
        draft.write(seen_key(point), SeenRecord(NO_HASH, number, 0, MemberId(1)))
    return draft.freeze()


class ChainMaker:
    """Makes one decided block after the other, each in view 0 with the signatures of all members."""

    def __init__(self, genesis: Genesis, signers: Mapping[MemberId, Signer], keys: int = 0) -> None:
        """`keys`: records that the first block adds to the state, besides what its transactions do."""
        self._genesis = genesis
        self._signers = signers
        self._tip = genesis_tip(genesis.chain_id, genesis.member_set, genesis.time_ms)
        self._state, self._added = large_state(genesis, keys)
        self._certificate: Certificate | None = None
        self._nonce = _FIRST_NONCE

    def memo(self, name: str) -> Transaction:
        """Return a transaction of 256 bytes, signed by the members in turn."""
        self._nonce += 1
        member = MemberId(1 + self._nonce % len(self._signers))
        until = Height(self._tip.height + _VALIDITY_BLOCKS)
        body = Memo(memo_text(name))
        return sign_transaction(self._signers[member], self._tip.chain_id, member, self._nonce, until, body)

    def decide(self, transactions: Sequence[Transaction]) -> DecidedBlock:
        """Return the next block, executed and certified."""
        tip = self._tip
        at = BlockTime(tip.height + 1, tip.time_ms + 10)
        context = BlockContext(tip.chain_id, Height(at.height), at.time_ms, tip.proposer(0), ())
        applied = apply_block(self._state, at, transactions)
        receipts_root = compute_root(receipts_data(applied.receipts))
        data = tuple(transaction.data for transaction in transactions)
        next_members, params = get_member_set(applied.state), compute_params_hash(PROTOCOL_VERSION)
        block = assemble(
            tip, context, Execution(data, receipts_root, applied.state.root, params, next_members), self._certificate
        )
        certificate = self._certify(block.height, block.hash)
        changes = tuple(sorted({**dict(self._added), **dict(applied.changes)}.items()))
        self._tip, self._state = advance(tip, block, next_members), applied.state
        self._certificate, self._added = certificate, ()
        return DecidedBlock(block, certificate, self._tip, applied.receipts, changes)

    def _certify(self, height: Height, block_hash: Hash) -> Certificate:
        message = sign_bytes(self._tip.chain_id, PRECOMMIT, height, 0, NO_VIEW, block_hash)
        votes = [
            Vote(PRECOMMIT, height, View(0), NO_VIEW, block_hash, member, signer.sign(Domain.PRECOMMIT, message))
            for member, signer in self._signers.items()
        ]
        return make_certificate(self._genesis.member_set, votes)
