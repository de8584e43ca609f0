"""What auditors take away from a chain: proofs, checkpoints, the ways to a block. For daemons and stopped stores alike.

Security assumption: none. Whatever is made here is checked by whoever receives it, against a chain id or a checkpoint
of its own; a node that makes something false convinces nobody. Everything here may run in a thread of its own, one
call at a time, while the daemon goes on appending blocks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fednode.audit.proofs import (
    PROOF_FORMAT,
    Base,
    Finality,
    Proof,
    StateClaim,
    TransactionClaim,
    claim_state,
    claim_transaction,
)
from fednode.chain.block import Header, compute_block_hash, receipts_data
from fednode.chain.checkpoint import Checkpoint, Consistency, make_checkpoint, make_consistency, prove_in_log
from fednode.chain.light import LightBlock, LightRules, TrustedBlock, follow, trust_genesis, trust_header
from fednode.chain.state import State, hash_leaf
from fednode.chain.store import LedgerStore
from fednode.codec import decode
from fednode.desk.read_models import Happened
from fednode.desk.views import choose_study, report_view, spec_bytes
from fednode.errors import Rejected, StorageError, UsageError
from fednode.ids import Height, MemberId, StudyId
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import nonce_key
from fednode.ledger.studies.records import get_report, get_studies, report_key
from fednode.ledger.versions import VERSIONS

RULES = LightRules(VERSIONS)
"""Each step of a proof carries the signatures of a quorum of the members trusted before it."""


class BlockLog:
    """Leaf hashes of the log over all block hashes, read once and kept: 32 bytes a block."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._leaves: list[bytes] = []

    def leaves(self, size: int) -> Sequence[bytes]:
        """Return the leaf hashes of blocks 1 to `size`. Reading many takes a while (some 25 000 blocks a second)."""
        missing = self._store.headers(len(self._leaves) + 1, size)
        self._leaves += [hash_leaf(compute_block_hash(header)) for header in missing]
        if len(self._leaves) < size:
            raise UsageError(f"the chain has blocks 1 to {len(self._leaves)}; ask for one of these")
        return self._leaves[:size]


def light_block(store: LedgerStore, height: int) -> LightBlock:
    """Return a block as light verification reads it."""
    certificate = store.get_certificate(height)
    for header in store.headers(height, height):
        if certificate is not None:
            return LightBlock(header, certificate, store.get_members(height), store.get_members(height + 1))
    raise StorageError(f"block {height} or its certificate is missing in the store")


def find_way(store: LedgerStore, trusted: TrustedBlock, height: int, now_ms: int) -> tuple[LightBlock, ...]:
    """Return the steps from a trusted block to `height`; none if it is that block."""
    if trusted.height == height:
        return ()
    try:
        return follow(trusted, height, lambda at: light_block(store, at), now_ms, RULES)
    except Rejected as error:
        raise StorageError(f"the stored chain does not hold ({error.reason}); see 'fednode chain verify'") from None


def steps_before(store: LedgerStore, genesis: Genesis, first: int, now_ms: int) -> tuple[LightBlock, ...]:
    """Return the steps from the genesis to the block before `first`, as an export has them."""
    return find_way(store, trust_genesis(genesis), first - 1, now_ms)


# --- proofs ----------------------------------------------------------------------------------------------------

class Prover:
    """Makes proofs and checkpoints of one store."""

    def __init__(self, store: LedgerStore, genesis: Genesis) -> None:
        self._store = store
        self._genesis = genesis
        self._log = BlockLog(store)

    def header(self, height: int, since: int | None, now_ms: int) -> Proof:
        """Prove a header, and that its hash is in the log: of the checkpoint at `since`, else of the whole chain."""
        return self._prove(height, since, now_ms, with_log=True)

    def transaction(self, txid: bytes, since: int | None, now_ms: int) -> Proof:
        """Prove a transaction and its receipt."""
        place = self._store.find_transaction(txid)
        block = None if place is None else self._store.get_block(place.height)
        receipts = None if place is None else self._store.get_receipts(place.height)
        if place is None or block is None or receipts is None:
            text = f"transaction {txid.hex()} is not on the chain"
            raise UsageError(f"{text}; it may still be waiting, or was made elsewhere")
        claim = claim_transaction(block.transactions, receipts_data(receipts), place.index)
        return self._prove(place.height, since, now_ms, transaction=claim)

    def state(self, key: bytes, state: State, height: int, since: int | None, now_ms: int) -> Proof:
        """Prove the record under `key`, or that there is none, in the state after block `height`, the tip."""
        if height == 0:
            raise UsageError("the chain has no block yet, so no header names its state")
        return self._prove(height, since, now_ms, state=claim_state(state, key))

    def _prove(
        self, height: int, since: int | None, now_ms: int, *, with_log: bool = False,
        transaction: TransactionClaim | None = None, state: StateClaim | None = None,
    ) -> Proof:
        header = self._header(height)
        size = since if since is not None and since >= height else None
        if size is None and with_log and since is None:
            size = int(self._store.tip.height)
        log = None if size is None else prove_in_log(self._log.leaves(size), height)
        if since is not None and since < height:
            base = light_block(self._store, since)
            trusted = trust_header(base.header, base.next_members)
            way = find_way(self._store, trusted, height, now_ms)
            finality = Finality(None, Base(base.header, base.next_members), way)
        else:
            way = find_way(self._store, trust_genesis(self._genesis), height, now_ms)
            finality = Finality(self._genesis, None, way)
        return Proof(PROOF_FORMAT, self._genesis.chain_id, header, finality, log, transaction, state)

    def _header(self, height: int) -> Header:
        tip = self._store.tip.height
        if tip == 0:
            raise UsageError("the chain has no block yet; the first one comes with the first transaction")
        if not 1 <= height <= tip:
            raise UsageError(f"the chain has blocks 1 to {tip}; ask for one of these")
        return next(self._store.headers(height, height))

    def checkpoint(self, height: int | None) -> Checkpoint:
        """Return the unsigned checkpoint of a block, the latest if none is named."""
        header = self._header(self._store.tip.height if height is None else height)
        return make_checkpoint(header, self._log.leaves(header.height))

    def consistency(self, old: int, new: int | None) -> Consistency:
        """Prove that the log at height `new`, the latest if none is named, continues the one at `old`."""
        latest = self._store.tip.height if new is None else Height(new)
        if not 1 <= old <= latest:
            raise UsageError(f"block {old} does not come before block {latest}; give the older checkpoint first")
        return make_consistency(self._genesis.chain_id, self._log.leaves(self._header(latest).height), old)


# --- what people call things -----------------------------------------------------------------------------------

def study_name(state: State, study: StudyId) -> str:
    """Return a study's name, or an empty text if this program cannot read its specification."""
    from fednode.learn.study import MAX_STUDY_BYTES, StudySpec  # only where a name is asked for

    try:
        return decode(StudySpec, spec_bytes(state, study), MAX_STUDY_BYTES).name
    except (Rejected, KeyError):
        return ""


def find_study(state: State, text: str) -> StudyId:
    """Return the study with this name, or the only one whose id begins so."""
    return choose_study({study: study_name(state, study) for study in get_studies(state)}, text, UsageError)


STATE_KEYS = "chain | members | studies | study S | spec S | round S | report S ROUND | nonce MEMBER | hex HEX"


def state_key(words: Sequence[str], state: State) -> bytes:
    """Return the key of the state that words like `report heart 3` name; raise `UsageError`."""
    match list(words):
        case ["chain" | "members" | "studies" as plain]:
            return plain.encode()
        case ["study" | "spec" | "round" as kind, study]:
            return f"{kind}/".encode() + find_study(state, study)
        case ["report", study, number] if number.isdecimal() and int(number) < 2**32:
            return report_key(find_study(state, study), int(number))
        case ["nonce", member] if member.isdecimal() and int(member) < 2**16:
            return nonce_key(MemberId(int(member)))
        case ["hex", text] if re.fullmatch(r"(?:[0-9a-fA-F]{2}){1,256}", text):
            return bytes.fromhex(text)
        case _:
            raise UsageError(f"'{' '.join(words)}' is no key of the state; give one of: {STATE_KEYS}")


def key_words(key: bytes) -> str:
    """Return a key of the state in the words that `state_key` takes."""
    kind, _, rest = key.partition(b"/")
    if kind == b"report" and len(rest) == 36:
        return f"report {rest[:32].hex()} {int.from_bytes(rest[32:], 'big')}"
    if kind == b"nonce" and len(rest) == 2:
        return f"nonce {int.from_bytes(rest, 'big')}"
    if kind in (b"study", b"spec", b"round") and len(rest) == 32:
        return f"{kind.decode()} {rest.hex()}"
    return key.decode() if key in (b"chain", b"members", b"studies") else f"hex {key.hex()}"


def parse_txid(text: str) -> bytes:
    """Return a transaction id; raise `UsageError` if it is none."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise UsageError(f"'{text}' is no transaction id; give all 64 hexadecimal digits")
    return bytes.fromhex(text)


def look_for(
    store: LedgerStore, state: State, height: int | None, tx: str | None, study: str | None, number: int | None
) -> Happened | None:
    """Return where a height, a transaction or a round's report is, or None while it is not there."""
    if height is not None:
        here = Happened(height=int(store.tip.height), hash=store.tip.block_hash.hex(), id=None, report=None)
        return here if store.tip.height >= height else None
    if tx is not None:
        place = store.find_transaction(parse_txid(tx))
        return None if place is None else Happened(height=int(place.height), hash=None, id=tx.lower(), report=None)
    if study is None or number is None:
        raise UsageError("wait for one thing: a height, a transaction, or a round of a study")
    report = get_report(state, find_study(state, study), number)
    if report is None:
        return None
    return Happened(height=report.closed_height, hash=None, id=None, report=report_view(report))
