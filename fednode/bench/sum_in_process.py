"""One secure sum of N members in one process: the real sessions over the real ledger rules, without a network.

For `fednode bench secure-sum` and `fednode plan --calibrate`. Every member's work is timed on its own; what the ledger
rules cost is timed once, as every member pays it. Bytes are those a member would send: chunks to their owners, its
messages to every other member. The same vectors are then summed in the plain by the same reduce-scatter.
"""

from __future__ import annotations

import dataclasses
import heapq
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fednode.cli.show import Say
from fednode.codec import encode
from fednode.crypto import Ed25519Signer, Secret, sha256, unseal, x25519_public
from fednode.effects import Compute, ComputeDone, StartTimer, TimerFired
from fednode.errors import Unavailable
from fednode.home.keystore import SystemEntropy
from fednode.ids import Height, MemberId, StudyId
from fednode.learn.algorithms.averaging import Round
from fednode.learn.form import parse_study
from fednode.learn.layout import MODEL_LIMIT, Constant, Tensor
from fednode.learn.measures import QUALITY_PLAN, Metrics, claim_quality
from fednode.learn.merge import PART_VALUES, OpenedSum, next_model
from fednode.learn.units import UNIT
from fednode.ledger import bodies as tx
from fednode.ledger.genesis import GenesisStudy, make_genesis
from fednode.ledger.members.identity import make_identity_card
from fednode.ledger.rules import apply_block
from fednode.ledger.studies.bodies import ProofTerms, Ready, StudyTerms, Weights
from fednode.ledger.studies.records import get_round
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.records import RoundRecord
from fednode.ledger.transactions import Transaction
from fednode.rounds.ledger_view import SnapshotReader, sum_view
from fednode.smpc import jobs
from fednode.smpc import messages as sm
from fednode.smpc.session import Session
from fednode.smpc.vectors import ELEMENT_BYTES, Layout, quantise
from fednode.sums.coin import restore_chain
from fednode.sums.measures import count_words
from fednode.sums.norm import statement_of
from fednode.sums.phase import Phase

COIN_LINKS = 16
"""Links of a member's chain: one round is used in each attempt."""

ROUND = 1
"""Without a round of statistics the first round is number 1."""

PHASE_TIMEOUT_MS = 3_600_000
TRANSACTION_OVERHEAD_BYTES = 100
"""Sender, nonce, height and signature of a transaction, and the frame it travels in."""

CHUNK_OVERHEAD_BYTES = 128
"""Header and frame of a chunk."""

STUDY = parse_study("""
format = 1
name = "bench"
description = "How sums of this size change a model; its length is that of the sum."
[model]
kind = "mlp"
hidden = [1]
[training]
learning_rate = 0.05
momentum = 0.9
batch_size = 1
local_epochs = 1
rounds = 1
clip = 4.0
weights = "hidden"
max_weight = 1023
[data]
missing = "?"
[[data.columns]]
name = "measured"
kind = "number"
low = 0
high = 1
[[data.columns]]
name = "found"
kind = "label"
rule = "> 0"
""")
CLIP = STUDY.clip_q24 / UNIT
MAX_WEIGHT = STUDY.max_weight
PLAN = QUALITY_PLAN
"""Beside its vector a member claims how good the model is, as in every round of training."""


@dataclass(slots=True)
class Member:
    """One member and what it has cost so far: CPU seconds by phase, and bytes sent."""

    number: MemberId
    session: Session
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sent_bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    chunk_bytes: int = 0
    other_bytes: int = 0
    opened: sm.SumOpened | None = None


class SumInProcess:
    """N members who sum one vector each of `length` parameters; `loss` is the share of chunks that get lost."""

    def __init__(self, members: int, length: int, loss: float, seed: int, say: Say) -> None:
        self._say, self._loss, self._random = say, loss, random.Random(seed)
        self._length, self._seed = length, seed
        entropy = SystemEntropy()
        cards = []
        for number in range(members):
            sign, network = (Ed25519Signer(Secret(entropy.random_bytes(32))) for _ in range(2))
            address = f"/ip4/127.0.0.1/tcp/{10_000 + number}"
            cards.append(make_identity_card(f"member {number}", (address,), sign, network))
        terms = StudyTerms(
            rounds=1, has_statistics=False, weights=Weights.HIDDEN, weight_bound=MAX_WEIGHT, start_after_ms=1,
            train_timeout_ms=PHASE_TIMEOUT_MS, phase_timeout_ms=PHASE_TIMEOUT_MS,
            proofs=ProofTerms(length, 0, count_words(PLAN), 0),
        )
        study = GenesisStudy(terms, b"bench of the secure sum")
        genesis = make_genesis("bench", cards, [study], 1)
        self._state = genesis.first_state()
        self._study = StudyId(study.study)
        self._reader = SnapshotReader(self._study)
        self._at = BlockTime(0, 1)
        self._seal = {i: Secret(entropy.random_bytes(32)) for i, _ in genesis.numbered}
        everyone = tuple(self._seal)
        self._chains = {
            number: restore_chain(sha256(b"coin", secret.reveal()), COIN_LINKS)
            for number, secret in self._seal.items()
        }
        self._members, next_key = {}, x25519_public(Secret(entropy.random_bytes(32)))  # no round follows
        for number, secret in self._seal.items():
            params = sm.SumParams(
                genesis.chain_id, self._study, ROUND, number, everyone, length, False,
                lambda _: statement_of(length, MAX_WEIGHT, members=members, plan=PLAN), PLAN,
                next_key=next_key,
            )
            session = Session(params, entropy, self._opener(secret), self._chains[number].link)
            self._members[number] = Member(number, session)
        self._tail_bytes = Layout(length, members).tail * ELEMENT_BYTES
        self._nonce = 0
        self._pool: list[tuple[MemberId, tx.Body]] = []
        self._events: deque[tuple[MemberId, sm.Event]] = deque()
        self._timers: list[tuple[int, int, MemberId, sm.SumTimer]] = []
        self._now_ms = self._started = 0
        self._phase = "keys"
        self.rules_cpu_s: dict[str, float] = defaultdict(float)

    @staticmethod
    def _opener(secret: Secret[bytes]) -> Callable[[bytes], bytes]:
        return lambda box: unseal(secret, box)

    @property
    def members(self) -> list[Member]:
        """All members in order."""
        return list(self._members.values())

    @property
    def round(self) -> RoundRecord:
        """The round on the ledger."""
        found = get_round(self._state, self._study)
        if found is None:
            raise Unavailable("the bench's round has closed without a sum; run it again")
        return found

    # --- running ------------------------------------------------------------------------------------------------

    def run(self) -> float:
        """Run until every member has the sum; return the largest error of the mean, relative to the clip."""
        for number, secret in self._seal.items():
            self._pool.append((number, Ready(self._study, x25519_public(secret), self._chains[number].head)))
        self._apply()
        mean = self._train()
        while any(member.opened is None for member in self._members.values()):
            if self._events:
                self._step(*self._events.popleft())
            elif self._pool:
                self._apply()
            elif self._timers:
                self._now_ms, _, number, key = heapq.heappop(self._timers)
                self._events.append((number, TimerFired(key)))
            else:
                raise Unavailable(f"the bench's round stands still in phase {self._phase}; run it again")
        return self._merge(mean)

    def _train(self) -> NDArray[np.float64]:
        """Give every member a vector as long as the clip allows; return the mean they should find."""
        total, weights = np.zeros(self._length), 0
        for number, member in self._members.items():
            values = np.random.default_rng([self._seed, number]).standard_normal(self._length, dtype=np.float32)
            values *= np.float32(CLIP / np.sqrt(float(values @ values)) * 0.999)
            weight = 1 + (37 * number) % MAX_WEIGHT
            total += values.astype(np.float64) * weight
            weights += weight
            begin = time.process_time()
            ring = quantise(
                values, CLIP, weight, MAX_WEIGHT, SystemEntropy(), out=values.view(np.int32)
            ).view(np.uint32)
            member.cpu_s["quantise"] += time.process_time() - begin
            claims = claim_quality(Metrics(100, 50 + number % 50, 1 << 16), None)
            self._events.append((number, sm.InputReady(ring, weight, is_recorded=True, claims=claims)))
        return total / weights

    def _merge(self, mean: NDArray[np.float64]) -> float:
        """Merge the sum into a model as daemons do, part by part; return the largest error of the mean."""
        member = self.members[0]
        opened = member.opened
        assert opened is not None
        if any(other.opened is None or other.opened.digest != opened.digest for other in self._members.values()):
            raise Unavailable("members of the bench opened different sums; this is a bug")
        model = np.full(PART_VALUES, MODEL_LIMIT >> 1, np.int64)
        starts = range(0, self._length, PART_VALUES)
        study = dataclasses.replace(STUDY, layout=(Tensor("values", (self._length,), Constant(0)),))
        count = len(self._members)
        merging = next_model(
            study, lambda stretches: (model[:count] for _, count in stretches),
            OpenedSum(opened.values, opened.weight, Round(ROUND, count, count)),
        )
        apply_cpu_s = error = 0.0
        for start in starts:
            begin = time.process_time()
            merged = next(merging)
            apply_cpu_s += time.process_time() - begin
            found = (merged - model[: merged.size]) / UNIT
            error = max(error, float(np.abs(found - mean[start : start + PART_VALUES]).max()))
        for each in self._members.values():
            each.cpu_s["apply"] += apply_cpu_s
        return error / CLIP

    def _apply(self) -> None:
        """Put everything that was submitted into a block."""
        pool, self._pool = self._pool, []
        signed = []
        for sender, body in pool:
            self._nonce += 1
            signed.append(Transaction(sender, self._nonce, Height(self._at.height + 50), body, bytes(64)))
        self._at = BlockTime(self._at.height + 1, self._at.time_ms + 1, sha256(b"bench", bytes([len(signed) % 256])))
        begin = time.process_time()
        applied = apply_block(self._state, self._at, signed)
        self.rules_cpu_s[self._phase] += time.process_time() - begin
        refused = [receipt.reason for receipt in applied.receipts if not receipt.ok]
        if refused:
            raise Unavailable(f"the ledger refused a message of the bench: {refused[0]}")
        self._state = applied.state
        snapshot = self._reader.read(self._state)
        if snapshot is None or snapshot.round is None:
            return
        view = sum_view(snapshot, snapshot.round)
        phase = Phase(snapshot.round.phase.kind).name.lower()
        if phase != self._phase:
            self._phase = phase
            self._say(f"phase {phase}")
        self._events.extend((number, sm.ViewChanged(view)) for number in self._members)

    def _step(self, number: MemberId, event: sm.Event) -> None:
        member = self._members[number]
        if isinstance(event, sm.ChunkArrived):
            size = len(event.data)
            if not member.session.is_chunk_expected(event.ref, size, event.sender):
                return
        todo = [event]
        while todo:
            begin = time.process_time()
            effects = member.session.handle(todo.pop())
            member.cpu_s[self._phase] += time.process_time() - begin
            todo += [self._compute(member, effect) for effect in effects if isinstance(effect, Compute)]
            for effect in effects:
                self._perform(member, effect)

    def _compute(self, member: Member, effect: Compute[jobs.Result]) -> ComputeDone[jobs.Result]:
        """Do the work of a job on the member's account."""
        begin = time.process_time()
        result = effect.job.run()
        member.cpu_s[self._phase] += time.process_time() - begin
        return ComputeDone(effect.number, result)

    def _perform(self, member: Member, effect: sm.Effect) -> None:
        before = member.chunk_bytes + member.other_bytes
        self._do(member, effect)
        member.sent_bytes[self._phase] += member.chunk_bytes + member.other_bytes - before

    def _do(self, member: Member, effect: sm.Effect) -> None:
        match effect:
            case sm.Submit(body):
                others = len(self._members) - 1
                member.other_bytes += others * (len(encode(body, tx.Body)) + TRANSACTION_OVERHEAD_BYTES)
                self._pool.append((member.number, body))
            case sm.SendChunk(to, ref, proof, data):
                size = len(data) + len(proof) + CHUNK_OVERHEAD_BYTES
                if ref.lane in (sm.Lane.MASKED, sm.Lane.SUM):
                    vector_bytes = len(data) - self._tail_bytes
                    member.chunk_bytes += vector_bytes
                    member.other_bytes += size - vector_bytes
                else:
                    member.other_bytes += size
                if self._random.random() >= self._loss:
                    self._events.append((to, sm.ChunkArrived(member.number, ref, proof, bytes(data))))
            case sm.WantChunk(to, ref):
                member.other_bytes += CHUNK_OVERHEAD_BYTES
                self._events.append((to, sm.WantArrived(member.number, ref)))
            case StartTimer(key, delay_ms):
                self._started += 1
                heapq.heappush(self._timers, (self._now_ms + delay_ms, self._started, member.number, key))
            case sm.SumOpened():
                member.opened = effect
            case sm.SumFailed(reason):
                raise Unavailable(f"the bench's sum failed: {reason}")


def sum_plainly(members: int, length: int, seed: int) -> tuple[float, int]:
    """Sum the same vectors by reduce-scatter and all-gather, unprotected; return CPU seconds and bytes a member."""
    bounds = [length * k // members for k in range(members + 1)]
    vectors = [
        np.random.default_rng([seed, k]).integers(0, 1 << 32, length, dtype=np.uint32) for k in range(members)
    ]
    begin = time.process_time()
    chunks = []
    for low, high in pairwise(bounds):
        total = vectors[0][low:high].copy()
        for vector in vectors[1:]:
            np.add(total, vector[low:high], out=total)
        chunks.append(total)
    for _ in range(members):
        np.concatenate(chunks)
    cpu_s = (time.process_time() - begin) / members
    return cpu_s, 2 * ELEMENT_BYTES * (length - length // members)
