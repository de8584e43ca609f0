"""Shares in dispute: dealt again on the ledger, held against what was proven, and shown where they are wrong.

Security assumption: views are final. A dealer deals again what it dealt and proved, to at most f holders, under a key
that only it and the holder know. A holder answers one confirm query per attempt, on record before it is posted; it
shows nothing but boxes that the ledger found off its answer, before anything is opened, and the ledger takes only a
box that is off: an honest dealer's share is never shown.
"""

from __future__ import annotations

from fednode.crypto import point_times
from fednode.effects import Note
from fednode.ids import MemberId
from fednode.smpc.dealing import dispute_scalar
from fednode.smpc.messages import Effect, Pace, SumParams, SumView
from fednode.smpc.opening import Unsafe, held_shares
from fednode.smpc.proving import NO_ANSWER, DerivedEntropy, ProvenUpdate
from fednode.smpc.record import AttemptRecord, Confirmed, RedealtShare, SharesRecord
from fednode.sums import bodies, norm
from fednode.sums import field as f
from fednode.sums.attempt import dispute_context
from fednode.sums.equal_logs import prove_equal_logs
from fednode.sums.field import FieldVector
from fednode.sums.norm import Statement
from fednode.sums.redeal import hide_held, show_held


class Disputes:
    """What a member owes in REDEAL, CONFIRM and EXPOSE of one attempt."""

    def __init__(self, params: SumParams, pace: Pace) -> None:
        self._params = params
        self._pace = pace
        self._boxes: dict[MemberId, bytes] = {}
        """What is dealt again, by holder: made once."""

    # --- the dealer ---------------------------------------------------------------------------------------------

    def due_to(self, view: SumView) -> tuple[MemberId, ...]:
        """Return the holders this member has to deal to again and has not yet."""
        me = self._params.me
        if me not in view.included:
            return ()
        return tuple(holder for dealer, holder in view.disputes if dealer == me and (me, holder) not in view.redealt)

    def redeal(self, view: SumView, mine: AttemptRecord, proven: ProvenUpdate) -> list[Effect]:
        """Deal the disputing holders what they were dealt before, f of them at most: more could open the vector."""
        self._refuse_opened(view)
        me, effects = self._params.me, list[Effect]()
        count = sum(dealer == me for dealer, _ in view.disputes)
        if count > self._params.faults:
            return [Note(f"{count} members dispute their shares, more than may be dealt again; nothing is dealt")]
        if view.share_roots.get(me) != proven.posted:
            raise Unsafe("other shares than those on the ledger would be dealt again")
        for holder in self.due_to(view):
            if holder not in self._boxes:
                held, shared = proven.kept.held_by(holder), self._point_with(view, mine, holder)
                self._boxes[holder] = hide_held(held, shared, self._params.context(view.number), me, holder)
            message = bodies.Redeal(*self._params.place(view.number), holder, self._boxes[holder])
            effects += self._pace.submit(view, message, str(holder))
        return effects

    # --- the holder ---------------------------------------------------------------------------------------------

    def answer(self, view: SumView, mine: AttemptRecord, answered: SharesRecord, seed: bytes) -> Confirmed:
        """Return the answers about all disputed dealers; a box dealt again takes the place of what came before."""
        self._refuse_opened(view)
        held, redealt, answers = held_shares(self._params, view, answered), list[RedealtShare](), []
        for dealer in sorted({dealer for dealer, _ in view.disputes}):
            statement, share = self._params.statement(view.weight_of(dealer)), held.get(dealer)
            if (dealer, self._params.me) in view.disputes:
                share = self._open(view, mine, dealer, statement)
                if share is not None:
                    redealt.append(RedealtShare(dealer, f.to_bytes(share)))
            if share is None:
                answers.append(NO_ANSWER * self._params.strength.confirm_bytes)
            else:
                answers.append(f.to_bytes(norm.confirm(share, norm.draw_confirm(seed, statement.repetitions))))
        return Confirmed(seed, b"".join(answers), tuple(redealt))

    def _open(
        self, view: SumView, mine: AttemptRecord, dealer: MemberId, statement: Statement
    ) -> FieldVector | None:
        box = view.boxes.get((dealer, self._params.me))
        if box is None:
            return None
        shared = self._point_with(view, mine, dealer)
        context = self._params.context(view.number)
        return show_held(box, shared, context, dealer, self._params.me, statement.held_length)

    def expose(self, view: SumView, mine: AttemptRecord, answered: SharesRecord) -> list[Effect]:
        """Show the boxes that the ledger found off: those this member's answers on record rest on, and no others."""
        me, effects = self._params.me, list[Effect]()
        confirmed = answered.confirmed
        if confirmed is None or confirmed.seed != view.confirm_seed:
            return effects
        self._refuse_opened(view)
        context = self._params.context(view.number)
        for dealer, holder, _ in view.unconfirmed:
            pair = (dealer, holder)
            if holder == me and pair in view.disputes and pair in view.redealt and pair not in view.exposed:
                base, seed = view.keys[dealer].c_point, mine.sharing.seed
                entropy = DerivedEntropy(seed, context, "expose", me, dealer)
                scalar = dispute_scalar(self._params, view.number, seed)
                proof = prove_equal_logs(scalar, base, dispute_context(context, dealer, me), entropy)
                place, shared = self._params.place(view.number), point_times(scalar, base)
                message = bodies.Expose(*place, dealer, shared, proof)
                effects += self._pace.submit(view, message, str(dealer))
        return effects

    # --- what is at hand ----------------------------------------------------------------------------------------

    def _point_with(self, view: SumView, mine: AttemptRecord, other: MemberId) -> bytes:
        """Return the point this member and another have in common, and nobody else knows."""
        scalar = dispute_scalar(self._params, view.number, mine.sharing.seed)
        return point_times(scalar, view.keys[other].c_point)

    def _refuse_opened(self, view: SumView) -> None:
        if view.is_unmasked:
            raise Unsafe("shares are in dispute after the unmasking")
