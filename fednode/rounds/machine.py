"""One study at one member: join, train, sum, conclude, rejoin; as a pure machine.

Security assumption: who takes part, when a phase ends and which result counts is read from the ledger alone. A member
trains only on what its own data check allowed, contributes one vector per round, and votes for a result only if it
computed it itself. A trained update is used in its own round and nowhere else.

Level triggered like the secure sum below it: `_advance` compares the ledger with what is under way and starts what is
missing, so the first run, a restart in the middle of a round and a late return are the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import assert_never

from fednode.effects import Asked, Compute, ComputeDone, Note, TimerFired
from fednode.errors import StorageError
from fednode.ids import NO_HASH, Hash, MemberId
from fednode.learn import jobs as work
from fednode.learn.model_file import StoredModel
from fednode.learn.study import weight_of
from fednode.ledger.studies.bodies import Outcome, Ready, Result
from fednode.ledger.sums.records import RoundKind, RoundRecord
from fednode.rounds import events as ev
from fednode.rounds.jobs import Conclude, Conclusion, DeriveChain, MadeInput, MakeInput, NoInput, sum_params
from fednode.rounds.jobs import Result as JobResult
from fednode.rounds.ledger_view import Snapshot, kind_of, may_join, owes_result, sum_view
from fednode.rounds.place import LoadOwn, NoOwn, OwnLoaded, Place, RoundKeys, read_key
from fednode.rounds.votes import RoundClock, Wish
from fednode.smpc import messages as sm
from fednode.smpc.record import Input, input_parts
from fednode.smpc.session import Session
from fednode.sums.coin import Chain


@dataclass(slots=True)
class Current:
    """What is under way for the round the ledger is in. `input_number` is the work or job that makes the vector,
    `own_number` the job that reads what this hospital keeps of its own, `own` what it has read."""

    number: int
    kind: RoundKind
    params: sm.SumParams | None
    session: Session | None
    start_model: bytes = NO_HASH
    input_number: int | None = None
    own_number: int | None = None
    own: bytes | None = field(default=None, repr=False)
    train_rows: int = 0
    opened: sm.SumOpened | None = None
    concluding: int | None = None
    result: Result | None = None
    seen_phase: int = -1


MAX_WORK_FAILURES = 3
"""Rounds in a row in which the worker fails before this member stops announcing itself: it costs the others a timeout
each time, and a restart after the cause is mended starts the count again."""


class StudyMachine:
    """The rounds of one study for one member. One thread at a time; never blocks."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = RoundClock(place.study, place.me, place.holds_message)
        self._snapshot: Snapshot | None = None
        self._current: Current | None = None
        self._next_number = 0
        self._model: StoredModel | None = None
        self._wanted_model: Hash | None = None
        self._forgotten = -1
        self._check_number: int | None = None
        self._chain: Chain | None = None
        self._chain_number: int | None = None
        self._concluding: int | None = None
        self._work_failures = 0
        self._working: set[int] = set()
        self._keys = RoundKeys(place.entropy, place.load_record)
        self._wish = Wish(place.spec.stop)
        self.data_check: work.DataChecked | None = None
        self.problem: str | None = None

    def handle(self, event: ev.Event) -> list[ev.Effect]:
        """Take one event and return what to do, in order."""
        match event:
            case ev.LedgerChanged(snapshot):
                self._snapshot = snapshot
                clock = self._clock.on_ledger(snapshot)
                return self._advance() + clock  # what has closed is deleted before anything else
            case TimerFired(key):
                return self._clock.on_timer(key)
            case ev.MembersGone(members):
                return self._clock.on_gone(members)
            case ev.DataChanged(data):
                self._place = replace(self._place, data=data)
                self.data_check, self._work_failures, self.problem = None, 0, None
                return self._advance()
            case ev.WorkDone(number, answer):
                return self._on_work(number, answer)
            case ev.ModelLoaded(hash_, model):
                if hash_ == self._wanted_model:
                    self._model, self._wanted_model = model, None
                return self._advance()
            case ComputeDone(number, result):
                return self._on_computed(number, result)
            case ev.SumHappened(round_number, inner):
                if self._current is None or self._current.session is None or self._current.number != round_number:
                    return []
                return self._perform(self._current, self._current.session.handle(inner))
            case _:
                assert_never(event)

    @property
    def data(self) -> work.DataAt | None:
        """This hospital's table for the study, if it has one."""
        return self._place.data

    @property
    def needs_worker(self) -> bool:
        """Whether this hospital will have work for the study."""
        return self.data is not None and self._snapshot is not None and self._snapshot.record.is_active

    @property
    def refusal(self) -> str | None:
        """Why people have to allow first that the data set enters the statistics of a second study, or None."""
        is_due = self._snapshot is not None and self._snapshot.owes_statistics
        return self._place.refuses_statistics() if is_due else None

    @property
    def current_round(self) -> int | None:
        """The round the ledger is in, as far as this machine has followed."""
        return None if self._current is None else self._current.number

    def is_chunk_expected(self, round_number: int, ref: sm.ChunkRef, size_bytes: int, sender: MemberId) -> bool:
        """Whether to read a chunk of this study from the network at all."""
        current = self._current
        if current is None or current.session is None or current.number != round_number:
            return False
        return current.session.is_chunk_expected(ref, size_bytes, sender)

    # --- what is owed -------------------------------------------------------------------------------------------

    def _advance(self) -> list[ev.Effect]:
        if self._snapshot is None:
            return []
        effects = self._follow_round(self._snapshot) + self._fetch_model(self._snapshot)
        effects += self._join(self._snapshot)
        current, ledger_round = self._current, self._snapshot.round
        if current is None or ledger_round is None or current.session is None:
            return effects
        effects += self._make_input(current, ledger_round)
        if current.seen_phase != self._phase_stamp(ledger_round):
            current.seen_phase = self._phase_stamp(ledger_round)
            view = sum_view(self._snapshot, ledger_round)
            effects += self._perform(current, current.session.handle(sm.ViewChanged(view)))
        return effects + self._conclude(current, ledger_round) + self._vote(current, ledger_round)

    @staticmethod
    def _phase_stamp(ledger_round: RoundRecord) -> int:
        """Return a value that changes whenever the secure sum has something new to look at."""
        return hash((ledger_round.phase, ledger_round.attempt))

    def _follow_round(self, snapshot: Snapshot) -> list[ev.Effect]:
        """Start or end the session when the ledger opens or closes a round."""
        ledger_round = snapshot.round
        coming = ledger_round.number if ledger_round is not None else snapshot.record.next_round
        closed = ev.LAST_ROUND if snapshot.record.has_ended else coming - 1
        effects: list[ev.Effect] = []
        if self._current is not None and self._current.number <= closed:
            self._current = None
        if closed > self._forgotten:
            self._forgotten = closed
            self._keys.forget(closed)
            effects.append(ev.ForgetRound(closed))
        if ledger_round is not None and self._current is None:
            self._current, notes = self._open(ledger_round)
            effects += notes
        return effects

    def _open(self, ledger_round: RoundRecord) -> tuple[Current, list[ev.Effect]]:
        kind, place = kind_of(ledger_round), self._place
        current = Current(ledger_round.number, kind, None, None, ledger_round.start_model)
        if place.me not in ledger_round.expected or place.data is None:
            return current, []
        spec, number = place.spec, ledger_round.number
        where = (place.chain_id, place.study, number, place.me)
        effects: list[ev.Effect] = []
        try:
            parts = place.load_record(number)
            key = read_key(parts)
            if key is None or (place.me, key.public) not in ledger_round.seal_keys:
                text = f"round {number} was opened for a key that this hospital does not have; it sits the round out"
                return current, [Note(text, False)]
            coming, kept = self._keys.prepare(number + 1)
            effects += self._of_sum(number + 1, kept)
            params = current.params = sum_params(spec, kind, where, ledger_round.members, coming.public)
            current.session = Session.restore(params, parts, place.entropy, key.unseal, self._coin_link)
        except StorageError as error:
            self.problem = str(error)
            effects.append(Note(f"round {number}: {error}; silent in this round", True))
        return current, effects

    def _fetch_model(self, snapshot: Snapshot) -> list[ev.Effect]:
        """Ask for the study's current model unless it is at hand: every member ends with the model."""
        wanted = Hash(snapshot.record.model_hash)
        if wanted in (NO_HASH, self._wanted_model, self._model and self._model.hash) or self._concluding is not None:
            return []  # what is being concluded is most likely this model
        self._wanted_model = wanted
        return [ev.NeedModel(wanted)]

    def _join(self, snapshot: Snapshot) -> list[ev.Effect]:
        """Check the data once, then announce this member as long as the next round would open without it.

        Said again after every block until the ledger has it, like everything that is owed: what is on its way is not
        sent twice, and what was signed for a height long past (by a node that had just come back) is not lost for good.
        """
        record, place = snapshot.record, self._place
        if place.data is None or not may_join(record, place.me) or self._work_failures >= MAX_WORK_FAILURES:
            return []
        if self._keys.is_announced(snapshot, place.me) or self._working:
            return []  # whoever is still busy with an earlier round would only keep the next one waiting
        if self.data_check is None:
            self._check_number = self._number()
            return [self._start_work(self._check_number, work.CheckData(place.spec, place.data))]
        is_welcome = self.data_check.is_ok and self.refusal is None
        return self._announce(place, snapshot.next_round) if is_welcome else []

    def _announce(self, place: Place, coming: int) -> list[ev.Effect]:
        if self._chain is not None:
            key, kept = self._keys.prepare(coming)
            ready = Ready(place.study, key.public, self._chain.head)
            return [*self._of_sum(coming, kept), ev.Submit(ready)]
        if self._chain_number is not None:
            return []  # under way
        self._chain_number = self._number()
        return [Compute(self._chain_number, DeriveChain(place.load_chain))]

    def _coin_link(self, index: int) -> bytes:
        """Return a link of this member's chain; who was started anew in the middle of a round derives it here."""
        if self._chain is None:
            self._chain = self._place.load_chain()
        return self._chain.link(index)

    def _start_work(self, number: int, job: work.Job) -> ev.Effect:
        self._working.add(number)
        return ev.StartWork(number, job)

    def _make_input(self, current: Current, ledger_round: RoundRecord) -> list[ev.Effect]:
        """Give the worker this round's job, once, when the model it starts from is at hand."""
        place, session = self._place, current.session
        if session is None or session.has_input or current.input_number is not None or place.data is None:
            return []
        if current.kind is RoundKind.STATISTICS:
            place.enter_statistics()
            job: work.Job = work.ComputeStatistics(place.spec, place.data)
        else:
            start = self._model
            if start is None or start.hash != ledger_round.start_model:
                return []
            model = work.ModelAt(start.path, start.hash)
            if current.kind is RoundKind.CLOSING:
                job = work.Evaluate(place.spec, start.scaling, model, place.data)
            elif (own := self._own_state(current)) is None:
                return self._load_own(current)
            else:
                job = work.Train(
                    place.spec, place.study, current.number, place.me, start.scaling, model, place.data, own
                )
        current.input_number = self._number()
        return [self._start_work(current.input_number, job)]

    def _own_state(self, current: Current) -> bytes | None:
        """Return what training starts from of this hospital's own, None before it is at hand."""
        return current.own if self._place.spec.algorithm.keeps_own else b""

    def _load_own(self, current: Current) -> list[ev.Effect]:
        if current.own_number is not None or self._snapshot is None:
            return []
        states = self._place.own_states
        assert states is not None, "whoever runs an algorithm that keeps something says where"
        current.own_number = self._number()
        find_report = self._snapshot.find_report
        return [Compute(current.own_number, LoadOwn(states, current.number, self._place.me, find_report))]

    def _keep_own(self, number: int, own: bytes) -> None:
        """Keep what a round has made of this hospital's own state; called from a thread."""
        if self._place.own_states is not None:
            self._place.own_states.keep(number, own)

    def _conclude(self, current: Current, ledger_round: RoundRecord) -> list[ev.Effect]:
        """Draw the conclusion once the sum is open and the model the round began with is at hand."""
        opened = current.opened
        if opened is None or current.concluding is not None or current.result is not None:
            return []
        start = self._model if current.kind is not RoundKind.STATISTICS else None
        if current.kind is not RoundKind.STATISTICS and (start is None or start.hash != ledger_round.start_model):
            return []
        current.concluding = self._concluding = self._number()
        job = Conclude(
            self._place.spec, self._place.study, current.number, current.kind, start, opened.values, opened.words,
            opened.weight, len(ledger_round.attempt.included), len(ledger_round.members),
            opened.salt, self._place.new_draft,
        )
        return [Compute(current.concluding, job)]

    def _vote(self, current: Current, ledger_round: RoundRecord) -> list[ev.Effect]:
        if current.result is None or not owes_result(ledger_round, self._place.me):
            return []
        return [ev.Submit(current.result)]

    # --- answers ------------------------------------------------------------------------------------------------

    def _on_work(self, number: int, answer: work.Answer) -> list[ev.Effect]:
        self._working.discard(number)
        if number == self._check_number:
            return self._on_data_checked(answer)
        current = self._current
        if current is None or number != current.input_number or current.session is None:
            return self._on_failed_work("the worker took longer than the round waited; raise train_timeout_s") + (
                self._advance()
            )
        assert current.params is not None, "it came with the session"
        place, keep = self._place, partial(self._keep_input, current.params)
        match answer:
            case work.StatisticsComputed(claims):
                job = MakeInput(place.spec, current.kind, 1, None, claims, place.entropy, keep)
            case work.Evaluated(_, claims):
                job = MakeInput(place.spec, current.kind, 1, None, claims, place.entropy, keep)
            case work.Trained() as trained:
                current.train_rows = trained.train_rows
                weight = weight_of(place.spec, trained.train_rows)
                job = MakeInput(
                    place.spec, current.kind, weight, trained.delta, trained.claims, place.entropy, keep,
                    trained.own if place.spec.algorithm.keeps_own else None, partial(self._keep_own, current.number),
                )
            case _:
                text = answer.text if isinstance(answer, work.Failed) else f"unexpected {type(answer).__name__}"
                return self._on_failed_work(f"round {current.number}: the worker failed: {text}")
        current.input_number = self._number()
        return [Compute(current.input_number, job)]

    def _keep_input(self, params: sm.SumParams, own: Input) -> None:
        """Put this round's vector and claims on record; called from a thread."""
        self._place.keep_input(params.round, input_parts(params, own))

    def _on_data_checked(self, answer: work.Answer) -> list[ev.Effect]:
        if not isinstance(answer, work.DataChecked):
            text = answer.text if isinstance(answer, work.Failed) else type(answer).__name__
            return self._on_failed_work(f"the data could not be checked: {text}")
        self.data_check, self._work_failures, self.problem = answer, 0, None
        if not answer.is_ok:
            self.problem = f"the data do not fit the study: {answer.complaint}; a changed file is looked at again"
            return [Note(self.problem, True)]
        return self._advance()

    def _on_failed_work(self, text: str) -> list[ev.Effect]:
        self._work_failures += 1
        is_last = self._work_failures >= MAX_WORK_FAILURES
        self.problem = f"{text}; mend it: a changed table is seen, else start the daemon again" if is_last else text
        return [Note(self.problem, True)]

    def _on_computed(self, number: int, result: JobResult) -> list[ev.Effect]:
        if number == self._chain_number and isinstance(result, Chain):
            self._chain = result
            return self._advance()
        current = self._current
        if number == self._concluding and isinstance(result, Conclusion):
            return self._on_conclusion(current, number, result)
        if current is None or current.session is None:
            return []
        if number == current.own_number and isinstance(result, OwnLoaded):
            current.own = result.state
            return self._advance()
        if number in (current.input_number, current.own_number) and isinstance(result, NoInput | NoOwn):
            return self._on_failed_work(f"round {current.number}: {result.reason}")
        if number == current.input_number and isinstance(result, MadeInput):
            self._work_failures, self.problem = 0, None
            weight = 1
            if current.kind is RoundKind.TRAINING:
                weight = weight_of(self._place.spec, current.train_rows)
                self._wish.note(current.start_model, result.claims)
            ready = sm.InputReady(result.values, weight, True, result.claims)
            return self._perform(current, current.session.handle(ready))
        return []

    def _on_conclusion(self, current: Current | None, number: int, found: Conclusion) -> list[ev.Effect]:
        self._concluding = None
        kept: list[ev.Effect] = [] if found.draft is None else [ev.StoreModel(found.model_hash, found.draft)]
        ledger_round = self._snapshot.round if self._snapshot is not None else None
        if current is None or current.concluding != number or ledger_round is None or current.opened is None:
            is_current = self._snapshot is not None and found.model_hash == self._snapshot.record.model_hash
            return (kept if is_current else []) + self._advance()  # the others were faster, and this is their model
        opened = current.opened
        if found.failure:
            current.result = self._failed(current, ledger_round, found.failure, opened.digest)
            return self._vote(current, ledger_round)
        current.result = Result(
            self._place.study, current.number, ledger_round.attempt.number, Outcome.OK, "", opened.digest,
            found.model_hash, ledger_round.attempt.weight, found.metrics,
            current.kind is RoundKind.TRAINING and self._wish.wants_stop,
        )
        return kept + self._vote(current, ledger_round)

    def _failed(self, current: Current, ledger_round: RoundRecord, reason: str, digest: bytes) -> Result:
        attempt = ledger_round.attempt.number
        place = (self._place.study, current.number, attempt)
        return Result(*place, Outcome.FAILED, reason[:100], digest, NO_HASH, 0, None)

    def _perform(self, current: Current, effects: list[sm.Effect]) -> list[ev.Effect]:
        """Translate what the secure sum asks for; what it opened is concluded here."""
        out: list[ev.Effect] = []
        for effect in effects:
            match effect:
                case sm.Submit(message):
                    out.append(ev.Submit(message))
                case sm.SumOpened():
                    current.opened = effect
                    if self._snapshot is not None and self._snapshot.round is not None:
                        out += self._conclude(current, self._snapshot.round)
                case sm.SumFailed(reason):
                    if self._snapshot is not None and self._snapshot.round is not None:
                        current.result = self._failed(current, self._snapshot.round, reason, NO_HASH)
                        out += self._vote(current, self._snapshot.round)
                case Note(text):
                    out.append(Note(f"round {current.number}: {text}"))
                case _:
                    out += self._of_sum(current.number, [effect])
        return out

    def _of_sum(self, round_number: int, effects: Sequence[ev.SumEffect]) -> list[ev.Effect]:
        """Put the address of a round's sum on what is asked for on its behalf."""
        return [Asked(ev.OfSum(self._place.study, round_number), effect) for effect in effects]

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number
