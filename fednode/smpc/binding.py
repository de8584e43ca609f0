"""Between the frozen sum and its opening: the coin's link, the shares of the own sketch, answers to proofs.

Security assumption: views are final. A link leaves only when q members hold the whole list of digests; the own sketch
is computed for the coin of this attempt and shared once, under roots that are on record; holders answer one query per
attempt, the same after a restart, and open no share that they did not answer for: only answers show that a share is
on the proven polynomial. What must not go on is raised as `Unsafe`: the member falls silent. Disputes about shares,
in the phases after PROOF, are in `disputes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Final

from fednode.ids import MemberId
from fednode.smpc.boxes import Boxes
from fednode.smpc.dealing import Unseal
from fednode.smpc.disputes import Disputes
from fednode.smpc.exchange import Exchange
from fednode.smpc.jobs import MaskedInput
from fednode.smpc.messages import Effect, SumParams, SumView, Timer
from fednode.smpc.opening import Unsafe, refuse_unsafe
from fednode.smpc.pacing import Jobs, Pace, Running, Work
from fednode.smpc.pads import SumKey
from fednode.smpc.proof_jobs import (
    Answered,
    AnswerProofs,
    NotProvable,
    ProvenUpdate,
    ProveUpdate,
)
from fednode.smpc.record import RECORD_FORMAT, AttemptRecord, Input, Shared, SharesRecord, Sharing, persist_shares
from fednode.smpc.summing import Summing
from fednode.sums import bodies
from fednode.sums.phase import Phase
from fednode.sums.shares import sharing_degree


class Wait(Enum):
    """Something is on its way."""

    WAIT = 1


WAIT: Final = Wait.WAIT

CoinLink = Callable[[int], bytes]
"""Returns a link of this member's chain by its number."""


class Checks:
    """What a member owes from COIN to the openings of one attempt."""

    def __init__(
        self, params: SumParams, attempt: int, unseal: Unseal, coin_link: CoinLink, pace: Pace, jobs: Jobs,
        summing: Summing, answered: SharesRecord | None,
    ) -> None:
        self._params = params
        self._coin_link = coin_link
        self._pace = pace
        self._jobs = jobs
        self._summing = summing
        self._answered = answered if answered is not None and answered.attempt == attempt else None
        self.boxes = Boxes(params, attempt, unseal)
        self._disputes = Disputes(params, pace)
        self._has_sum = False
        if self._answered is not None:
            self.boxes.close()

    @property
    def answered(self) -> SharesRecord | None:
        """What is on record of this attempt's answers and what is held."""
        return self._answered

    def work(
        self, view: SumView, mine: AttemptRecord, own: Input | None, masked: MaskedInput | None, exchange: Exchange
    ) -> list[Effect]:
        """Do what is owed in the current phase, from COIN to EXPOSE."""
        match view.phase:
            case Phase.COIN:
                return self.reveal_link(view)
            case Phase.REDEAL:
                return self._redeal(view, mine, own, masked)
            case Phase.CONFIRM:
                return self._confirm(view, mine)
            case Phase.EXPOSE:
                return [] if self._answered is None else self._disputes.expose(view, mine, self._answered)
            case _:
                return self.share(view, mine, own, masked) + self.answer(view, exchange)

    # --- COIN ---------------------------------------------------------------------------------------------------

    def reveal_link(self, view: SumView) -> list[Effect]:
        """Open this sum's link of the chain: the sum is frozen, so nobody can choose anything after seeing it."""
        if self._params.me not in view.present or self._params.me in view.posted:
            return []
        refuse_unsafe(self._params, view)
        if len(view.acked) < self._params.threshold or not self._is_sum_fixed(view):
            raise Unsafe("a coin is asked for before the sum is frozen")
        return self._pace.submit(view, bodies.Coin(*self._params.place(view.number), self._coin_link(view.coin_index)))

    @staticmethod
    def _is_sum_fixed(view: SumView) -> bool:
        """Whether the ledger holds the digest of every chunk: one for each member of Q."""
        return all(view.digest_of(chunk) is not None for chunk in range(len(view.qualified)))

    # --- SHARE --------------------------------------------------------------------------------------------------

    def share(self, view: SumView, mine: AttemptRecord, own: Input | None, masked: MaskedInput | None) -> list[Effect]:
        """Sketch, prove and deal the own vector; post the roots; then hand the boxes out."""
        me = self._params.me
        if me not in view.included or own is None or masked is None or mine.committed is None or view.coin is None:
            return []
        if view.phase is not Phase.SHARE and me not in view.share_roots:
            return []
        if self.boxes.proven is None:
            return self._prove(view, view.coin, mine, own, masked)
        if me in view.share_roots:
            return self.boxes.push(view)
        return self._pace.submit(view, self.boxes.proven.posted)

    def _prove(
        self, view: SumView, coin: bytes, mine: AttemptRecord, own: Input, masked: MaskedInput
    ) -> list[Effect]:
        if self._jobs.is_running(Work.PROVE):
            return []
        refuse_unsafe(self._params, view)
        return [self._jobs.start(Running(Work.PROVE), self._dealing(view, coin, mine, own, masked))]

    def _dealing(
        self, view: SumView, coin: bytes, mine: AttemptRecord, own: Input, masked: MaskedInput
    ) -> ProveUpdate:
        if mine.committed is None:
            raise Unsafe("this attempt's record holds no commitment")
        is_public = self._params.has_public_weights
        return ProveUpdate(
            context=self._params.context(view.number), me=self._params.me, coin=coin,
            statement=self._params.statement(view.weight_of(self._params.me)),
            degree=sharing_degree(len(self._params.members)), seed=mine.sharing.seed, root=mine.committed.root,
            holders=tuple((holder, view.seal_keys[holder]) for holder in view.present),
            values=own.values, weight=0 if is_public else own.weight, chunks=len(view.qualified),
            masked=masked.data, claims=own.claims,
        )

    def on_proven(
        self, view: SumView, mine: AttemptRecord, result: ProvenUpdate | NotProvable
    ) -> AttemptRecord | None:
        """Take in the dealing; return the record to keep before its roots are posted, None if there is nothing new."""
        if isinstance(result, NotProvable):
            raise Unsafe(f"this member's vector cannot be proven: {result.reason}")
        assert view.coin is not None
        shared = Shared(view.coin, result.posted.bits_root, result.posted.proof_root)
        promised = mine.sharing.shared
        if promised is not None and promised != shared:
            raise Unsafe("other shares than those on record")
        if promised is None and view.phase is not Phase.SHARE:
            return None
        self.boxes.offer(result)
        return replace(mine, sharing=Sharing(mine.sharing.seed, shared)) if promised is None else None

    # --- PROOF --------------------------------------------------------------------------------------------------

    def answer(self, view: SumView, exchange: Exchange) -> list[Effect]:
        """Answer the proofs of all of U and say whether the masked sum has the posted sketches."""
        if self._params.me not in view.present or view.query_seed is None or view.coin is None:
            return []
        if self._answered is not None:
            return self._post_parts(view, self._answered)
        if self._jobs.is_running(Work.ANSWER):
            return []
        lacks_sum = not self._has_sum and bool(exchange.missing_sums(view))
        self._has_sum = not lacks_sum
        is_dealing = self.boxes.proven is None and self._params.me in view.share_roots
        missing = self.boxes.missing(view)
        waiting = self._pace.start(view, Timer.WANT, Timer.REPORT) if missing or lacks_sum or is_dealing else []
        waiting += self._summing.sum(view) if lacks_sum else []
        if (missing or lacks_sum or is_dealing) and not self._pace.is_report_due(view):
            return waiting
        job = AnswerProofs(
            context=self._params.context(view.number), coin=view.coin, query_seed=view.query_seed,
            is_key=self.boxes.is_key(view),
            shares=tuple(self.boxes.held_share(view, dealer) for dealer in view.included),
            sketches=tuple(view.share_roots[dealer].sketch for dealer in view.included),
            strength=self._params.strength, length=self._params.length,
            chunks=exchange.get_sums(view),
        )
        return [*waiting, self._jobs.start(Running(Work.ANSWER), job)]

    def on_answered(self, view: SumView, result: Answered) -> list[Effect]:
        """Keep the answers and what is held before anything of them is posted."""
        if view.phase is not Phase.PROOF or view.query_seed is None:
            return []
        place = (RECORD_FORMAT, self._params.chain_id, self._params.study, self._params.round, self._params.me)
        self._answered = SharesRecord(
            *place, view.number, view.query_seed, int(result.sum_ok), result.answers, view.included, result.covered,
            result.held,
        )
        self.boxes.close()
        return [persist_shares(self._answered)]

    def _post_parts(self, view: SumView, answered: SharesRecord) -> list[Effect]:
        effects: list[Effect] = []
        posted = view.parts_of(self._params.me)
        size = self._params.strength.dealers_a_part * self._params.strength.answer_bytes
        for part in range(-(-len(answered.answers) // size)):
            if part not in posted:
                data = answered.answers[part * size : (part + 1) * size]
                message = bodies.Proof(*self._params.place(view.number), part, answered.sum_ok, data)
                effects += self._pace.submit(view, message, str(part))
        return effects

    # --- disputes -----------------------------------------------------------------------------------------------

    def _redeal(
        self, view: SumView, mine: AttemptRecord, own: Input | None, masked: MaskedInput | None
    ) -> list[Effect]:
        """Deal again what is disputed; after a restart prove first, which gives the same dealing."""
        if not self._disputes.due_to(view):
            return []
        if self.boxes.proven is not None:
            return self._disputes.redeal(view, mine, self.boxes.proven)
        if own is None or masked is None or view.coin is None:
            return []
        return self._prove(view, view.coin, mine, own, masked)

    def _confirm(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        """Answer the confirm query; what is answered, and on what it rests, is on the disk first."""
        answered, seed, me = self._answered, view.confirm_seed, self._params.me
        if answered is None or seed is None or me in view.posted:
            return []
        if len(view.parts_of(me)) * self._params.strength.dealers_a_part < len(view.included):
            return []  # it was not heard in PROOF, or not to the end
        effects: list[Effect] = []
        if answered.confirmed is None:
            answered = replace(answered, confirmed=self._disputes.answer(view, mine, answered, seed))
            self._answered = answered
            effects.append(persist_shares(answered))
        assert answered.confirmed is not None
        message = bodies.Confirm(*self._params.place(view.number), answered.confirmed.answers)
        return effects + self._pace.submit(view, message)

    # --- after the one unmasking --------------------------------------------------------------------------------

    def opening(self, view: SumView, included: tuple[MemberId, ...], exchange: Exchange) -> bytes | Wait | None:
        """Return this member's share of the sum over U of sketches and weights, hidden from those who have no chunk of
        the masked sum; None if it does not hold every part of it, or the sum. `WAIT` while the sum may still come.

        To be called for the attempt that was unmasked, after its (Q, U) is on record, and never otherwise.
        """
        if not view.is_unmasked or self._answered is None or self._answered.included != included:
            return None
        share, chunks = self._disputes.opening(view, self._answered, included), exchange.get_sums(view)
        if share is None or chunks is None:
            return None if share is None or self._pace.is_report_due(view) else WAIT
        key = SumKey(self._params.context(view.number), exchange.layout(view).salts(chunks))
        return key.hide(share)
