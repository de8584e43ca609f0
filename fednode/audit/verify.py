"""Checking a whole chain, from the genesis on, without trusting whoever hands it over.

Security assumption: the genesis is the right one (its chain id was compared), and of the members of any height at
most f sign what is not so. Each level includes the ones below:

    0  storage        every record is there and canonical
    1  links          headers follow each other and name their parts
    2  certificates   q members of the right set signed each block; its proposer had a turn; evidence is genuine
    3  transactions   signatures hold, nonces grow, receipts are those the header names
    4  execution      running every block again gives the same receipts, state root and members
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from fednode.chain.block import (
    Block,
    Tip,
    advance,
    check_form,
    check_link,
    check_version,
    compute_params_hash,
    decode_block,
    genesis_tip,
    receipts_data,
)
from fednode.chain.state import State, compute_root
from fednode.chain.store import LedgerStore
from fednode.chain.vote import Certificate, MemberSet, verify_certificate, verify_evidence
from fednode.codec import decode, encode
from fednode.errors import Rejected, StorageError
from fednode.ids import Hash, Height
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import get_member_set, version_at
from fednode.ledger.rules import apply_block
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.transactions import (
    MAX_VALIDITY_BLOCKS,
    Transaction,
    decode_transaction,
    find_sign_key,
    verify_transaction,
)
from fednode.ledger.versions import VERSIONS, Versions

MAX_CERTIFICATE_BYTES = 64 * 1024


class Level(IntEnum):
    """How thoroughly a chain is checked."""

    STORAGE = 0
    LINKS = 1
    CERTIFICATES = 2
    TRANSACTIONS = 3
    EXECUTION = 4


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """A block as bytes, its certificate as bytes, and its receipts as bytes where the source has them.

    `next_members` is the encoded member set of the next height, where it differs: below execution a check needs it.
    """

    block: bytes
    certificate: bytes
    receipts: tuple[bytes, ...] | None = None
    next_members: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A block out of this node's store, which has read it: its records were there, and canonical."""

    block: Block
    certificate: Certificate
    receipts: tuple[bytes, ...]
    next_members: MemberSet | None


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a check found.

    `height` is the last block that passed every level asked for; `verdicts` holds, per level, whether it held up to
    there; `problem` is the first thing wrong, in one sentence, or empty.
    """

    height: Height
    tip_hash: Hash
    state_root: Hash | None
    verdicts: tuple[tuple[Level, bool], ...]
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problem


def stored_entries(store: LedgerStore, first: int = 1, last: int | None = None) -> Iterator[StoredEntry]:
    """Yield the blocks of a store, all or a range; the store's own errors are raised while reading."""
    for block, certificate in store.blocks(first, store.tip.height if last is None else last):
        receipts = store.get_receipts(block.height)
        if receipts is None:
            raise StorageError(f"the receipts of block {block.height} are missing in the store")
        has_change = block.header.next_members_hash != block.header.members_hash
        members = store.get_members(block.height + 1) if has_change else None
        yield StoredEntry(block, certificate, receipts_data(receipts), members)


def entries_of(store: LedgerStore, first: int = 1, last: int | None = None) -> Iterator[ChainEntry]:
    """Yield the same as bytes, for whoever is to check them elsewhere."""
    for entry in stored_entries(store, first, last):
        members = None if entry.next_members is None else encode(entry.next_members)
        yield ChainEntry(entry.block.encoded, encode(entry.certificate), entry.receipts, members)


def run_again(genesis: Genesis, blocks: Iterable[Block], versions: Versions = VERSIONS) -> tuple[Hash, State]:
    """Execute blocks from height 1 on; return the last one's hash and the state after it.

    Nobody keeps the state of an earlier block. Raises `Rejected` if there is no block, or the last one names another.
    """
    state, last = genesis.first_state(), None
    for last in blocks:
        transactions = [decode_transaction(data) for data in last.transactions]
        at = BlockTime(last.height, last.header.time_ms, Hash(last.header.parent_hash))
        state = apply_block(state, at, transactions, last.evidence, versions).state
    if last is None or state.root != last.header.state_root:
        raise Rejected("running the blocks again gives another state")
    return last.hash, state


def verify_chain(
    entries: Iterable[ChainEntry | StoredEntry], genesis: Genesis, level: Level, versions: Versions = VERSIONS
) -> ChainReport:
    """Check blocks from height 1 on, up to `level`. Never raises for a bad chain: the report says what is wrong.

    `versions`: those this program knows. A block of another one cannot be checked, and is where the check ends.
    """
    check = _Check(genesis, level, versions)
    failed, problem = level, ""
    try:
        for entry in entries:
            failed = check.add(entry)
            if check.problem:
                break
        problem = check.problem
    except StorageError as error:
        failed, problem = Level.STORAGE, str(error)
    verdicts = tuple((step, not problem or step < failed) for step in Level if step <= level)
    tip = check.tip
    root = check.state.root if level >= Level.EXECUTION else None
    return ChainReport(tip.height, Hash(tip.block_hash), root, verdicts, problem)


def _read(entry: ChainEntry | StoredEntry) -> tuple[Block, Certificate, MemberSet | None]:
    """Return block, certificate and claimed next members; raise `Rejected` unless they are well formed."""
    if isinstance(entry, StoredEntry):
        check_form(entry.block)
        return entry.block, entry.certificate, entry.next_members
    members = entry.next_members
    return (
        decode_block(entry.block),
        decode(Certificate, entry.certificate, MAX_CERTIFICATE_BYTES),
        None if members is None else decode(MemberSet, members, MAX_CERTIFICATE_BYTES),
    )


@dataclass
class _Check:
    genesis: Genesis
    level: Level
    versions: Versions
    problem: str = ""
    tip: Tip = field(init=False)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.tip = genesis_tip(self.genesis.chain_id, self.genesis.member_set, self.genesis.time_ms)
        self.state = self.genesis.first_state()
        self._nonces: dict[int, int] = {}
        self._certificate: Certificate | None = None
        self._params_hash: bytes = compute_params_hash(self.genesis.protocol_version)

    def add(self, entry: ChainEntry | StoredEntry) -> Level:
        """Check one block after the tip; on failure set `problem` and return the level that failed."""
        step = Level.STORAGE
        try:
            block, certificate, claimed = _read(entry)
            next_members, next_state = self._claimed_members(block, claimed), self.state
            if self.level >= (step := Level.LINKS):
                check_link(self.tip, block)
                check_version(block.header.version, block.height, self.versions, self._params_hash)
                if (certificate.height, certificate.block_hash) != (block.height, block.hash):
                    raise Rejected("its certificate is of another block")
            if self.level >= (step := Level.CERTIFICATES):
                self._check_certificates(block, certificate)
            if self.level >= (step := Level.TRANSACTIONS):
                transactions = self._check_transactions(block, entry.receipts)
                if self.level >= (step := Level.EXECUTION):
                    next_state = self._execute(block, transactions, entry.receipts)
                    next_members = get_member_set(next_state)
            self.tip = advance(self.tip, block, next_members)
            self.state, self._certificate, self._params_hash = next_state, certificate, block.header.params_hash
        except Rejected as error:
            self.problem = f"block {self.tip.height + 1} does not hold: {error.reason}"
        return step

    def _claimed_members(self, block: Block, members: MemberSet | None) -> MemberSet:
        """Return the members of the next height: the header names their hash, `advance` compares it."""
        if block.header.next_members_hash == self.tip.members.hash:
            if members is not None:
                raise Rejected("whoever hands it over names new members, and it changes none")
            return self.tip.members
        if members is None:
            if self.level >= Level.EXECUTION:
                return self.tip.members
            raise Rejected("the members change after it, and whoever hands it over does not say to whom")
        if members.hash != block.header.next_members_hash:
            raise Rejected("whoever hands it over names other members for the next height than its header")
        return members

    def _check_certificates(self, block: Block, certificate: Certificate) -> None:
        """Check who signed the block, the copy of its parent's certificate in it, its proposer and its evidence."""
        members, chain_id = self.tip.members, self.tip.chain_id
        verify_certificate(certificate, members, chain_id)
        if block.parent_certificate is not None and block.parent_certificate != self._certificate:
            verify_certificate(block.parent_certificate, self.tip.signed_by, chain_id)
        turns = range(min(certificate.view + 1, len(members)))
        if block.header.proposer not in (self.tip.proposer(view) for view in turns):
            raise Rejected(f"member {block.header.proposer} had no turn to propose it")
        for piece in block.evidence:
            verify_evidence(piece, members, chain_id)

    def _check_transactions(self, block: Block, receipts: tuple[bytes, ...] | None) -> tuple[Transaction, ...]:
        keys = self.tip.members.keys
        transactions = []
        for data in block.transactions:
            transaction = decode_transaction(data)
            verify_transaction(self.tip.chain_id, find_sign_key(keys, transaction), transaction)
            if transaction.nonce <= self._nonces.get(transaction.sender, 0):
                raise Rejected(f"a nonce of member {transaction.sender} does not grow")
            if not block.height <= transaction.valid_until <= block.height + MAX_VALIDITY_BLOCKS:
                raise Rejected(f"a transaction of member {transaction.sender} is out of its time")
            self._nonces[transaction.sender] = transaction.nonce
            transactions.append(transaction)
        if receipts is not None and compute_root(receipts) != block.header.receipts_root:
            raise Rejected("its receipts are not those its header names")
        return tuple(transactions)

    def _execute(
        self, block: Block, transactions: tuple[Transaction, ...], receipts: tuple[bytes, ...] | None
    ) -> State:
        at = BlockTime(block.height, block.header.time_ms, Hash(block.header.parent_hash))
        applied = apply_block(self.state, at, transactions, block.evidence, self.versions)
        data = receipts_data(applied.receipts)
        if (receipts is not None and data != receipts) or compute_root(data) != block.header.receipts_root:
            raise Rejected("running it again gives other receipts")
        if applied.state.root != block.header.state_root:
            raise Rejected("running it again gives another state")
        if compute_params_hash(version_at(applied.state, block.height + 1)) != block.header.params_hash:
            raise Rejected("running it again gives another protocol version for the next block")
        return applied.state
