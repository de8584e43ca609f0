"""Proofs that can be checked far from any node: this transaction, this record, this block is on the chain.

Security assumption: whoever checks a proof has the chain id (which is the hash of the genesis) or a checkpoint from a
source of its own; everything else is in the proof. From the genesis on, each step needs the signatures of a quorum of
the members known so far, whatever the rules given say. That a quorum of those who have left or replaced their keys does
not sign a second history with the old ones is an assumption, which a recent checkpoint or a trusting period replaces.

    header       a certificate leads to it from the genesis or a checkpoint, or its hash is in a checkpoint's log
    transaction  an audit path (RFC 6962) to the header's tx_root, its receipt one to the receipts_root
    state        the whole bucket of the key, and an audit path of the bucket to the state_root: shows that a key has
                 this record, or that it has none
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fednode.chain.block import MAX_TRANSACTION_BYTES, Header, Receipt, check_version, compute_block_hash
from fednode.chain.checkpoint import Checkpoint, Format, LogPath, Path, verify_in_log
from fednode.chain.light import (
    MAX_STEPS,
    LightBlock,
    LightRules,
    TrustedBlock,
    Verdict,
    judge,
    trust_genesis,
    trust_header,
)
from fednode.chain.state import (
    BUCKETS,
    MAX_RECORD_BYTES,
    State,
    bucket_of,
    hash_bucket,
    hash_leaf,
    prove_inclusion,
    verify_inclusion,
)
from fednode.chain.vote import MemberSet
from fednode.codec import U8, U32, Bytes32, Size, decode
from fednode.errors import Rejected
from fednode.ids import MemberId, quorum
from fednode.ledger.genesis import Genesis
from fednode.ledger.transactions import Transaction, decode_transaction
from fednode.ledger.versions import VERSIONS

PROOF_FORMAT = "fednode-proof-1"
MAX_PROOF_BYTES = 64 * 1024 * 1024
"""Largest proof file; a bucket of the state holds a few records, each of at most some hundred kilobytes."""
MAX_RECEIPT_BYTES = 1024

BucketLeaf = tuple[U8, Annotated[bytes, Size(1, 256)], Annotated[bytes, Size(0, MAX_RECORD_BYTES)]]


@dataclass(frozen=True, slots=True)
class Base:
    """The block of a checkpoint: what a proof may start from instead of the genesis."""

    header: Header
    next_members: MemberSet


@dataclass(frozen=True, slots=True)
class Finality:
    """The way from the genesis, or from a checkpoint's block, to the proven block, which is the last step."""

    genesis: Genesis | None
    base: Base | None
    steps: Annotated[tuple[LightBlock, ...], Size(0, MAX_STEPS)]

    def __post_init__(self) -> None:
        if (self.genesis is None) == (self.base is None):
            raise ValueError("starts either from the genesis or from the block of a checkpoint")


@dataclass(frozen=True, slots=True)
class TransactionClaim:
    """A transaction and its receipt, each with its audit path under the header's roots."""

    index: U32
    data: Annotated[bytes, Size(1, MAX_TRANSACTION_BYTES)]
    path: Path
    receipt: Annotated[bytes, Size(1, MAX_RECEIPT_BYTES)]
    receipt_path: Path


@dataclass(frozen=True, slots=True)
class StateClaim:
    """A key, every leaf of its bucket, and the bucket's audit path under the state root."""

    key: Annotated[bytes, Size(1, 256)]
    bucket: Annotated[tuple[BucketLeaf, ...], Size(0, 100_000)]
    path: Path


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim about one block. Without a transaction or a key the claim is the header itself."""

    format: Format
    chain_id: Bytes32
    header: Header
    finality: Finality | None
    log: LogPath | None
    transaction: TransactionClaim | None = None
    state: StateClaim | None = None

    def __post_init__(self) -> None:
        if self.format != PROOF_FORMAT:
            raise ValueError(f"format '{self.format}' is not known")
        if self.transaction is not None and self.state is not None:
            raise ValueError("a proof makes one claim")

    @property
    def kind(self) -> str:
        """What is claimed: header, tx or state."""
        if self.transaction is not None:
            return "tx"
        return "header" if self.state is None else "state"


@dataclass(frozen=True, slots=True)
class Trust:
    """What whoever checks a proof knows by itself; at least one of the two, and each that is given must be met."""

    chain_id: bytes | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof has shown, and by what: `genesis`, `checkpoint` or both.

    `record` is the encoded record under the key of a state proof, None if there is none; `signers` those of the
    certificate, empty where a checkpoint alone vouches for the block.
    """

    proof: Proof
    block_hash: bytes
    anchors: tuple[str, ...]
    signers: tuple[MemberId, ...]
    transaction: Transaction | None = None
    receipt: Receipt | None = None
    record: bytes | None = None


# --- making ----------------------------------------------------------------------------------------------------

def claim_transaction(transactions: Sequence[bytes], receipts: Sequence[bytes], index: int) -> TransactionClaim:
    """Return the claim that transaction `index` of a block with these transactions and receipts is in it."""
    paths = [prove_inclusion([hash_leaf(item) for item in items], index) for items in (transactions, receipts)]
    return TransactionClaim(index, transactions[index], paths[0], receipts[index], paths[1])


def claim_state(state: State, key: bytes) -> StateClaim:
    """Return the claim that `key` has its record, or none, in this state."""
    number = bucket_of(key)
    return StateClaim(key, state.bucket(number), state.bucket_path(number))


# --- checking --------------------------------------------------------------------------------------------------

def verify_proof(proof: Proof, trust: Trust, now_ms: int, rules: LightRules) -> Proven:
    """Return what a proof shows to whoever trusts this much; raise `Rejected` with the first thing that is wrong.

    The trusting period counts for what the steps start from, genesis or checkpoint. It does not count where a
    checkpoint names the block itself or a log that holds it: nobody can sign a second history of what is before it.
    """
    wanted = [trust.chain_id] if trust.chain_id is not None else []
    wanted += [trust.checkpoint.chain_id] if trust.checkpoint is not None else []
    if not wanted:
        raise ValueError("a proof needs something to trust")
    if any(chain_id != proof.chain_id for chain_id in wanted) or proof.header.chain_id != proof.chain_id:
        raise Rejected("the proof is about another chain")
    block_hash = compute_block_hash(proof.header)
    check_version(proof.header.version, proof.header.height, VERSIONS)
    if proof.header.time_ms >= now_ms + rules.clock_drift_ms:
        raise Rejected("the block comes from the future; look at the clock of this machine")
    vouched = _check_log(proof, block_hash, trust.checkpoint) + _check_same(proof.header, block_hash, trust.checkpoint)
    if vouched:
        rules = replace(rules, trusting_period_ms=None)
    anchors, signers = _check_finality(proof, block_hash, trust, now_ms, rules)
    anchors += vouched
    if trust.checkpoint is not None and "checkpoint" not in anchors:
        raise Rejected("the proof does not refer to this checkpoint; make it with --checkpoint")
    if trust.chain_id is not None and not anchors:
        raise Rejected("the proof starts from a checkpoint, not from the genesis; give that checkpoint")
    transaction, receipt = _check_transaction(proof)
    return Proven(
        proof, block_hash, tuple(sorted(set(anchors))), signers, transaction, receipt, _check_state(proof)
    )


def _check_finality(
    proof: Proof, block_hash: bytes, trust: Trust, now_ms: int, rules: LightRules
) -> tuple[list[str], tuple[MemberId, ...]]:
    """Walk the steps; return what they start from, and who signed the proven block."""
    finality = proof.finality
    if finality is None:
        return [], ()
    anchors: list[str] = []
    if finality.genesis is not None:
        if finality.genesis.chain_id != proof.chain_id:
            raise Rejected("the genesis in the proof is not that of its chain")
        trusted, anchors = trust_genesis(finality.genesis), ["genesis"]
        rules = replace(rules, overlap=quorum)
    elif finality.base is not None:
        trusted = trust_header(finality.base.header, finality.base.next_members)
        if trust.checkpoint is None or trusted.block_hash != trust.checkpoint.block_hash:
            raise Rejected("the proof starts from a block that is not the checkpoint's; give the right checkpoint")
        anchors = ["checkpoint"]
    signers: tuple[MemberId, ...] = ()
    for step in finality.steps:
        found = judge(trusted, step, now_ms, rules)
        if found.verdict is not Verdict.SUCCESS:
            raise Rejected(f"block {step.header.height} does not follow from block {trusted.height}: {found.reason}")
        trusted = trust_header(step.header, step.next_members)
        signers = step.certificate.signers(step.members)
    _check_end(trusted, block_hash)
    return anchors, signers


def _check_end(trusted: TrustedBlock, block_hash: bytes) -> None:
    if trusted.block_hash != block_hash:
        raise Rejected("the certificates lead to another block than the one the proof is about")


def _check_same(header: Header, block_hash: bytes, checkpoint: Checkpoint | None) -> list[str]:
    if checkpoint is None or checkpoint.height != header.height:
        return []
    if (checkpoint.block_hash, checkpoint.time_ms) != (block_hash, header.time_ms):
        raise Rejected("the checkpoint names another block of this height: two histories of one chain exist")
    return ["checkpoint"]


def _check_log(proof: Proof, block_hash: bytes, checkpoint: Checkpoint | None) -> list[str]:
    if proof.log is None:
        return []
    verify_in_log(proof.log, proof.header.height, block_hash)
    if checkpoint is None or checkpoint.log_size != proof.log.size:
        return []
    if checkpoint.log_root != proof.log.root:
        raise Rejected("the checkpoint names another log of this size: two histories of one chain exist")
    return ["checkpoint"]


def _check_transaction(proof: Proof) -> tuple[Transaction | None, Receipt | None]:
    """Check both paths, and that the receipt is the transaction's."""
    claim, header = proof.transaction, proof.header
    if claim is None:
        return None, None
    for name, data, path, root in (
        ("transaction", claim.data, claim.path, header.tx_root),
        ("receipt", claim.receipt, claim.receipt_path, header.receipts_root),
    ):
        try:
            verify_inclusion(hash_leaf(data), claim.index, header.tx_count, path, root)
        except Rejected as error:
            raise Rejected(f"the {name} is not in the block: {error.reason}") from None
    transaction = decode_transaction(claim.data)
    receipt = decode(Receipt, claim.receipt, MAX_RECEIPT_BYTES)
    if receipt.txid != transaction.txid:
        raise Rejected("the receipt is that of another transaction")
    return transaction, receipt


def _check_state(proof: Proof) -> bytes | None:
    """Check the bucket; return the record under the key, None if the state has none."""
    claim = proof.state
    if claim is None:
        return None
    keys = [key for _, key, _ in claim.bucket]
    number = bucket_of(claim.key)
    if keys != sorted(set(keys)) or any(bucket_of(key) != number for key in keys):
        raise Rejected("the bucket in the proof is not one: its keys are not sorted, or belong elsewhere")
    try:
        verify_inclusion(hash_bucket(claim.bucket), number, BUCKETS, claim.path, proof.header.state_root)
    except Rejected as error:
        raise Rejected(f"the bucket is not in the state: {error.reason}") from None
    return next((data for _, key, data in claim.bucket if key == claim.key), None)
