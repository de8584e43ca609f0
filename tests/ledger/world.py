"""A ledger without a network: members with keys, blocks made by hand, and the message an honest member owes.

Dealings are real (Feldman shares, proofs); masked vectors are not needed, the rules never see them. What a member
tells the others outside the ledger is scripted: wrong shares, chunks kept back, sums kept back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from fednode.chain.block import Receipt
from fednode.chain.state import State
from fednode.crypto import GROUP_ORDER, Ed25519Signer, Secret, base_times, prove_knowledge, scalar_bytes, x25519_public
from fednode.ids import Height, MemberId
from fednode.ledger import transactions as tx
from fednode.ledger.bodies import Body
from fednode.ledger.genesis import Genesis, GenesisStudy, make_genesis
from fednode.ledger.rules import Applied, apply_block
from fednode.ledger.studies.bodies import (
    SHARE_UNIT,
    Expire,
    Figure,
    Metrics,
    Outcome,
    ProofTerms,
    Result,
    StudyBegin,
    StudyTerms,
    Weights,
    compute_study_id,
)
from fednode.ledger.studies.records import RoundReport, StudyRecord, get_report, get_round, get_study
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.phases import PendingPhase, pending_phase
from fednode.ledger.sums.records import OpenPhase, RoundKind, RoundRecord
from fednode.sums import bodies
from fednode.sums.attempt import SumContext, key_proof_context
from fednode.sums.phase import Phase
from tests.support.cards import make_cards
from tests.support.seeds import Stream, seed_of

SPEC = b"specification, opaque to the ledger"
WORDS = 3
"""Words of measures that a round opens."""
TERMS = StudyTerms(
    rounds=2, has_statistics=False, weights=Weights.PUBLIC, weight_bound=127,
    start_after_ms=5000, train_timeout_ms=60_000, phase_timeout_ms=5000,
    proofs=ProofTerms(1000, WORDS, WORDS, WORDS),
)
METRICS = Metrics(4, 4 * SHARE_UNIT * 9 // 10, 4, 1 << 18, (Figure("auc", 950_000, 4),))


def make_test_genesis(count: int, *terms: StudyTerms) -> Genesis:
    return make_genesis("test", make_cards(count), [GenesisStudy(t, SPEC) for t in terms], 1000)


@dataclass
class Dealing:
    """The two polynomials a member dealt, lowest coefficient first."""

    a: list[int]
    b: list[int]

    @staticmethod
    def share(coefficients: list[int], at: int) -> bytes:
        return scalar_bytes(sum(c * at**k for k, c in enumerate(coefficients)) % GROUP_ORDER)


def expire_vote(pending: PendingPhase) -> Expire:
    return Expire(pending.study, pending.round, pending.attempt, pending.phase.number)


@dataclass
class MaskedWorld:
    """`wrong_shares`: (dealer, holder); `kept_chunks`: (dealer, owner); `kept_sums`: (owner, member)."""

    size: int = 4
    terms: StudyTerms = TERMS
    wrong_shares: set[tuple[int, int]] = field(default_factory=set)
    kept_chunks: set[tuple[int, int]] = field(default_factory=set)
    kept_sums: set[tuple[int, int]] = field(default_factory=set)
    metrics: Metrics | None = METRICS
    wishes: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.genesis = make_test_genesis(self.size, *([self.terms] if self.size >= 3 else []))
        self.chain_id = self.genesis.chain_id
        self.state: State = self.genesis.first_state()
        self.at = BlockTime(0, 1000)
        self.study = compute_study_id(self.terms, SPEC)
        self.members = [MemberId(i) for i in range(1, self.size + 1)]
        names = {card.sign_key: card.name for card in self.genesis.members}
        self.signers = {
            MemberId(i): Ed25519Signer(Secret(seed_of(names[card.sign_key], "sign")))
            for i, card in enumerate(self.genesis.members, 1)
        }
        self.nonces = count(1)
        self.dealings: dict[tuple[int, int, int], Dealing] = {}
        self.last: Applied | None = None

    # --- reading -------------------------------------------------------------------------------------------------

    @property
    def life(self) -> StudyRecord:
        record = get_study(self.state, self.study)
        assert record is not None
        return record

    @property
    def round(self) -> RoundRecord:
        record = get_round(self.state, self.study)
        assert record is not None, self.life.reason
        return record

    @property
    def is_round_open(self) -> bool:
        return get_round(self.state, self.study) is not None

    @property
    def phase(self) -> OpenPhase:
        pending = pending_phase(self.state, self.study)
        assert pending is not None, self.life.reason
        return pending.phase

    def report(self, number: int) -> RoundReport:
        report = get_report(self.state, self.study, number)
        assert report is not None
        return report

    # --- blocks --------------------------------------------------------------------------------------------------

    def sign(self, member: int, body: Body, nonce: int | None = None) -> tx.Transaction:
        sender = MemberId(member)
        number = next(self.nonces) if nonce is None else nonce
        return tx.sign_transaction(
            self.signers[sender], self.chain_id, sender, number, Height(self.at.height + 100), body
        )

    def next_time(self) -> BlockTime:
        return BlockTime(self.at.height + 1, self.at.time_ms + 100)

    def block(self, *messages: tuple[int, Body]) -> tuple[Receipt, ...]:
        """Apply one block with these messages in this order."""
        transactions = [self.sign(member, body) for member, body in messages]
        self.at = self.next_time()
        self.last = apply_block(self.state, self.at, transactions)
        self.state = self.last.state
        return self.last.receipts

    def post(self, member: int, body: Body) -> Receipt:
        return self.block((member, body))[0]

    def refused(self, member: int, body: Body) -> str:
        """Apply a block that must refuse this message; return the code."""
        before = self.state
        receipt = self.post(member, body)
        assert not receipt.ok, "the rules accepted it"
        assert self.visible(before) == self.visible(self.state)
        return receipt.reason

    def visible(self, state: State) -> RoundRecord | None:
        """The round, as far as only messages change it."""
        return get_round(state, self.study)

    def ready_all(self, *members: int) -> None:
        for member in members or self.members:
            assert self.post(member, self.ready(member)).ok

    def begin_without(self, *missing: int, voters: tuple[int, ...] = ()) -> None:
        """Let q members vote that the study begins without the ones that are missing."""
        chosen = voters or tuple(self.members[: 2 * self.size // 3 + 1])
        self.block(*((voter, StudyBegin(self.study, MemberId(member))) for member in missing for voter in chosen))

    def expire(self, *members: int) -> None:
        """Let members vote that the open phase is over: in member order, q of them if none are named."""
        pending = pending_phase(self.state, self.study)
        assert pending is not None
        voters = members or tuple(self.members[: 2 * self.size // 3 + 1])
        self.block(*((member, expire_vote(pending)) for member in voters))

    def place(self) -> tuple[bytes, int, int]:
        record = self.round
        return self.study, record.number, record.attempt.number

    # --- what an honest member owes ---------------------------------------------------------------------------------

    def dealing(self, member: int) -> Dealing:
        _, number, attempt = self.place()
        key = (number, attempt, member)
        if key not in self.dealings:
            draw = [int.from_bytes(seed_of(key, i), "big") % GROUP_ORDER for i in range(2 * self.round.threshold)]
            self.dealings[key] = Dealing(draw[: self.round.threshold], draw[self.round.threshold :])
        return self.dealings[key]

    def scalar(self, member: int) -> int:
        """The member's dispute key of the attempt."""
        return int.from_bytes(seed_of("dispute", self.place()[1:], member), "big") % GROUP_ORDER

    def keys(self, member: int) -> bodies.Keys:
        study, number, attempt = self.place()
        dealing, dispute = self.dealing(member), self.scalar(member)
        proofs = [
            prove_knowledge(
                scalar,
                key_proof_context(SumContext(self.chain_id, study, number, attempt), member, which),
                Stream(f"{number}.{attempt}.{member}.{which}"),
            )
            for which, scalar in (("a", dealing.a[0]), ("b", dealing.b[0]), ("c", dispute))
        ]
        key_of_next = (number + 1, member)
        sealed = tuple((holder, b"sealed") for holder in self.round.attempt.holders if holder != member)
        return bodies.Keys(
            study, number, attempt, tuple(map(base_times, dealing.a)), tuple(map(base_times, dealing.b)),
            proofs[0], proofs[1], sealed, x25519_public(Secret(seed_of(key_of_next, "seal"))),
            base_times(dispute), proofs[2],
        )

    def acknowledge(self, member: int) -> bodies.Acknowledge:
        dealers = self.round.attempt.dealers
        return bodies.Acknowledge(*self.place(), tuple(d for d in dealers if (d, member) in self.wrong_shares))

    def answer(self, member: int) -> bodies.Answer:
        dealing = self.dealing(member)
        holders = self.round.attempt.complainers(MemberId(member))
        shares = tuple((h, dealing.share(dealing.a, h), dealing.share(dealing.b, h)) for h in holders)
        return bodies.Answer(*self.place(), shares)

    def commit(self, member: int, weight: int = 10) -> bodies.Commit:
        return bodies.Commit(*self.place(), seed_of(self.place(), member), weight)

    def owned(self, member: int) -> tuple[int, ...]:
        return tuple(n for n, chunk in enumerate(self.round.attempt.chunks) if chunk.owner == member)

    def roster(self, member: int) -> bodies.Roster:
        attempt = self.round.attempt
        dealers = [m for m, _, _ in attempt.committed if m not in attempt.left_out and m != member]
        unsettled = [n for n in self.owned(member) if not attempt.chunks[n].is_settled]
        missing = tuple((n, d) for n in unsettled for d in dealers if (d, member) in self.kept_chunks)
        return bodies.Roster(*self.place(), self.phase.step, missing)

    def digest(self, member: int) -> bodies.Digest:
        return bodies.Digest(*self.place(), tuple((n, seed_of(self.place(), "sum", n)) for n in self.owned(member)))

    def sum_ack(self, member: int) -> bodies.SumAck:
        attempt = self.round.attempt
        served = set(attempt.acked)
        missing = tuple(
            n for n, chunk in enumerate(attempt.chunks) if (chunk.owner, member) in self.kept_sums and not served
        )
        return bodies.SumAck(*self.place(), None if missing else attempt.list_digest, missing)

    def reveal(self, member: int) -> bodies.Reveal:
        attempt = self.round.attempt
        if self.phase.kind == Phase.REVEAL2:
            shares = self._shares("b", [d for d in attempt.silent_b if d != member], member)
            own = scalar_bytes(self.dealing(member).b[0]) if member in attempt.silent_b else None
            return bodies.Reveal(*self.place(), own, (), shares)
        own = scalar_bytes(self.dealing(member).b[0]) if member in attempt.included else None
        return bodies.Reveal(
            *self.place(), own, self._shares("a", [d for d in attempt.dropped if d != member], member)
        )

    def _shares(self, which: str, dealers: list[MemberId], holder: int) -> tuple[tuple[MemberId, bytes], ...]:
        return tuple((d, Dealing.share(getattr(self.dealing(d), which), holder)) for d in dealers)

    def result(self, member: int, **changes: object) -> Result:
        record = self.round
        is_closing = record.kind == RoundKind.CLOSING
        model = record.start_model if is_closing else seed_of("model", record.number)
        fields: dict[str, object] = {
            "outcome": Outcome.OK, "reason": "", "sum_digest": seed_of("sum", record.number), "model_hash": model,
            "weight": record.attempt.weight, "metrics": self.metrics, "wants_stop": member in self.wishes,
        }
        return Result(*self.place(), **(fields | changes))  # type: ignore[arg-type]

    def owed(self, member: int) -> Body | None:
        """Return what an honest member posts in the open phase; None if it owes nothing (any more)."""
        if not self.is_round_open:
            return None
        record, attempt = self.round, self.round.attempt
        phase = Phase(record.phase.kind)
        if phase == Phase.SUMACK:
            reported = any(m == member for m, _ in attempt.sum_missing)
            body = self.sum_ack(member) if member in attempt.present and member not in attempt.acked else None
            return None if body is None or (reported and body.missing) else body
        if member in record.phase.posted:
            return None
        parts = {
            Phase.KEYS: (attempt.holders, self.keys),
            Phase.ACK: (attempt.dealers, self.acknowledge),
            Phase.ANSWER: (record.phase.expected, self.answer),
            Phase.COMMIT: (attempt.qualified, self.commit),
            Phase.ROSTER: ([c.owner for c in attempt.chunks if not c.is_settled], self.roster),
            Phase.DIGEST: ([c.owner for c in attempt.chunks], self.digest),
            Phase.REVEAL: (attempt.present, self.reveal),
            Phase.REVEAL2: (attempt.present, self.reveal),
            Phase.RESULT: (attempt.present, self.result),
        }
        takers, make = parts[phase]
        if member not in takers:
            return None
        body = make(member)
        if isinstance(body, bodies.Reveal) and body.own_b is None and not body.a_shares and not body.b_shares:
            return None
        return body

    def go(self, *absent: int) -> None:
        """Let every member but `absent` post what it owes, each in a block of its own, until the phase changes."""
        number = self.phase.number
        for member in self.members:
            if member not in absent and self.is_round_open and self.phase.number == number:
                body = self.owed(member)
                if body is not None:
                    receipt = self.post(member, body)
                    assert receipt.ok, (member, Phase(self.phase.kind), receipt.reason)

    def go_without(self, *absent: int) -> None:
        """Let every member but `absent` post what it owes, and the phase run out."""
        self.go(*absent)
        self.expire()

    def go_to(self, phase: Phase, *absent: int) -> None:
        """Play honestly without `absent` until a phase of this kind opens; what they hold up expires."""
        for _ in range(100):
            if self.is_round_open and self.phase.kind == phase:
                return
            number = self.phase.number
            self.go(*absent)
            if pending_phase(self.state, self.study) is not None and self.phase.number == number:
                self.expire()
        raise AssertionError(f"{phase.name} never opened")

    def finish_round(self, *absent: int) -> RoundReport:
        """Play the open round to its end; return its report."""
        number = self.round.number
        for _ in range(200):
            if not self.is_round_open or self.round.number != number:
                return self.report(number)
            before = self.phase.number
            self.go(*absent)
            if self.is_round_open and self.phase.number == before:
                self.expire()
        raise AssertionError("the round never ended")
