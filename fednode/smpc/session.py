"""One round's secure sum as a machine: what the ledger says goes in, what this member owes comes out.

Security assumption: views are final ledger state; `entropy` is unpredictable; a `Persist` is durable before any later
effect is done. Then, whatever the network and f members do, this member never masks two vectors under the same keys,
never lets a chunk leave before its root is final, answers at most f complaints, and opens only what the one
unmasking of the round names (`opening`). If its record is lost or contradicts the ledger it stays silent.

The machine is level triggered: `_advance` looks at the view and the record and does what is owed and not done. The
same code serves the first run, a restart and a retry. Nothing here reads a clock: deadlines are the ledger's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from fednode.crypto import Entropy, is_point_valid
from fednode.effects import ComputeDone, Note, TimerFired
from fednode.ids import MemberId
from fednode.smpc import jobs, proving, recheck_jobs, record, vectors
from fednode.smpc.binding import Boxes, Checks, CoinLink, Wait
from fednode.smpc.dealing import Unseal, acknowledge, answer_shares, deal_keys, open_shares
from fednode.smpc.messages import (
    ChunkArrived,
    ChunkRef,
    Effect,
    Event,
    InputReady,
    Jobs,
    Lane,
    Pace,
    PeerUp,
    Running,
    SumFailed,
    SumOpened,
    SumParams,
    SumTimer,
    SumView,
    Timer,
    ViewChanged,
    WantArrived,
    Work,
)
from fednode.smpc.opening import Unsafe, collect_openings, first_reveal, refuse_unsafe, second_reveal
from fednode.smpc.recheck import Recheck
from fednode.smpc.record import AttemptRecord, Committed, Input, Opening, SharesRecord
from fednode.smpc.summing import Exchange, Summing
from fednode.sums import bodies
from fednode.sums.measures import find_impossible
from fednode.sums.phase import Phase


class Session:
    """The secure sum of one round for one member. One thread at a time; never blocks."""

    def __init__(self, params: SumParams, entropy: Entropy, unseal: Unseal, coin_link: CoinLink) -> None:
        self._params = params
        self._entropy = entropy
        self._unseal = unseal
        self._coin_link = coin_link
        self._answered: SharesRecord | None = None
        self._record: AttemptRecord | None = None
        self._input: Input | None = None
        self._silent: str | None = None
        self._view: SumView | None = None
        self._jobs = Jobs()
        self._reset(0)

    @classmethod
    def restore(
        cls, params: SumParams, parts: record.RecordParts, entropy: Entropy, unseal: Unseal,
        coin_link: CoinLink,
    ) -> Session:
        """Continue from the parts of the record found on disk; raise `StorageError` if they are damaged or foreign."""
        session = cls(params, entropy, unseal, coin_link)
        session._record = record.restore_state(params, parts)
        session._input = record.restore_input(params, parts)
        session._answered = record.restore_shares(params, parts)
        return session

    def _reset(self, attempt: int) -> None:
        self._exchange = Exchange(self._params, attempt)
        self._jobs.forget()
        self._pace = Pace()
        self._summing = Summing(self._params, self._exchange, self._pace, self._jobs)
        self._checks = Checks(
            self._params, attempt, self._unseal, self._coin_link, self._pace, self._jobs, self._summing, self._answered
        )
        self._attempt = attempt
        self._rechecking: Recheck | None = None
        self._masked: jobs.MaskedInput | None = None
        self._is_opened = False

    @property
    def _recheck(self) -> Recheck:
        """Made when RECHECK opens: in most rounds it does not."""
        if self._rechecking is None:
            self._rechecking = Recheck(self._params, self._attempt, self._exchange, self._pace, self._jobs)
        return self._rechecking

    @property
    def has_input(self) -> bool:
        """Whether this round's vector is fixed; another one is ignored."""
        return self._input is not None

    @property
    def silent_reason(self) -> str | None:
        """Why this member says nothing more in this round, or None."""
        return self._silent

    def is_chunk_expected(self, ref: ChunkRef, size_bytes: int, sender: MemberId) -> bool:
        """Whether to read a chunk from the network: right attempt, size and sender, of use, not at hand."""
        if self._view is None or self._silent is not None:
            return False
        return self._lane(self._view, ref).is_expected(self._view, ref, size_bytes, sender)

    def _lane(self, view: SumView, ref: ChunkRef) -> Boxes | Recheck | Exchange:
        if ref.lane == Lane.SHARES:
            return self._checks.boxes
        return self._recheck if view.phase is Phase.RECHECK else self._exchange

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and return what to do, in order."""
        if self._silent is not None:
            return []
        try:
            return self._handle(event)
        except Unsafe as unsafe:
            return self._fall_silent(str(unsafe))

    def _handle(self, event: Event) -> list[Effect]:
        match event:
            case ViewChanged():
                return self._on_view(event.view)
            case InputReady():
                return self._on_input(event)
            case ChunkArrived():
                return self._on_chunk(event)
            case WantArrived():
                return self._on_want(event)
            case TimerFired():
                return self._on_timer(event.key)
            case ComputeDone():
                return self._on_result(event)
            case PeerUp():
                return self._wants(event.member)
            case _:
                assert_never(event)

    # --- events -------------------------------------------------------------------------------------------------

    def _on_view(self, view: SumView) -> list[Effect]:
        known = max(self._view.number if self._view else 0, self._record.attempt if self._record else 0)
        if view.number < known:
            return [Note(f"attempt {view.number} is older than what is on record; waiting for the ledger")]
        if self._view is None or view.number != self._view.number:
            self._reset(view.number)
        self._view = view
        has_input, answered = self._input is not None, self._checks.answered
        contradiction = record.find_contradiction(self._params, view, self._record, has_input, answered)
        if contradiction is not None:
            return self._fall_silent(contradiction)
        return self._exchange.recheck(view) + self._checks.boxes.recheck(view) + self._advance()

    def _on_want(self, event: WantArrived) -> list[Effect]:
        view, mine = self._view, self._record
        if view is None:
            return []
        effects = self._lane(view, event.ref).serve(view, event.sender, event.ref)
        if self._exchange.is_asked_again(view, event.ref) and mine is not None and mine.attempt == view.number:
            effects += self._offer(view, mine)  # lost in a crash, and an owner sums again
        return effects

    def _wants(self, only: MemberId | None) -> list[Effect]:
        view = self._view
        if view is None:
            return []
        wanted = self._exchange.wants(view, only) + self._checks.boxes.wants(view, only)
        return wanted + (self._recheck.wants(view, only) if view.phase is Phase.RECHECK else [])

    def _on_input(self, event: InputReady) -> list[Effect]:
        if self._input is not None:
            return [Note("an update is fixed already in this round; the new one is not used")]
        if event.values.shape != (self._params.length,) or event.values.dtype != vectors.RING or event.weight < 1:
            raise ValueError("the input of a secure sum is uint32, of the round's length, with a weight of 1 or more")
        if find_impossible(self._params.plan, event.claims) is not None:
            raise ValueError("the claims beside a vector are possible ones of the round's plan")
        self._input = Input(event.values, event.weight, event.claims)
        return ([] if event.is_recorded else [record.persist_input(self._params, self._input)]) + self._advance()

    def _on_chunk(self, event: ChunkArrived) -> list[Effect]:
        view = self._view
        if view is None or not self.is_chunk_expected(event.ref, len(event.data), event.sender):
            return [Note(f"dropped an unexpected chunk from member {event.sender}")]
        if not isinstance(lane := self._lane(view, event.ref), Exchange):
            return lane.arrived(view, event) + self._advance()
        lane.arriving(event)
        return [self._jobs.start(Running(Work.HASH, event), jobs.HashChunk(event.data))]

    def _on_timer(self, key: SumTimer) -> list[Effect]:
        if self._view is None:
            return []
        timer = self._pace.fire(self._view, key)
        return [] if timer is None else (self._wants(None) if timer is Timer.WANT else []) + self._advance()

    def _on_result(self, event: ComputeDone[jobs.Result]) -> list[Effect]:
        running, view = self._jobs.finish(event.number), self._view
        if running is None or view is None:
            return []  # of an attempt that is over
        match running.work, event.result:
            case Work.HASH, bytes(digest) if running.chunk is not None:
                return self._exchange.digested(view, running.chunk, digest) + self._advance()
            case Work.CHECK, jobs.CheckedShares(wrong):
                return self._on_shares_checked(view, running, wrong)
            case Work.MASK, jobs.MaskedInput() as masked:
                return self._on_masked(view, masked)
            case Work.SUM, tuple(summed):
                kept = [effect for chunk in summed for effect in self._exchange.add_sum(view, chunk)]
                return kept + self._advance()
            case Work.PROVE, proving.ProvenUpdate() | proving.NotProvable() as proven if self._record is not None:
                shared = self._checks.on_proven(view, self._record, proven)
                return ([] if shared is None else [self._keep(shared)]) + self._advance()
            case Work.ANSWER, proving.Answered() as answered:
                return self._checks.on_answered(view, answered) + self._advance()
            case Work.RECHECK, recheck_jobs.AddedParts() | recheck_jobs.Recounted() as found:
                return self._recheck.on_done(view, found) + self._advance()
            case Work.UNMASK, jobs.Unmasked() as unmasked:
                self._is_opened = True
                return [SumOpened(*unmasked.opened, unmasked.key.salt("model"))]
            case Work.UNMASK, (jobs.NotBound() | jobs.NotOpened()) as failed:
                self._is_opened = True
                return [SumFailed(failed.reason)]
            case _, vectors.Unreadable(reason):
                return self._fall_silent(reason)
            case _:
                raise TypeError(f"job {running.work.value} returned {type(event.result).__name__}")

    def _fall_silent(self, reason: str) -> list[Effect]:
        self._silent = reason
        return [Note(f"silent for the rest of round {self._params.round}: {reason}")]

    def _keep(self, attempt: AttemptRecord) -> Effect:
        self._record = attempt
        return record.persist_state(self._params, attempt)

    # --- what is owed in each phase -----------------------------------------------------------------------------

    def _advance(self) -> list[Effect]:
        view = self._view
        if view is None or self._params.me not in view.holders:
            return []
        if view.phase is Phase.KEYS:
            return self._deal(view)
        mine = self._record
        if mine is None or mine.attempt != view.number or self._params.me not in view.keys:
            return []
        match view.phase:
            case Phase.JOIN:
                return []  # no attempt is open
            case Phase.ACK:
                return self._acknowledge(view, mine)
            case Phase.ANSWER:
                return self._answer(view, mine)
            case Phase.COMMIT:
                return self._commit(view, mine)
            case Phase.ROSTER:
                return self._offer(view, mine) + self._summing.report(view)
            case Phase.DIGEST:
                return self._offer(view, mine) + self._summing.sum(view)
            case Phase.SUMACK:
                return self._offer(view, mine) + self._summing.sum(view) + self._summing.acknowledge(view)
            case Phase.COIN:
                return self._offer(view, mine) + self._checks.reveal_link(view)
            case Phase.SHARE | Phase.PROOF:
                owed = self._offer(view, mine) + self._checks.share(view, mine, self._input, self._masked)
                return owed + self._checks.answer(view, self._exchange)
            case Phase.RECHECK:
                return self._offer(view, mine) + self._recheck.work(view)
            case Phase.REDEAL:
                return self._offer(view, mine) + self._checks.redeal(view, mine, self._input, self._masked)
            case Phase.CONFIRM:
                return self._offer(view, mine) + self._checks.confirm(view, mine)
            case Phase.EXPOSE:
                return self._offer(view, mine) + self._checks.expose(view, mine)
            case Phase.REVEAL | Phase.REVEAL2:
                self._exchange.drop_masked(view)
                return self._reveal(view, mine)
            case Phase.RESULT:
                return self._open(view, mine)
            case _:
                assert_never(view.phase)

    def _deal(self, view: SumView) -> list[Effect]:
        if self._params.me in view.posted:
            return []
        effects: list[Effect] = []
        if self._record is None or self._record.attempt != view.number:
            effects.append(self._keep(deal_keys(self._params, view, self._entropy)))
        assert self._record is not None
        # the key for the round to come may have been lost and drawn anew since: what nobody can open is not posted
        keys = replace(self._record.keys, next_key=self._params.next_key)
        return effects + self._pace.submit(view, keys)

    def _acknowledge(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        if self._params.me in view.posted:
            return []
        if mine.acknowledged is not None:
            message = bodies.Acknowledge(*self._params.place(view.number), mine.acknowledged.wrong)
            return self._pace.submit(view, message)
        if self._jobs.is_running(Work.CHECK):
            return []
        dealt, unopened = open_shares(self._params, view, self._unseal)
        running = Running(Work.CHECK, dealt=tuple(dealt), unopened=tuple(unopened))
        return [self._jobs.start(running, jobs.CheckShares(self._params.me, running.dealt))]

    def _on_shares_checked(self, view: SumView, running: Running, wrong: tuple[MemberId, ...]) -> list[Effect]:
        if view.phase is not Phase.ACK or self._record is None:
            return []
        acknowledged = acknowledge(running.dealt, (*wrong, *running.unopened))
        return [self._keep(replace(self._record, acknowledged=acknowledged)), *self._advance()]

    def _answer(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        complainers = view.complainers(self._params.me)
        if self._params.me in view.posted or not complainers:
            return []
        if len(complainers) > self._params.faults:  # f published shares and f liars' own stay below T; more may not
            return [Note(f"{len(complainers)} members complain, more than can be answered; out of this attempt")]
        effects: list[Effect] = []
        if mine.answered is None:
            mine = replace(mine, answered=complainers)
            effects.append(self._keep(mine))
        elif mine.answered != complainers:
            return self._fall_silent("other complaints than those answered on record")
        message = bodies.Answer(*self._params.place(view.number), answer_shares(mine, complainers))
        return effects + self._pace.submit(view, message)

    def _commit(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        me = self._params.me
        if me not in view.qualified or self._input is None:
            return []
        if len(view.present) < self._params.threshold or len(view.qualified) < self._params.min_included:
            return [Note("too few members for a sum; nothing is committed")]
        if not all(is_point_valid(view.keys[member].a_points[0]) for member in view.qualified):
            return self._fall_silent("a key on the ledger is not a point of the group")
        effects = self._offer(view, mine)
        if mine.committed is None or me in view.committers:
            return effects
        if mine.committed.qualified != view.qualified:
            return self._fall_silent("other qualified members than those masked for on record")
        weight = mine.committed.weight if self._params.has_public_weights else 0
        message = bodies.Commit(*self._params.place(view.number), mine.committed.root, weight)
        return effects + self._pace.submit(view, message)

    def _offer(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        """Mask the vector if need be; let chunks leave once the ledger holds their root."""
        me = self._params.me
        is_final = me in view.committers
        if self._input is None or not (is_final or view.phase is Phase.COMMIT):
            return []
        if self._masked is None:
            if self._jobs.is_running(Work.MASK):
                return []
            points = tuple((member, view.keys[member].a_points[0]) for member in view.qualified)
            secrets = (mine.a_scalar, mine.b_scalar)
            job = jobs.MaskInput(self._params.context(view.number), me, self._input.values, *secrets, points)
            return [self._jobs.start(Running(Work.MASK), job)]
        if not is_final:
            return []
        self._exchange.offer(self._masked)
        return self._exchange.push_masked(view) if view.phase in (Phase.COMMIT, Phase.ROSTER) else []

    def _on_masked(self, view: SumView, masked: jobs.MaskedInput) -> list[Effect]:
        assert self._record is not None and self._input is not None
        promised, effects = self._record.committed, list[Effect]()
        if promised is not None and promised.leaves != masked.leaves:
            return self._fall_silent("the masked update is not the one on record")
        if promised is None:
            if view.phase is not Phase.COMMIT:
                return []
            committed = Committed(view.qualified, masked.leaves, self._input.weight)
            effects.append(self._keep(replace(self._record, committed=committed)))
        self._masked = masked
        return effects + self._advance()

    def _reveal(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        if not view.is_unmasked or self._params.me not in view.present or self._params.me in view.posted:
            return []
        refuse_unsafe(self._params, view)
        opening, effects = Opening(view.qualified, view.included), list[Effect]()
        if mine.opening is None:
            effects.append(self._keep(replace(mine, opening=opening)))
        elif mine.opening != opening:
            return self._fall_silent("another unmasking than the one on record")
        if view.phase is Phase.REVEAL:
            share = self._checks.opening(view, opening.included, self._exchange)
            if isinstance(share, Wait):
                return effects + self._fetch_sum(view, mine)
            message = first_reveal(self._params, view, mine, opening, share)
        else:
            message = second_reveal(self._params, view, mine, opening)
        return effects if message is None else effects + self._pace.submit(view, message)

    def _open(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        if self._is_opened or self._jobs.is_running(Work.UNMASK) or self._params.me not in view.present:
            return []
        if (whole := self._exchange.get_sums(view)) is None:
            return self._fetch_sum(view, mine)
        self._exchange.drop_masked(view)
        b, a = collect_openings(view)
        points = tuple((member, view.keys[member].a_points[0]) for member in view.included)
        if view.coin is None or view.sum_opened is None:
            return self._fall_silent("a result is asked for before the sum is open")
        room, context = None if self._input is None else self._input.spend(), self._params.context(view.number)
        weight, rows = view.weight, self._params.strength.rows
        bound = (view.coin, view.sum_opened)
        job = jobs.Unmask(context, self._params.length, whole, b, a, points, weight, *bound, room, rows)
        return [self._jobs.start(Running(Work.UNMASK), job)]

    def _fetch_sum(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        again = self._offer(view, mine) if self._exchange.owned_open(view) else []
        return again + self._pace.start(view, Timer.WANT, Timer.REPORT) + self._summing.sum(view)
