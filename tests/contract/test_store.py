"""The same contract for the store on disk and the one in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fednode.chain.block import (
    Block,
    BlockContext,
    Execution,
    Header,
    Receipt,
    Tip,
    advance,
    assemble,
    compute_params_hash,
    genesis_tip,
    receipts_data,
)
from fednode.chain.leveldb import open_store
from fednode.chain.state import State, compute_root
from fednode.chain.store import DecidedBlock, LedgerStore, TransactionPlace, block_batch, check_store
from fednode.chain.vote import NO_VIEW, PRECOMMIT, Certificate, Vote, make_certificate, sign_bytes
from fednode.crypto import Domain, Ed25519Signer, Secret
from fednode.errors import StorageError
from fednode.ids import NO_HASH, Hash, Height
from fednode.ledger import transactions as tx
from fednode.ledger.bodies import Body
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import get_member_set, version_at
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.rules import apply_block
from fednode.ledger.studies.bodies import Ready, StudyTerms, compute_study_id
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.versions import VERSIONS, Versions
from tests.ledger.world import TERMS, make_test_genesis
from tests.support.seeds import seed_of


class MemoryStore:
    """Keeps everything in lists; what it appends must be what the disk would have taken."""

    def __init__(self, genesis: Genesis) -> None:
        self._tip = genesis_tip(genesis.chain_id, genesis.member_set, genesis.time_ms)
        self._blocks: list[DecidedBlock] = []
        self._state = dict(genesis.first_state().items())
        self._genesis = genesis

    @property
    def tip(self) -> Tip:
        return self._tip

    def load_state(self) -> State:
        return State.load(RECORD_TABLE, self._state.items())

    def append(self, decided: DecidedBlock) -> None:
        block_batch(self._tip, decided)
        for key, value in decided.changes:
            if value is None:
                del self._state[key]
            else:
                self._state[key] = value
        self._blocks.append(decided)
        self._tip = decided.tip

    def _at(self, height: int) -> DecidedBlock | None:
        return self._blocks[height - 1] if 0 < height <= len(self._blocks) else None

    def get_block(self, height: int) -> Block | None:
        found = self._at(height)
        return None if found is None else found.block

    def get_certificate(self, height: int) -> Certificate | None:
        found, after = self._at(height), self._at(height + 1)
        if found is None:
            return None
        return found.certificate if after is None else after.block.parent_certificate

    def get_receipts(self, height: int) -> tuple[Receipt, ...] | None:
        found = self._at(height)
        return None if found is None else found.receipts

    def get_members(self, height: int):
        return self._blocks[height - 2].tip.members if height > 1 else self._genesis.member_set

    def find_block(self, block_hash: bytes) -> Height | None:
        return next((d.block.height for d in self._blocks if d.block.hash == block_hash), None)

    def find_transaction(self, txid: bytes) -> TransactionPlace | None:
        for decided in self._blocks:
            for index, receipt in enumerate(decided.receipts):
                if receipt.txid == txid:
                    return TransactionPlace(decided.block.height, index)
        return None

    def blocks(self, first: int, last: int) -> Iterator[tuple[Block, Certificate]]:
        for height in range(first, min(last, len(self._blocks)) + 1):
            yield self.get_block(height), self.get_certificate(height)

    def headers(self, first: int, last: int) -> Iterator[Header]:
        return (block.header for block, _ in self.blocks(first, last))

    def close(self) -> None:
        pass


class ChainMaker:
    """Makes decided blocks: executes transactions and signs certificates with every member's key."""

    def __init__(self, size: int = 4, terms: StudyTerms = TERMS) -> None:
        self.genesis = make_test_genesis(size, terms)
        self.tip = genesis_tip(self.genesis.chain_id, self.genesis.member_set, self.genesis.time_ms)
        self.state = self.genesis.first_state()
        self.certificate: Certificate | None = None
        names = [card.name for card in self.genesis.members]
        self.signers = {i: Ed25519Signer(Secret(seed_of(name, "sign"))) for i, name in enumerate(names, 1)}
        self.nonce = 0
        self.versions: Versions = VERSIONS

    def transaction(self, member: int = 1, body: Body | None = None) -> tx.Transaction:
        self.nonce += 1
        study = compute_study_id(TERMS, self.genesis.studies[0].spec)
        body = body or Ready(study, seed_of("seal", self.nonce), seed_of("coin", self.nonce))
        until = Height(self.tip.height + 50)
        return tx.sign_transaction(self.signers[member], self.genesis.chain_id, member, self.nonce, until, body)

    def decide(self, *transactions: tx.Transaction) -> DecidedBlock:
        height, time_ms = self.tip.height + 1, self.tip.time_ms + 10
        context = BlockContext(self.genesis.chain_id, height, time_ms, self.tip.proposer(0), ())
        at = BlockTime(height, time_ms, Hash(self.tip.block_hash))
        applied = apply_block(self.state, at, transactions, (), self.versions)
        done = Execution(
            tuple(t.data for t in transactions), compute_root(receipts_data(applied.receipts)), applied.state.root,
            compute_params_hash(version_at(applied.state, height + 1)), get_member_set(applied.state),
            version_at(self.state, height),
        )
        block = assemble(self.tip, context, done, self.certificate)
        certificate = self.certify(block)
        self.tip = advance(self.tip, block, done.next_members)
        self.state, self.certificate = applied.state, certificate
        return DecidedBlock(block, certificate, self.tip, applied.receipts, applied.changes)

    def certify(self, block: Block) -> Certificate:
        message = sign_bytes(self.genesis.chain_id, PRECOMMIT, block.height, 0, NO_VIEW, block.hash)
        votes = [
            Vote(PRECOMMIT, block.height, 0, NO_VIEW, block.hash, m, s.sign(Domain.PRECOMMIT, message))
            for m, s in sorted(self.signers.items()) if m in self.tip.members.positions
        ]
        return make_certificate(self.tip.members, votes)


@pytest.fixture(params=["leveldb", "memory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Genesis], LedgerStore]]:
    opened: list[LedgerStore] = []

    def make(genesis: Genesis) -> LedgerStore:
        store = open_store(tmp_path / "chain", genesis) if request.param == "leveldb" else MemoryStore(genesis)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def fill(store: LedgerStore, maker: ChainMaker, count: int) -> list[DecidedBlock]:
    decided = [maker.decide(maker.transaction(1 + n % 4)) for n in range(count)]
    for block in decided:
        store.append(block)
    return decided


def test_empty_store_starts_at_the_genesis(make_store) -> None:
    maker = ChainMaker()
    store = make_store(maker.genesis)
    assert store.tip == maker.tip
    assert store.load_state().root == maker.genesis.first_state().root
    assert store.get_block(1) is None and store.get_receipts(1) is None and store.get_certificate(1) is None
    assert list(store.blocks(1, 10)) == []


def test_what_was_appended_is_read_back(make_store) -> None:
    maker = ChainMaker()
    store = make_store(maker.genesis)
    decided = fill(store, maker, 5)
    assert store.tip == maker.tip
    assert store.load_state().root == maker.state.root
    for number, item in enumerate(decided, 1):
        assert store.get_block(number) == item.block
        assert store.get_receipts(number) == item.receipts
        assert store.get_certificate(number) == item.certificate
        assert store.find_block(item.block.hash) == number
        assert store.find_transaction(item.receipts[0].txid) == TransactionPlace(Height(number), 0)
    assert store.get_members(3) == maker.genesis.member_set
    assert [block.height for block, _ in store.blocks(2, 99)] == [2, 3, 4, 5]
    assert list(store.headers(2, 99)) == [item.block.header for item in decided[1:]]
    assert store.find_block(NO_HASH) is None and store.find_transaction(NO_HASH) is None
    check_store(store, maker.genesis, maker.state.root)


def test_only_the_block_after_the_tip_is_taken(make_store) -> None:
    maker = ChainMaker()
    store = make_store(maker.genesis)
    first, second = fill(store, maker, 2)
    for wrong in (first, second, replace(maker.decide(), receipts=first.receipts)):
        with pytest.raises(AssertionError):
            store.append(wrong)
    assert store.tip == second.tip


def test_a_block_without_transactions_is_kept(make_store) -> None:
    maker = ChainMaker()
    store = make_store(maker.genesis)
    decided = maker.decide()
    store.append(decided)
    assert store.get_block(1) == decided.block and store.get_receipts(1) == ()


def test_check_names_a_state_of_another_block(make_store) -> None:
    maker = ChainMaker()
    store = make_store(maker.genesis)
    fill(store, maker, 2)
    with pytest.raises(StorageError, match="state is not the one block 2"):
        check_store(store, maker.genesis, NO_HASH)
