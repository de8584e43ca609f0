"""The replicated state machine of one node: its state, its pool, and the rules between them.

Security assumption: a transaction is executed only after its signature was checked here, once, on arrival or in the
first block that carries it. The state is a value: what a proposed block would lead to is kept beside it until a block
is final, and thrown away with the others then.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from fednode.chain.block import (
    MAX_TRANSACTIONS_BYTES,
    Block,
    BlockContext,
    Execution,
    Receipt,
    compute_params_hash,
    describe_unknown,
    receipts_data,
)
from fednode.chain.state import State, compute_root
from fednode.chain.vote import CountedCheck
from fednode.errors import Rejected
from fednode.fence import rule
from fednode.ids import Hash, MemberId, StudyId
from fednode.ledger.members.reading import get_candidates, get_member_set, get_versions, version_at
from fednode.ledger.rules import Applied, apply_block, is_tx_acceptable, pick_transactions
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.phases import PendingPhase, RoundBody, expects, is_phase_message, pending_phase
from fednode.ledger.transactions import (
    MAX_POOL_BYTES,
    Mempool,
    Transaction,
    decode_transaction,
    find_sign_key,
    verify_transaction,
)
from fednode.ledger.versions import VERSIONS, Versions

MAX_VERIFIED_BYTES = MAX_POOL_BYTES + 8 * 1024 * 1024
"""Transactions whose signature is remembered as checked: a full pool and a few blocks. By size, not by number: a member
may sign as many large ones as it likes.
"""


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A block's transactions as executed: decoded, and what they lead to."""

    transactions: tuple[Transaction, ...]
    applied: Applied


class LedgerApplication:
    """`consensus.Application` over the rules. All calls refer to the state after the last `commit`."""

    def __init__(
        self, chain_id: bytes, state: State, height: int, tip_hash: Hash, versions: Versions = VERSIONS
    ) -> None:
        self._chain_id = chain_id
        self.versions = versions
        self.state = state
        self.height = height
        self._tip_hash = tip_hash
        self.pool = Mempool(lambda transaction: self.judge(transaction).ok, height)
        self._decided: dict[int, ExecutedBlock] = {}
        self._outcomes: dict[tuple[BlockContext, tuple[bytes, ...]], ExecutedBlock] = {}
        self._verified: OrderedDict[bytes, Transaction] = OrderedDict()
        self._verified_bytes = 0
        self._keys = _sender_keys(state)
        self._released = -1
        self.check = CountedCheck()
        """Signatures of others are checked with this, before consensus or the pool sees what carries them."""

    # --- the pool -----------------------------------------------------------------------------------------------

    def admit(self, transaction: Transaction) -> bool:
        """Put a verified transaction into the pool; return whether it is new; `Rejected` if it may not wait."""
        if transaction.sender not in self._keys:
            raise Rejected(f"transaction of a stranger ({transaction.sender})")
        return self.pool.add(transaction)

    def judge(self, transaction: Transaction) -> Receipt:
        """Tell what the rules would say to a transaction in the next block. No rule looks at the time."""
        return is_tx_acceptable(self.state, BlockTime(self.height + 1, 0, self._tip_hash), transaction)

    def holds_message(self, study: StudyId) -> bool:
        """Whether the pool holds an acceptable message of the study's open phase."""
        pending = pending_phase(self.state, study)
        return pending is not None and any(
            is_phase_message(pending, transaction.body) and self.judge(transaction).ok for transaction in self.pool
        )

    def read(self, data: bytes) -> Transaction:
        """Decode a transaction whose signature may not have been checked; raise `Rejected` if it is none."""
        return self._verified.get(data) or decode_transaction(data)

    def is_welcome(self, transaction: Transaction) -> bool:
        """Whether the pool would take a transaction, if its signature holds; `Rejected` as by `admit`."""
        if transaction.sender not in self._keys:
            raise Rejected(f"transaction of a stranger ({transaction.sender})")
        return self.pool.is_welcome(transaction)

    def verify(self, data: bytes, read: Transaction | None = None) -> Transaction:
        """Check a transaction's signature, once; raise `Rejected` if no honest member has it. `read`: it, decoded."""
        known = self._verified.get(data)
        if known is not None:
            return known
        transaction = read or decode_transaction(data)
        verify_transaction(self._chain_id, find_sign_key(self._keys, transaction), transaction)
        return self._remember(transaction)

    def adopt(self, transaction: Transaction, public_key: bytes) -> Transaction:
        """Take over a transaction that was signed here with this key; raise `Rejected` if the key is not in force."""
        if find_sign_key(self._keys, transaction) != public_key:
            raise Rejected("this hospital's key on the ledger is another")
        return self._remember(transaction)

    def _remember(self, transaction: Transaction) -> Transaction:
        data = transaction.data
        if data in self._verified:
            return transaction
        self._verified[data] = transaction
        self._verified_bytes += len(data)
        while self._verified_bytes > MAX_VERIFIED_BYTES:
            self._forget(next(iter(self._verified)))
        return transaction

    def _forget(self, data: bytes) -> None:
        if self._verified.pop(data, None) is not None:
            self._verified_bytes -= len(data)

    # --- what consensus asks ------------------------------------------------------------------------------------

    def has_work(self) -> bool:
        """Whether the pool holds a transaction that could go into the next block, and it is time to make one."""
        return self.pool.has_work() and (self._released == self.height or not self._awaits_more())

    def is_holding(self) -> bool:
        """Whether there is work that waits a moment, because the rest of a phase's messages should be close behind."""
        return self._released != self.height and self.pool.has_work() and self._awaits_more()

    def release(self) -> None:
        """The moment is over: what is in the pool goes into the next block."""
        self._released = self.height

    def _awaits_more(self) -> bool:
        """Whether everything in the pool belongs to open phases in which others have yet to post.

        After a block all members post at nearly the same time. One block for all of them instead of two halves the
        number of blocks in a round.
        """
        pending: dict[bytes, PendingPhase | None] = {}
        posted: set[tuple[bytes, MemberId]] = set()
        for transaction in self.pool:
            body = transaction.body
            if not isinstance(body, RoundBody):
                return False
            if body.study not in pending:
                pending[body.study] = pending_phase(self.state, body.study)
            phase = pending[body.study]
            if phase is None or phase.record is None or not is_phase_message(phase, body):
                return False
            posted.add((body.study, transaction.sender))
        return any(
            phase.record is not None and expects(phase.record, member) and (study, member) not in posted
            for study, phase in pending.items() if phase is not None
            for member in phase.phase.expected
        )

    def pick(self, context: BlockContext, may_be_empty: bool) -> Execution | None:
        """Choose transactions for a block and execute them; None if there are none and the block may not be empty."""
        at = BlockTime(context.height, context.time_ms, self._tip_hash)
        picked = pick_transactions(self.state, at, self.pool.candidates(), MAX_TRANSACTIONS_BYTES)
        if not picked and not may_be_empty:
            return None
        try:
            return self._run(context, picked)
        except Rejected:
            if not picked:
                raise
            picked = self._fit(context, picked)
        return self._run(context, picked) if picked or may_be_empty else None

    def _fit(self, context: BlockContext, candidates: tuple[Transaction, ...]) -> tuple[Transaction, ...]:
        """Return those with which a block can be made, and forget the others.

        Each was accepted by itself; what they lead to together, at the end of the block, was not. No member would vote
        for such a block: one transaction must not make every leader propose it again and again.
        """
        fit: tuple[Transaction, ...] = ()
        parts = deque([candidates])
        while parts:
            part = parts.popleft()
            try:
                self._run(context, (*fit, *part))
                fit += part
            except Rejected:
                if len(part) == 1:
                    self.pool.drop(part[0])
                else:
                    parts.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
        return fit

    def execute(self, context: BlockContext, transactions: tuple[bytes, ...]) -> Execution:
        """Execute another member's block; raise `Rejected` if one of the transactions may not be in a block."""
        return self._run(context, tuple(self.verify(data) for data in transactions))

    def _run(self, context: BlockContext, transactions: tuple[Transaction, ...]) -> Execution:
        at = BlockTime(context.height, context.time_ms, self._tip_hash)
        applied = rule(lambda: apply_block(self.state, at, transactions, context.evidence, self.versions))
        data = tuple(transaction.data for transaction in transactions)
        self._outcomes[(context, data)] = ExecutedBlock(transactions, applied)
        receipts_root = compute_root(receipts_data(applied.receipts))
        next_version = version_at(applied.state, at.height + 1)
        return Execution(
            data, receipts_root, applied.state.root, compute_params_hash(next_version), get_member_set(applied.state),
            version_at(self.state, at.height), next_version not in self.versions,
        )

    def commit(self, block: Block, done: Execution) -> None:
        """Adopt the state that executing `block` led to, and forget its transactions."""
        header = block.header
        context = BlockContext(header.chain_id, header.height, header.time_ms, header.proposer, block.evidence)
        outcome = self._outcomes[(context, done.transactions)]
        self._outcomes.clear()
        self._decided[block.height] = outcome
        self.state, self.height, self._tip_hash = outcome.applied.state, block.height, block.hash
        self.pool.apply_block(block.height, outcome.transactions)
        for transaction in outcome.transactions:  # its nonce is used: nobody will look at its signature again
            self._forget(transaction.data)
        self._follow_keys()

    def _follow_keys(self) -> None:
        """Forget what was checked with a key that is its sender's no more: every node must judge it the same."""
        keys, old = _sender_keys(self.state), self._keys
        if keys == old:
            return
        self._keys = keys
        changed = {sender for sender, key in old.items() if keys.get(sender) != key}
        if changed:
            self._verified.clear()
            self._verified_bytes = 0
            self.pool.drop_senders(changed)

    @property
    def unknown_version(self) -> str | None:
        """Why the next block is not for this program, and what is; None if it is."""
        version = version_at(self.state, self.height + 1)
        if version in self.versions:
            return None
        plan = get_versions(self.state).plan
        release = plan.release if plan is not None else ""
        return describe_unknown(version, self.height + 1, release, self.versions)

    def take_outcome(self, height: int) -> ExecutedBlock:
        """Return, once, what the committed block of `height` led to."""
        return self._decided.pop(height)


def _sender_keys(state: State) -> dict[MemberId, bytes]:
    """Return the sign key of everybody who may send transactions: members, and candidates their report."""
    keys = {candidate.member: candidate.card.sign_key for candidate in get_candidates(state)}
    return {**keys, **get_member_set(state).keys}
