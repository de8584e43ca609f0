"""Header, block, receipts and version: what the members agree on, and the value that remembers the end of the chain.

Security assumption: SHA-256 is collision resistant. A block's hash covers its header only; transactions, evidence
and the parent's certificate are bound to it through their roots, which `check_form` recomputes.

The view in which a block was decided is not in it: a block proposed again in a later view is the same block.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fednode.chain.state import compute_root
from fednode.chain.vote import Certificate, Evidence, HeightField, Id, Ids, MemberSet, Rota
from fednode.codec import U8, U32, U64, Bytes32, Range, Size, decode, encode, pack
from fednode.crypto import Domain, tagged_hash
from fednode.errors import Rejected
from fednode.ids import NO_HASH, PROTOCOL_VERSION, Hash, Height, MemberId

MAX_TRANSACTION_BYTES = 64 * 1024
MAX_TRANSACTIONS_BYTES = 1024 * 1024
"""Sum of the sizes of a block's transactions."""
MAX_TRANSACTIONS = 16 * 1024
MAX_EVIDENCE = 16
"""Proven double votes in one block; the rest waits for the next."""
MAX_EVIDENCE_AGE = 500
"""Heights after which a double vote is no longer written on the chain, so that a tip need not remember more."""
MAX_BLOCK_BYTES = MAX_TRANSACTIONS_BYTES + 256 * 1024
"""Encoded block: transactions with their length prefixes, a certificate of 256 members, evidence, the header."""

TimeMs = Annotated[int, Range(0, 2**53)]
"""UTC in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fields every member signs through the block hash, in this order.

    `state_root` and `receipts_root` are those *after* executing this block's transactions. `members_hash` names the
    set that decides this block, `next_members_hash` the set of the next height. `version` is that of the rules this
    block was made by, `params_hash` names the version of the next.
    """

    version: U8
    chain_id: Bytes32
    height: HeightField
    time_ms: TimeMs
    parent_hash: Bytes32
    parent_certificate_hash: Bytes32
    tx_root: Bytes32
    receipts_root: Bytes32
    state_root: Bytes32
    members_hash: Bytes32
    next_members_hash: Bytes32
    params_hash: Bytes32
    evidence_root: Bytes32
    proposer: Id
    tx_count: U32


@dataclass(frozen=True)
class Block:
    """A header with everything it commits to. Transactions are canonical bytes; `transaction.py` reads them.

    Hash and encoding are computed once per object.
    """

    header: Header
    transactions: Annotated[
        tuple[Annotated[bytes, Size(1, MAX_TRANSACTION_BYTES)], ...], Size(0, MAX_TRANSACTIONS)
    ]
    evidence: Annotated[tuple[Evidence, ...], Size(0, MAX_EVIDENCE)]
    parent_certificate: Certificate | None

    @cached_property
    def hash(self) -> Hash:
        """The block's name: hash of its header."""
        return compute_block_hash(self.header)

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes."""
        return encode(self)

    @property
    def height(self) -> Height:
        """Height of the block; the first has 1."""
        return self.header.height


def compute_block_hash(header: Header) -> Hash:
    """Return the hash that votes and certificates name a block by."""
    return tagged_hash(Domain.BLOCK, b"header", encode(header))


def decode_block(data: bytes) -> Block:
    """Decode foreign bytes; raise `Rejected` unless they are one well-formed block."""
    block = decode(Block, data, MAX_BLOCK_BYTES)
    check_form(block)
    return block


def compute_evidence_root(evidence: tuple[Evidence, ...]) -> Hash:
    """Return the RFC 6962 root over the encoded pieces of evidence."""
    return compute_root([encode(piece) for piece in evidence])


def check_form(block: Block) -> None:
    """Raise `Rejected` unless the parts of a block are those its header names. Needs no knowledge of the chain."""
    header, certificate = block.header, block.parent_certificate
    if header.tx_count != len(block.transactions):
        raise Rejected("tx_count differs from the number of transactions")
    if sum(map(len, block.transactions)) > MAX_TRANSACTIONS_BYTES:
        raise Rejected("block with too many bytes of transactions")
    if header.tx_root != compute_root(block.transactions):
        raise Rejected("tx_root differs from the transactions")
    if header.evidence_root != compute_evidence_root(block.evidence):
        raise Rejected("evidence_root differs from the evidence")
    offences = [piece.offence for piece in block.evidence]
    if any(left >= right for left, right in itertools.pairwise(offences)):
        raise Rejected("evidence not in ascending order, or twice")
    if (header.height == 1) != (certificate is None):
        raise Rejected("exactly the first block has no parent certificate")
    if header.parent_certificate_hash != (NO_HASH if certificate is None else certificate.hash):
        raise Rejected("parent_certificate_hash differs from the certificate")


@dataclass(frozen=True)
class Tip:
    """The end of the chain: all that consensus must know about the blocks so far.

    Stored with every block. `members` and `rota` are those of the *next* height; `signed_by` and `order` the member
    set and the proposers of the tip's own height, whose certificate the next block carries. The genesis tip has
    height 0, hash `NO_HASH` and the genesis time.
    """

    chain_id: Bytes32
    height: HeightField
    block_hash: Bytes32
    time_ms: TimeMs
    members: MemberSet
    rota: Rota
    signed_by: MemberSet
    order: Ids
    offences: tuple[tuple[HeightField, Id], ...] = ()
    """Double votes of the last `MAX_EVIDENCE_AGE` heights that the chain holds evidence of, ascending."""

    @cached_property
    def next_order(self) -> tuple[MemberId, ...]:
        """Proposers of views 0, 1, 2, ... (modulo n) of the next height."""
        return self.rota.order(self.members, self.chain_id, Height(self.height + 1))

    def proposer(self, view: int) -> MemberId:
        """Return who proposes in `view` of the next height."""
        return self.next_order[view % len(self.next_order)]


def genesis_tip(chain_id: bytes, members: MemberSet, time_ms: int) -> Tip:
    """Return the tip before the first block."""
    return Tip(chain_id, Height(0), NO_HASH, time_ms, members, Rota(), members, members.ids)


def check_evidence(tip: Tip, piece: Evidence) -> None:
    """Raise `Rejected` for evidence that may not be in the block after `tip`. Signatures are not looked at."""
    if not tip.height + 1 - MAX_EVIDENCE_AGE < piece.height <= tip.height + 1:
        raise Rejected("evidence too old, or of a height to come")
    if piece.sender not in tip.members.positions:
        raise Rejected("evidence against a stranger")
    if piece.offence in tip.offences:
        raise Rejected("evidence of an offence that is on the chain")


def check_link(tip: Tip, block: Block) -> None:
    """Raise `Rejected` unless `block` may follow `tip` as far as headers tell.

    Signatures in the parent's certificate and the evidence, and the execution, are checked by others.
    """
    header, certificate = block.header, block.parent_certificate
    if header.chain_id != tip.chain_id:
        raise Rejected("block of another chain")
    if header.height != tip.height + 1 or header.parent_hash != tip.block_hash:
        raise Rejected("block does not follow the tip")
    if header.time_ms <= tip.time_ms:
        raise Rejected("block not later than its parent")
    if header.members_hash != tip.members.hash:
        raise Rejected("members_hash differs from the member set of this height")
    if header.proposer not in tip.members.positions:
        raise Rejected("block built by a stranger")
    if certificate is not None and (certificate.height, certificate.block_hash) != (tip.height, tip.block_hash):
        raise Rejected("parent certificate of another block")
    for piece in block.evidence:
        check_evidence(tip, piece)


def advance(tip: Tip, block: Block, next_members: MemberSet) -> Tip:
    """Return the tip once `block`, which passed `check_link`, is final. `next_members`: the set of the next height."""
    header, certificate = block.header, block.parent_certificate
    if header.next_members_hash != next_members.hash:
        raise Rejected("next_members_hash differs from the member set after this block")
    rota = tip.rota
    if certificate is not None:
        signers = frozenset(certificate.signers(tip.signed_by))
        rota = rota.after(tip.signed_by, signers, certificate.view, tip.order)
    offences = tip.offences
    if offences or block.evidence:
        found = {*offences, *(piece.offence for piece in block.evidence)}
        offences = tuple(sorted(item for item in found if item[0] > header.height + 1 - MAX_EVIDENCE_AGE))
    return Tip(
        tip.chain_id, header.height, block.hash, header.time_ms, next_members, rota, tip.members, tip.next_order,
        offences,
    )


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What executing transactions may depend on besides them and the state: the same on every node."""

    chain_id: Bytes32
    height: HeightField
    time_ms: U64
    proposer: Id
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Execution:
    """Outcome of executing a block's transactions on the state of its parent, by the rules of `version`.

    `is_last`: the next block is of a version that this program does not know, so it must not take part in that one.
    """

    transactions: tuple[bytes, ...]
    receipts_root: Hash
    state_root: Hash
    params_hash: Hash
    next_members: MemberSet
    version: int = PROTOCOL_VERSION
    is_last: bool = False


def context_of(block: Block) -> BlockContext:
    """Return the context in which a finished block's transactions run."""
    header = block.header
    return BlockContext(header.chain_id, header.height, header.time_ms, header.proposer, block.evidence)


def assemble(tip: Tip, context: BlockContext, done: Execution, certificate: Certificate | None) -> Block:
    """Return the block that follows `tip` with this outcome; `certificate` is the tip's (none for the first)."""
    header = Header(
        done.version, tip.chain_id, context.height, context.time_ms, tip.block_hash,
        NO_HASH if certificate is None else certificate.hash, compute_root(done.transactions),
        done.receipts_root, done.state_root, tip.members.hash, done.next_members.hash, done.params_hash,
        compute_evidence_root(context.evidence), context.proposer, len(done.transactions),
    )
    return Block(header, done.transactions, context.evidence, certificate)


def check_outcome(block: Block, done: Execution) -> None:
    """Raise `Rejected` unless executing the block gave the roots its header claims."""
    header = block.header
    if header.state_root != done.state_root:
        raise Rejected("state_root differs from the state after execution")
    if header.receipts_root != done.receipts_root:
        raise Rejected("receipts_root differs from the receipts")
    if header.version != done.version:
        raise Rejected(f"block of protocol version {header.version}, {done.version} is in force at its height")
    if header.params_hash != done.params_hash or header.next_members_hash != done.next_members.hash:
        raise Rejected("parameters or members after execution differ from the header")


# --- receipts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction. `reason` is a code of the application, empty if it was accepted."""

    txid: Bytes32
    ok: bool
    reason: Annotated[str, Size(0, 100)]


def receipts_data(receipts: Sequence[Receipt]) -> tuple[bytes, ...]:
    """Return the canonical bytes of receipts: leaves of the receipts root, and what the store keeps."""
    return tuple(encode(receipt) for receipt in receipts)


# --- the version of the rules -------------------------------------------------------------------------------------
# Security assumption: every member runs a program that applies the same rules to a height. Which version is in force
# at a height is the application's to decide, and every header names it; a node that does not know a version stops
# before the first block of it, so that it neither forks nor stands in the others' way. This is not the version two
# programs agree on when they connect (`ids.PROTOCOL_VERSION`): releases on both sides of an activation talk to each
# other, or nobody could be upgraded while the others run.


def compute_params_hash(version: int) -> Hash:
    """Return what a header names the version of the *next* height by, as `next_members_hash` names its members."""
    return tagged_hash(Domain.BLOCK, b"params", pack((version,)))


def describe_unknown(version: int, height: int, release: str, versions: Collection[int]) -> str:
    """Return, in one sentence, why a program that knows `versions` cannot go on at `height`, and what to install."""
    known = ", ".join(map(str, sorted(versions)))
    return (
        f"the members decided that protocol version {version} is in force from block {height} on, this program knows "
        f"{known}: install fednode {release or 'of the other members'} or later and start it again; nothing is lost"
    )


def check_version(version: int, height: int, versions: Collection[int], params_hash: bytes | None = None) -> None:
    """Raise `Rejected` unless the version of the block at `height` is among those known here.

    `params_hash`: what the header before it names the version by, None where that header is not known.
    """
    if params_hash is not None and compute_params_hash(version) != params_hash:
        raise Rejected(f"version {version} is not the protocol version that the block before names for it")
    if version not in versions:
        raise Rejected(describe_unknown(version, height, "", versions))
