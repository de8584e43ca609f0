"""Between the frozen sum and its opening: the coin's link, the shares of the own sketch, answers to proofs.

Security assumption: views are final. A link leaves only when q members hold the whole list of digests; the own sketch
is computed for the coin of this attempt and shared once, under roots that are on record; holders answer one query per
attempt, the same after a restart, and open no share that they did not answer for: only answers show that a share is
on the proven polynomial. What must not go on is raised as `Unsafe`: the member falls silent. Disputes about shares,
in the phases after PROOF, are in `disputes`.

A pair of boxes counts only under the two roots its dealer posted on the ledger; until they are there, one pair a dealer
is kept aside unopened. A dealer's boxes leave only after its roots are final, and only to the holder they are sealed
to. What does not open under the right roots is not asked for again: the roots are final.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from fednode.effects import Note
from fednode.errors import Rejected
from fednode.ids import MemberId
from fednode.smpc.dealing import Unseal
from fednode.smpc.disputes import Disputes
from fednode.smpc.jobs import MaskedInput
from fednode.smpc.masks import SumKey
from fednode.smpc.messages import (
    ChunkArrived,
    ChunkRef,
    Effect,
    Jobs,
    Lane,
    Pace,
    Running,
    SendChunk,
    SumParams,
    SumView,
    Timer,
    WantChunk,
    Work,
)
from fednode.smpc.opening import Unsafe, refuse_unsafe, share_of_sum
from fednode.smpc.proving import (
    BITS,
    PROOF,
    Answered,
    AnswerProofs,
    HeldShare,
    NotProvable,
    ProvenUpdate,
    ProveUpdate,
    Roots,
    box_context,
    box_sizes,
    paths_of,
)
from fednode.smpc.record import RECORD_FORMAT, AttemptRecord, Input, Shared, SharesRecord, Sharing, persist_shares
from fednode.smpc.summing import MAX_SERVED, Exchange, Summing
from fednode.smpc.vectors import HASH_BYTES
from fednode.sums import bodies
from fednode.sums.norm import Statement
from fednode.sums.phase import Phase
from fednode.sums.shares import holds_key, sharing_degree

# --- sealed shares on their way: a dealer's boxes to each holder, and what this holder opened --------------------

_OPEN = (Phase.SHARE, Phase.PROOF)


@dataclass(frozen=True, slots=True)
class Aside:
    """A pair of boxes as it came in."""

    boxes: bytes = field(repr=False)
    paths: bytes = field(repr=False)


class Boxes:
    """Boxes of one attempt; in memory only, dealt again or fetched again after a restart."""

    def __init__(self, params: SumParams, attempt: int, unseal: Unseal) -> None:
        self._params = params
        self._attempt = attempt
        self._unseal = unseal
        self._aside: dict[MemberId, Aside] = {}
        self._contents: dict[MemberId, tuple[bytes, bytes] | None] = {}
        """Opened contents; None of a dealer whose boxes are under its roots and of no use."""
        self._is_closed = False
        self._proven: ProvenUpdate | None = None
        self._sent: set[MemberId] = set()
        self._served: dict[MemberId, int] = {}

    # --- what comes in ------------------------------------------------------------------------------------------

    def is_expected(self, view: SumView, ref: ChunkRef, size_bytes: int, sender: MemberId) -> bool:
        """Whether boxes of this name and size from `sender` are of use now and not at hand."""
        dealer = MemberId(ref.dealer)
        if ref.attempt != self._attempt or view.phase not in _OPEN or dealer != sender or dealer == self._params.me:
            return False
        if dealer not in view.included or self._position(view, self._params.me) != ref.chunk:
            return False
        if dealer in self._aside or dealer in self._contents or self._is_closed:
            return False
        return size_bytes == sum(box_sizes(self._statement(view, dealer), self.is_key(view)))

    def arrived(self, view: SumView, event: ChunkArrived) -> list[Effect]:
        """Keep a pair of boxes that was expected."""
        if len(event.proof) > 2 * 16 * HASH_BYTES:
            return []
        self._aside[event.sender] = Aside(bytes(event.data), bytes(event.proof))
        return self.recheck(view)

    def recheck(self, view: SumView) -> list[Effect]:
        """Open what the ledger has roots for by now; drop what is not under them."""
        effects: list[Effect] = []
        for dealer in [dealer for dealer in self._aside if dealer in view.share_roots]:
            aside, posted = self._aside.pop(dealer), view.share_roots[dealer]
            position, count = view.present.index(self._params.me), len(view.present)
            size = box_sizes(self._statement(view, dealer), self.is_key(view))[0]
            bits_box, proof_box = aside.boxes[:size], aside.boxes[size:]
            if Roots(posted.bits_root, posted.proof_root).holds(bits_box, proof_box, position, count, aside.paths):
                self._contents[dealer] = self._open(dealer, bits_box, proof_box)
                if self._contents[dealer] is None:
                    effects.append(Note(f"the shares member {dealer} dealt to this one do not open"))
            else:
                effects.append(Note(f"dropped shares of member {dealer}: not what the ledger says"))
        return effects

    def _open(self, dealer: MemberId, bits_box: bytes, proof_box: bytes) -> tuple[bytes, bytes] | None:
        contents = []
        for box, kind in ((bits_box, BITS), (proof_box, PROOF)):
            place = box_context(self._params.context(self._attempt), dealer, self._params.me, kind)
            try:
                message = self._unseal(box)
            except Rejected:
                return None
            if message[: len(place)] != place:
                return None
            contents.append(message[len(place) :])
        return contents[0], contents[1]

    # --- what is at hand ----------------------------------------------------------------------------------------

    def is_key(self, view: SumView) -> bool:
        """Whether this holder's boxes hold keys to expand."""
        return holds_key(self._params.me, view.present, sharing_degree(len(self._params.members)))

    def missing(self, view: SumView) -> list[MemberId]:
        """Return the dealers of U whose boxes did not come, this member aside."""
        if self._is_closed:
            return []
        return [d for d in view.included if d not in self._contents and d != self._params.me]

    def held_share(self, view: SumView, dealer: MemberId) -> HeldShare:
        """Return what this holder has of a dealer, its own from its own dealing."""
        contents = self._contents.get(dealer)
        if dealer == self._params.me and self._proven is not None:
            contents = self._proven.own
        return HeldShare(dealer, self._statement(view, dealer), view.share_roots[dealer].bits_root, contents)

    def close(self) -> None:
        """Forget all shares: the answers and the sum are on record, and no share counts that was not answered for."""
        self._is_closed = True
        self._contents.clear()
        self._aside.clear()

    def wants(self, view: SumView, only: MemberId | None) -> list[Effect]:
        """Ask dealers whose roots are posted for the boxes that did not come."""
        position = self._position(view, self._params.me)
        if view.phase not in _OPEN or position is None:
            return []
        return [
            WantChunk(dealer, self._ref(dealer, position)) for dealer in self.missing(view)
            if only in (None, dealer) and dealer in view.share_roots and dealer not in self._aside
        ]

    # --- what goes out ------------------------------------------------------------------------------------------

    def offer(self, proven: ProvenUpdate) -> None:
        """Give the boxes whose roots are on record to their holders once the ledger has them."""
        self._proven = proven

    @property
    def proven(self) -> ProvenUpdate | None:
        """What this member dealt in this attempt, if it is at hand."""
        return self._proven

    def push(self, view: SumView) -> list[Effect]:
        """Send each holder its boxes, once, when the ledger has the roots."""
        effects: list[Effect] = []
        for holder in view.present:
            if holder != self._params.me and holder not in self._sent:
                sent = self._boxes_for(view, holder)
                if sent:
                    self._sent.add(holder)
                effects += sent
        return effects

    def serve(self, view: SumView, to: MemberId, ref: ChunkRef) -> list[Effect]:
        """Answer a request for this member's boxes by the holder they are sealed to; a few times."""
        count = self._served.get(to, 0)
        if ref.dealer != self._params.me or ref.attempt != self._attempt or count >= MAX_SERVED:
            return []
        if self._position(view, to) != ref.chunk:
            return []
        effects = self._boxes_for(view, to)
        if effects:
            self._served[to] = count + 1
        return effects

    def _boxes_for(self, view: SumView, holder: MemberId) -> list[Effect]:
        proven, position = self._proven, self._position(view, holder)
        if proven is None or position is None or view.share_roots.get(self._params.me) != proven.posted:
            return []
        paths = paths_of(proven.bits_leaves, proven.proof_leaves, position)
        data = memoryview(proven.bits_boxes[position] + proven.proof_boxes[position])
        return [SendChunk(holder, self._ref(self._params.me, position), paths, data)]

    def _ref(self, dealer: MemberId, position: int) -> ChunkRef:
        return ChunkRef(self._attempt, Lane.SHARES.value, dealer, position)

    def _position(self, view: SumView, holder: MemberId) -> int | None:
        return view.present.index(holder) if holder in view.present else None

    def _statement(self, view: SumView, dealer: MemberId) -> Statement:
        return self._params.statement(view.weight_of(dealer))


# --- what a member owes ------------------------------------------------------------------------------------------

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
        self._settling: Disputes | None = None
        self._has_sum = False
        if self._answered is not None:
            self.boxes.close()

    @property
    def _disputes(self) -> Disputes:
        """Made when the first share is disputed: in most rounds none is."""
        self._settling = self._settling or Disputes(self._params, self._pace)
        return self._settling

    @property
    def answered(self) -> SharesRecord | None:
        """What is on record of this attempt's answers and what is held."""
        return self._answered

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

    def redeal(
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

    def confirm(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
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

    def expose(self, view: SumView, mine: AttemptRecord) -> list[Effect]:
        """Show the boxes that the ledger found off."""
        return [] if self._answered is None else self._disputes.expose(view, mine, self._answered)

    # --- after the one unmasking --------------------------------------------------------------------------------

    def opening(self, view: SumView, included: tuple[MemberId, ...], exchange: Exchange) -> bytes | Wait | None:
        """Return this member's share of the sum over U of sketches and weights, hidden from those who have no chunk of
        the masked sum; None if it does not hold every part of it, or the sum. `WAIT` while the sum may still come.

        To be called for the attempt that was unmasked, after its (Q, U) is on record, and never otherwise.
        """
        if not view.is_unmasked or self._answered is None or self._answered.included != included:
            return None
        share, chunks = share_of_sum(self._params, view, self._answered, included), exchange.get_sums(view)
        if share is None or chunks is None:
            return None if share is None or self._pace.is_report_due(view) else WAIT
        key = SumKey(self._params.context(view.number), exchange.layout(view).salts(chunks))
        return key.hide(share)
