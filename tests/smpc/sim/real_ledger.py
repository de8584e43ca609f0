"""The rules of the real ledger, `apply_block`, behind the same face as the model ledger."""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Draft, State
from fednode.codec import encode
from fednode.crypto import sha256
from fednode.errors import Rejected
from fednode.ids import NO_HASH, Height, MemberId, StudyId
from fednode.ledger import bodies as tx
from fednode.ledger.members.reading import CHAIN_KEY, MEMBERS_KEY
from fednode.ledger.members.records import ChainRecord, MemberList, MemberRecord
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.rules import apply_block
from fednode.ledger.studies.bodies import Expire, Outcome, ProofTerms, Result, StudyTerms, Weights
from fednode.ledger.studies.records import (
    STUDIES_KEY,
    ReadyEntry,
    StudyList,
    StudyRecord,
    StudyStatus,
    get_report,
    get_round,
    study_key,
)
from fednode.ledger.studies.round_life import open_round
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.records import CoinHead, Coins, RoundRecord
from fednode.ledger.transactions import Transaction
from fednode.rounds.ledger_view import SnapshotReader, sum_view
from fednode.smpc import messages as m
from fednode.sums.measures import count_words
from fednode.sums.phase import Phase
from tests.smpc.sim.model_ledger import ResultVote


def _terms(params: m.SumParams, timeout_ms: int) -> StudyTerms:
    times = (timeout_ms, timeout_ms, timeout_ms)
    hidden = (1 << params.statement(0).weight_bits) - 1 if not params.has_public_weights else 0
    weights = Weights.PUBLIC if not hidden else Weights.EQUAL if hidden == 1 else Weights.HIDDEN
    bound = hidden or 7
    proofs = ProofTerms(params.length, 0, count_words(params.plan), 0)
    return StudyTerms(9, False, weights, bound, *times, proofs)


class RealLedger:
    """One round by `apply_block`, seen through the mapping the round machine uses."""

    def __init__(
        self, params: m.SumParams, seal_keys: dict[MemberId, bytes], timeout_ms: int,
        pinned: tuple[MemberId, ...] | None = None, heads: dict[MemberId, bytes] | None = None, coins: int = 0,
    ) -> None:
        self.params, self.study = params, StudyId(params.study)
        self.height, self.nonce = 1, 0
        self.refused: list[tuple[MemberId, str]] = []
        self.reader = SnapshotReader(self.study)
        terms = _terms(params, timeout_ms)
        members = tuple(
            MemberRecord(i, f"hospital {i}", sha256(b"sign", bytes([i])), sha256(b"net", bytes([i])), ())
            for i in params.members
        )
        known = heads or {}
        ready = tuple(ReadyEntry(i, seal_keys[i], known[i], 1) for i in params.members)
        chains = Coins(coins, tuple(CoinHead(i, known[i], known[i], 0) for i in params.members))
        study = StudyRecord(
            self.study, terms, 0, 1, StudyStatus.RUNNING, ready=ready, pin=pinned, next_round=params.round,
            coins=chains,
        )
        draft = Draft(State.empty(RECORD_TABLE))
        draft.write(CHAIN_KEY, ChainRecord(params.chain_id, "test", 1, 0))
        draft.write(MEMBERS_KEY, MemberList(members))
        draft.write(STUDIES_KEY, StudyList((self.study,)))
        draft.write(study_key(self.study), study)
        open_round(draft, BlockTime(1, 1), study)
        self.state, _ = draft.freeze()
        self.last_view = self.view()

    @property
    def outcome(self) -> tuple[str, object] | None:
        report = get_report(self.state, self.study, self.params.round)
        if report is None:
            return None
        return ("ok", report.sum_digest) if report.outcome == Outcome.OK else ("failed", report.reason)

    @property
    def voids(self) -> list[str]:
        report = get_report(self.state, self.study, self.params.round)
        return [void.reason for void in (report.voids if report is not None else self._round().voids)]

    @property
    def faulty(self) -> tuple[MemberId, ...]:
        report = get_report(self.state, self.study, self.params.round)
        return report.faulty if report is not None else self._round().faulty

    @property
    def phase(self) -> Phase:
        return Phase(self._round().phase.kind)

    def _round(self) -> RoundRecord:
        current = get_round(self.state, self.study)
        assert current is not None and current.number == self.params.round
        return current

    def apply(self, txs: list[tuple[MemberId, int, object]], expire: bool = False) -> None:
        posts = []
        for sender, attempt, message in txs:
            try:
                body = self._body(attempt, message)
                encode(body)
                posts.append((sender, body))
            except (Rejected, ValueError) as error:  # no node could send it
                self.refused.append((sender, f"{type(message).__name__}: {error}"))
        if expire:
            current = self._round()
            vote = Expire(self.study, current.number, current.attempt.number, current.phase.number)
            posts += [(member, vote) for member in self.params.members[: self.params.threshold]]
        self.height += 1
        signed = []
        for sender, body in posts:
            self.nonce += 1
            signed.append(Transaction(sender, self.nonce, Height(self.height), body, bytes(64)))
        parent = sha256(b"block", self.height.to_bytes(4, "big"))
        applied = apply_block(self.state, BlockTime(self.height, self.height, parent), signed)
        self.state = applied.state
        for (sender, body), receipt in zip(posts, applied.receipts, strict=True):
            if not receipt.ok:
                self.refused.append((sender, f"{type(body).__name__}: {receipt.reason.replace('-', ' ')}"))

    def _body(self, attempt: int, message: object) -> tx.Body:
        if not isinstance(message, ResultVote):
            return message  # type: ignore[return-value]
        place = (self.study, self.params.round, attempt)
        if message.digest is None:
            return Result(*place, Outcome.FAILED, "not opened", NO_HASH, NO_HASH, 0)
        weight = self._round().attempt.weight
        return Result(*place, Outcome.OK, "", message.digest, sha256(message.digest), weight)

    def view(self) -> m.SumView:
        snapshot = self.reader.read(self.state)
        if snapshot is None or snapshot.round is None or snapshot.round.number != self.params.round:
            return self.last_view  # the round has closed
        self.last_view = replace(sum_view(snapshot, snapshot.round))
        return self.last_view
