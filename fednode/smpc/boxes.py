"""Sealed shares of one attempt on their way: a dealer's boxes to each holder, and what this holder opened.

Security assumption: a pair of boxes counts only under the two roots its dealer posted on the ledger; until they are
there, one pair a dealer is kept aside unopened. A dealer's boxes leave only after its roots are final, and only to the
holder they are sealed to. What does not open under the right roots is not asked for again: the roots are final.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fednode.effects import Note
from fednode.errors import Rejected
from fednode.ids import MemberId
from fednode.smpc.chunks import HASH_BYTES
from fednode.smpc.dealing import Unseal
from fednode.smpc.exchange import MAX_SERVED
from fednode.smpc.messages import ChunkArrived, ChunkRef, Effect, Lane, SendChunk, SumParams, SumView, WantChunk
from fednode.smpc.proof_jobs import HeldShare, ProvenUpdate
from fednode.smpc.sealed import BITS, PROOF, Roots, box_context, box_sizes, paths_of
from fednode.sums.norm import Statement
from fednode.sums.phase import Phase
from fednode.sums.shares import holds_key, sharing_degree

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
