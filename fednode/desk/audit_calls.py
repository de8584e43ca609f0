"""What auditors may ask of a running daemon. Long reading happens in a thread, so that the daemon goes on voting."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from fednode.audit.proofs import Proof
from fednode.chain.checkpoint import Checkpoint, Consistency, sign_checkpoint
from fednode.codec import encode
from fednode.desk import proof_questions as proofs
from fednode.desk import questions
from fednode.desk.audit import Prover, look_for, parse_txid, state_key, steps_before
from fednode.desk.calls import AUDITORS, HOSPITAL, Arguments, Emit, Offer, once
from fednode.desk.read_models import Happened, MembersAt, StateItem, StatePage
from fednode.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from fednode.desk.status import Node

STATE_PAGE_BYTES = 512 * 1024
LONGEST_WAIT_S = 24 * 3600

T = TypeVar("T")


class AuditCalls:
    """One method per name. Proofs are made one at a time: they share what was read of the log."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.reactor.parts.store
        self._prover = Prover(self._store, node.genesis)
        self._lock = trio.Lock()

    def offers(self) -> Mapping[str, Offer]:
        """Return what can be asked, and who may."""
        return {
            proofs.CHAIN_PROOF.name: once(self.proof, AUDITORS),
            proofs.CHAIN_CHECKPOINT.name: once(self.checkpoint, AUDITORS),
            proofs.CHAIN_SIGN_CHECKPOINT.name: once(self.signed_checkpoint, HOSPITAL, acts=True),
            proofs.CHAIN_CONSISTENCY.name: once(self.consistency, AUDITORS),
            questions.CHAIN_STEPS.name: once(self.steps, AUDITORS),
            questions.CHAIN_MEMBERS.name: once(self.members, AUDITORS),
            questions.CHAIN_STATE.name: Offer(self.state, AUDITORS),
            questions.CHAIN_WAIT.name: Offer(self.wait, AUDITORS),
        }

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await trio.to_thread.run_sync(work)

    async def proof(self, args: Arguments) -> Proof:
        """Make a proof of a header, a transaction or a record of the state."""
        kind, since, now = args.text("kind"), args.optional_number("since"), _now_ms()
        work: Callable[[], Proof]
        if kind == "header":
            height = args.number("height")
            work = partial(self._prover.header, height, since, now)
        elif kind == "tx":
            txid = parse_txid(args.text("id"))
            work = partial(self._prover.transaction, txid, since, now)
        elif kind == "state":
            chain = self._node.reactor.core.chain
            while chain.height != self._store.tip.height:  # the last block is on its way to the disk
                await self._node.reactor.wait_block()
            state, height = chain.state, chain.height
            key = state_key(args.text("key").split(" "), state)
            work = partial(self._prover.state, key, state, height, since, now)
        else:
            raise UsageError(f"there are no proofs of '{kind}'; use the same version of fednode for both sides")
        return await self._in_thread(work)

    async def checkpoint(self, args: Arguments) -> Checkpoint:
        """Make the checkpoint of a height."""
        height = args.optional_number("height")
        return await self._in_thread(lambda: self._prover.checkpoint(height))

    async def signed_checkpoint(self, args: Arguments) -> Checkpoint:
        """Make the checkpoint of a height, and sign it with this hospital's key."""
        identity = self._node.reactor.core.identity
        return sign_checkpoint(await self.checkpoint(args), identity.member, identity.signer)

    async def consistency(self, args: Arguments) -> Consistency:
        """Prove that the log at one height continues the log at another."""
        old, new = args.number("old"), args.optional_number("new")
        return await self._in_thread(lambda: self._prover.consistency(old, new))

    async def steps(self, args: Arguments) -> tuple[str, ...]:
        """Return the light blocks that lead from the genesis to the block before `first`."""
        first, now = max(1, args.number("first")), _now_ms()
        found = await self._in_thread(lambda: steps_before(self._store, self._node.genesis, first, now))
        return tuple(_text(encode(step)) for step in found)

    async def members(self, args: Arguments) -> MembersAt:
        """Return the set that decides a height: the next one if none is named."""
        height = args.number("height", int(self._store.tip.height) + 1)
        return MembersAt(height=height, set=_text(encode(self._store.get_members(height))))

    async def state(self, args: Arguments, emit: Emit) -> StatePage:
        """Say every record of the state where the chain ends, page by page; the answer is a page without any."""
        chain = self._node.reactor.core.chain
        while chain.height != self._store.tip.height:
            await self._node.reactor.wait_block()
        state = chain.state
        page_of = partial(StatePage, height=int(chain.height), hash=self._store.tip.block_hash.hex())
        items: list[StateItem] = []
        size = 0
        for kind, key, value in state.leaves():
            items.append(StateItem(kind=kind, key=key.hex(), value=_text(value)))
            size += len(key) + len(value)
            if size >= STATE_PAGE_BYTES:
                await emit(page_of(items=tuple(items)))
                items, size = [], 0
        await emit(page_of(items=tuple(items)))
        return page_of(items=())

    async def wait(self, args: Arguments, emit: Emit) -> Happened:
        """Answer when a height, a transaction or the report of a round is there."""
        timeout_s = args.number("timeout_s")
        if not 0 < timeout_s <= LONGEST_WAIT_S:
            raise UsageError(f"wait 1 to {LONGEST_WAIT_S} seconds")
        height, tx = args.optional_number("height"), args.optional_text("tx")
        study, number = args.optional_text("study"), args.optional_number("round")
        with trio.move_on_after(timeout_s):
            while (found := look_for(self._store, self._node.state, height, tx, study, number)) is None:
                await self._node.reactor.wait_block()
            return found
        raise Unavailable(
            f"it did not happen within {timeout_s} s, the chain is at block {self._store.tip.height}; wait longer, or "
            "look at 'fednode status'"
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


