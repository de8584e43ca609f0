"""Checking an export: everything `verify` checks, and that the records of the state are those of the last block.

Security assumption: as in `verify`, the chain id was compared. An export that begins later than block 1 cannot be run
again; its blocks are tied to the genesis by certificates, its state by the last header's state root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fednode.audit.export import ExportBlock, ExportHead, ExportItem, ExportStep, Opened, StateReader, entry_of
from fednode.audit.verify import MAX_CERTIFICATE_BYTES, ChainEntry, ChainReport, Level, verify_chain
from fednode.chain.block import MAX_EVIDENCE_AGE, Block, Header, check_version, decode_block
from fednode.chain.light import LightBlock, LightRules, TrustedBlock, Verdict, judge, trust_genesis, trust_header
from fednode.chain.state import compute_root
from fednode.chain.vote import Certificate, MemberSet, verify_certificate, verify_evidence
from fednode.codec import decode
from fednode.errors import Rejected, StorageError
from fednode.ids import Hash, Height, MemberId
from fednode.ledger.transactions import MAX_VALIDITY_BLOCKS, decode_transaction, find_sign_key, verify_transaction
from fednode.ledger.versions import VERSIONS

FORWARD_RULES = LightRules(VERSIONS)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What a check of an export found; `is_state_right` is None where the records of the state were not looked at."""

    chain: ChainReport
    is_state_right: bool | None
    items: int

    @property
    def problem(self) -> str:
        """The first thing wrong, or empty."""
        if self.chain.problem or self.is_state_right is not False:
            return self.chain.problem
        return "the records of the state in the export are not those its last block names"


def verify_export(opened: Opened, level: Level, now_ms: int) -> ExportReport:
    """Check an export up to `level`; execution only if it begins with block 1. `now_ms`: UTC of whoever asks."""
    check = _Records(opened)
    if opened.head.first == 1:
        report = verify_chain(check.entries(), opened.genesis, level)
    else:
        report = _verify_range(check, opened, min(level, Level.TRANSACTIONS), now_ms)
    if report.problem or level == Level.STORAGE:
        return ExportReport(report, None, check.items)
    head, last = opened.head, check.last
    if last is not None and last.time_ms >= now_ms + FORWARD_RULES.clock_drift_ms:
        verdicts = tuple((step, held and step == Level.STORAGE) for step, held in report.verdicts)
        problem = f"block {head.last} comes from the future; look at the clock of this machine"
        return ExportReport(replace(report, verdicts=verdicts, problem=problem), None, check.items)
    if report.height != head.last or report.tip_hash != head.last_hash or last is None:
        verdicts = tuple((step, held and step == Level.STORAGE) for step, held in report.verdicts)
        problem = f"the export names block {head.last} as its last, and holds another"
        return ExportReport(replace(report, verdicts=verdicts, problem=problem), None, check.items)
    return ExportReport(report, check.state.compute_root() == last.state_root, check.items)


class _Records:
    """Hands on blocks, and keeps of the other records what is needed later."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.state = StateReader()
        self.steps: list[LightBlock] = []
        self.items = 0
        self.last: Header | None = None

    def blocks(self) -> Iterator[ExportBlock]:
        """Yield the blocks; raise `StorageError` where the file is not in order."""
        last: ExportBlock | None = None
        try:
            for record in self._opened.records:
                if isinstance(record, ExportStep):
                    self.steps.append(record.block)
                elif isinstance(record, ExportItem):
                    self.items += 1
                    self.state.add(record)
                else:
                    last = record
                    yield record
        except Rejected as error:
            raise StorageError(error.reason) from None
        if last is not None:
            self.last = decode_block(last.block).header

    def entries(self) -> Iterator[ChainEntry]:
        """Yield the blocks as `verify_chain` reads them."""
        return map(entry_of, self.blocks())


def _verify_range(check: _Records, opened: Opened, level: Level, now_ms: int) -> ChainReport:
    """Check blocks from the middle of a chain on: each follows from the one before as for a light client."""
    place: _Range | None = None
    failed, problem = Level.STORAGE, ""
    before = Height(opened.head.first - 1)
    try:
        for record in check.blocks():
            if place is None:
                failed = Level.CERTIFICATES
                place = _Range(_walk_steps(check.steps, opened.head, opened, now_ms), level, now_ms)
            failed, problem = place.add(record)
            if problem:
                break
    except StorageError as error:
        failed, problem = Level.STORAGE, str(error)
    except Rejected as error:
        problem = error.reason
    verdicts = tuple((step, not problem or step < failed) for step in Level if step <= level)
    height = before if place is None else place.trusted.height
    tip_hash = Hash(bytes(32)) if place is None else Hash(place.trusted.block_hash)
    return ChainReport(height, tip_hash, None, verdicts, problem)


def _walk_steps(
    steps: list[LightBlock], head: ExportHead, opened: Opened, now_ms: int
) -> tuple[TrustedBlock, MemberSet]:
    """Follow the steps from the genesis; return the block before the first, and who decided it."""
    trusted = trust_genesis(opened.genesis)
    for step in steps:
        found = judge(trusted, step, now_ms, FORWARD_RULES)
        if found.verdict is not Verdict.SUCCESS:
            raise Rejected(f"step to block {step.header.height} does not hold: {found.reason}")
        trusted = trust_header(step.header, step.next_members)
    if trusted.height != head.first - 1:
        raise Rejected(f"the steps of the export end at block {trusted.height}, not before block {head.first}")
    return trusted, steps[-1].members


class _Range:
    def __init__(self, start: tuple[TrustedBlock, MemberSet], level: Level, now_ms: int) -> None:
        self.trusted, self._signed_by = start
        self._level = level
        self._now_ms = now_ms
        self._certificate: Certificate | None = None
        self._nonces: dict[int, int] = {}
        self._offences: set[tuple[Height, MemberId]] = set()

    def add(self, record: ExportBlock) -> tuple[Level, str]:
        """Check the next block; return the level it was checked to, and what is wrong."""
        step = Level.STORAGE
        try:
            block = decode_block(record.block)
            certificate = decode(Certificate, record.certificate, MAX_CERTIFICATE_BYTES)
            members = self.trusted.next_members
            after = members if record.next_members is None else record.next_members
            if record.next_members == members:
                raise Rejected("whoever hands it over names new members, and it changes none")
            step = Level.LINKS
            if block.height != self.trusted.height + 1:
                raise Rejected("it does not follow the block before")
            check_version(block.header.version, block.height, VERSIONS, self.trusted.params_hash)
            step = Level.CERTIFICATES
            light = LightBlock(block.header, certificate, members, after)
            found = judge(self.trusted, light, self._now_ms, FORWARD_RULES)
            if found.verdict is not Verdict.SUCCESS:
                raise Rejected(found.reason)
            self._check_parts(block, members)
            if self._level >= (step := Level.TRANSACTIONS):
                self._check_transactions(block, record.receipts, members)
        except Rejected as error:
            return step, f"block {self.trusted.height + 1} does not hold: {error.reason}"
        self.trusted, self._signed_by, self._certificate = trust_header(block.header, after), members, certificate
        return step, ""

    def _check_parts(self, block: Block, members: MemberSet) -> None:
        parent = block.parent_certificate
        if parent is not None and parent != self._certificate:
            if (parent.height, parent.block_hash) != (self.trusted.height, self.trusted.block_hash):
                raise Rejected("parent certificate of another block")
            verify_certificate(parent, self._signed_by, self.trusted.chain_id)
        if block.header.proposer not in members.positions:
            raise Rejected("block built by a stranger")
        for piece in block.evidence:
            if piece.offence in self._offences or not block.height - MAX_EVIDENCE_AGE < piece.height <= block.height:
                raise Rejected("evidence of an offence that is too old, to come, or on the chain already")
            verify_evidence(piece, members, self.trusted.chain_id)
            self._offences.add(piece.offence)

    def _check_transactions(self, block: Block, receipts: tuple[bytes, ...], members: MemberSet) -> None:
        for data in block.transactions:
            transaction = decode_transaction(data)
            verify_transaction(self.trusted.chain_id, find_sign_key(members.keys, transaction), transaction)
            if transaction.nonce <= self._nonces.get(transaction.sender, 0):
                raise Rejected(f"a nonce of member {transaction.sender} does not grow")
            if not block.height <= transaction.valid_until <= block.height + MAX_VALIDITY_BLOCKS:
                raise Rejected(f"a transaction of member {transaction.sender} is out of its time")
            self._nonces[transaction.sender] = transaction.nonce
        if compute_root(receipts) != block.header.receipts_root:
            raise Rejected("its receipts are not those its header names")
