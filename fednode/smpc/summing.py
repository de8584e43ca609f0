"""ROSTER, DIGEST and SUMACK: chunks of one attempt, which this member keeps, lacks, sends and to whom; what an owner of
chunks owes (reports, sums over U, digests), and what everybody owes of the sum: to hold all of it.

Security assumption: a masked chunk counts only under the root its dealer committed on the ledger, a chunk of the sum
only under the digest its owner posted there; until the ledger holds the root or digest a chunk is kept aside unused.
Nothing is kept that the view gives no use for, and one copy of each, so memory is bounded by four vectors.
This member's own masked chunks leave only through `offer`, which the session calls for a committed root. A set that
must not be opened is not summed either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fednode.effects import Note
from fednode.ids import MemberId
from fednode.smpc import jobs
from fednode.smpc.jobs import MaskedInput, SummedChunk
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
from fednode.smpc.opening import refuse_unsafe
from fednode.smpc.vectors import Buffer, Layout, is_leaf_of, merkle_path
from fednode.sums import bodies
from fednode.sums.attempt import compute_list_digest
from fednode.sums.phase import Phase

MAX_SERVED: Final = 8
"""How often one peer is given the same chunk in one attempt: reconnects and restarts, not a flood."""
MAX_SHOWN: Final = 4
"""The same in RECHECK, where a peer may ask for two whole vectors: the member's own, and its chunks of all the others.
Whoever only has to wait asks at doubling intervals (`recheck`): four are for links that are cut, and restarts."""
NO_DEALER: Final = MemberId(0)
ASKED_BEFORE_SUMMING: Final = 2
"""How often others are asked for a lost chunk of the frozen sum before its owner sums it again."""


@dataclass(slots=True, eq=False)
class Held:
    """A chunk at hand, its digest and Merkle path; `is_checked` once the ledger's root or digest agrees."""

    data: Buffer = field(repr=False)
    digest: bytes
    proof: bytes = field(repr=False)
    is_checked: bool


class Exchange:
    """Chunk state of one attempt; lives in memory only and is fetched again after a restart."""

    def __init__(self, params: SumParams, attempt: int) -> None:
        self._params = params
        self._attempt = attempt
        self._held: dict[ChunkRef, Held] = {}
        self._hashing: set[ChunkRef] = set()
        self._masked: MaskedInput | None = None
        self._sent: set[tuple[MemberId, ChunkRef]] = set()
        self._served: dict[tuple[MemberId, ChunkRef], int] = {}
        self._shown: dict[tuple[MemberId, ChunkRef], int] = {}
        """In RECHECK: an owner on a slow line had asked often enough before, and lost the chunk in a crash since."""
        self._summed: set[int] = set()
        self._asked = 0

    # --- what may come in ---------------------------------------------------------------------------------------

    def is_expected(self, view: SumView, ref: ChunkRef, size_bytes: int, sender: MemberId) -> bool:
        """Whether a chunk of this name and size from `sender` is of use now and not at hand or being digested."""
        if ref.attempt != self._attempt or not view.qualified or ref.chunk >= len(view.qualified):
            return False
        if ref.lane not in (Lane.MASKED, Lane.SUM) or view.phase is Phase.RECHECK:
            return False  # of a sum that is wrong nobody needs anything (and see `recheck`)
        if size_bytes != self.layout(view).size_bytes(ref.chunk):
            return False
        if self._params.me not in view.present or ref in self._held or ref in self._hashing:
            return False
        if ref.lane == Lane.MASKED:
            return ref.dealer == sender != self._params.me and self._is_masked_chunk_of_use(view, ref)
        if view.phase < Phase.ROSTER or ref.dealer != NO_DEALER:
            return False
        return view.digest_of(ref.chunk) is not None or self._owner(view, ref.chunk) == sender

    def _is_masked_chunk_of_use(self, view: SumView, ref: ChunkRef) -> bool:
        """A masked chunk is of use to its owner, and before owners are known to the member whose turn is first."""
        dealer = MemberId(ref.dealer)
        if view.phase == Phase.COMMIT:
            return dealer in view.qualified and view.qualified[ref.chunk] == self._params.me
        if view.phase < Phase.ROSTER or self._owner(view, ref.chunk) != self._params.me:
            return False
        if _is_frozen(view) and ref.chunk not in self.owned_open(view):
            return False
        return dealer in self.dealers(view)

    @staticmethod
    def _owner(view: SumView, chunk: int) -> MemberId | None:
        return view.chunks[chunk].owner if chunk < len(view.chunks) else None

    def arriving(self, event: ChunkArrived) -> None:
        """Note that a chunk is being digested."""
        self._hashing.add(event.ref)

    def digested(self, view: SumView, event: ChunkArrived, digest: bytes) -> list[Effect]:
        """Keep a digested chunk if the ledger agrees or has nothing to say yet; else drop it."""
        self._hashing.discard(event.ref)
        self._held[event.ref] = Held(event.data, digest, event.proof, False)
        return self.recheck(view, (event.ref,))

    def recheck(self, view: SumView, refs: Iterable[ChunkRef] | None = None) -> list[Effect]:
        """Compare unchecked chunks with roots and digests that may have come in; drop what does not fit."""
        effects: list[Effect] = []
        for ref in tuple(self._held) if refs is None else refs:
            held = self._held[ref]
            if not held.is_checked:
                verdict = self._verdict(view, ref, held)
                if verdict is False:
                    del self._held[ref]
                    effects.append(Note(f"dropped chunk {ref.chunk} of {_name(ref)}: not what the ledger says"))
                held.is_checked = verdict is True
        return effects

    def _verdict(self, view: SumView, ref: ChunkRef, held: Held) -> bool | None:
        if ref.lane == Lane.SUM:
            posted = view.digest_of(ref.chunk)
            return None if posted is None else posted == held.digest
        root = view.root_of(MemberId(ref.dealer))
        if root is None:
            return None if view.phase <= Phase.COMMIT else False
        return is_leaf_of(root, held.digest, ref.chunk, len(view.qualified), held.proof)

    # --- what is at hand ----------------------------------------------------------------------------------------

    def layout(self, view: SumView) -> Layout:
        """Return how vectors of this attempt are cut; Q must be known."""
        return Layout(self._params.length, len(view.qualified))

    def dealers(self, view: SumView) -> tuple[MemberId, ...]:
        """Return whose chunks an owner adds up: the committed not left out, U once it is known."""
        return view.included or tuple(i for i in sorted(view.committers) if i not in view.left_out)

    def owned(self, view: SumView) -> list[int]:
        """Return the chunks this member owns."""
        return [chunk for chunk, owner in enumerate(view.owners) if owner == self._params.me]

    def owned_open(self, view: SumView) -> list[int]:
        """Return the chunks this member owns and still has work with: unsettled in ROSTER, then not yet summed.

        Once the sum is frozen only what was lost in a crash and what nobody else gave back is summed again.
        """
        if view.phase is Phase.ROSTER:
            return [chunk for chunk in self.owned(view) if not view.chunks[chunk].is_settled]
        if view.phase < Phase.DIGEST or (_is_frozen(view) and self._asked < ASKED_BEFORE_SUMMING):
            return []
        return [c for c in self.owned(view) if c not in self._summed and self.get_sum(view, c) is None]

    def masked_ref(self, dealer: MemberId, chunk: int) -> ChunkRef:
        """Return the name of a masked chunk."""
        return ChunkRef(self._attempt, Lane.MASKED.value, dealer, chunk)

    def sum_ref(self, chunk: int) -> ChunkRef:
        """Return the name of a chunk of the sum."""
        return ChunkRef(self._attempt, Lane.SUM.value, NO_DEALER, chunk)

    def get_masked(self, view: SumView, dealer: MemberId, chunk: int) -> Buffer | None:
        """Return a masked chunk under its dealer's root, or None."""
        if dealer == self._params.me:
            return None if self._masked is None else self.layout(view).cut(self._masked.data, chunk)
        held = self._held.get(self.masked_ref(dealer, chunk))
        return held.data if held is not None and held.is_checked else None

    def get_sum(self, view: SumView, chunk: int) -> Buffer | None:
        """Return a chunk of the sum under the ledger's digest, or None."""
        held = self._held.get(self.sum_ref(chunk))
        return held.data if held is not None and held.is_checked else None

    def get_sums(self, view: SumView) -> tuple[Buffer, ...] | None:
        """Return all chunks of the sum under their digests, or None while one is not at hand."""
        chunks = [self.get_sum(view, chunk) for chunk in range(len(view.qualified))]
        whole = tuple(chunk for chunk in chunks if chunk is not None)
        return whole if len(whole) == len(chunks) else None

    def missing_masked(self, view: SumView) -> list[tuple[int, MemberId]]:
        """Return (chunk, dealer) of what this member lacks as an owner, its own vector aside."""
        others = [dealer for dealer in self.dealers(view) if dealer != self._params.me]
        mine = self.owned_open(view)
        return [(chunk, dealer) for chunk in mine for dealer in others if self.get_masked(view, dealer, chunk) is None]

    def missing_sums(self, view: SumView) -> list[int]:
        """Return the chunks of the sum that are not at hand under their digest."""
        return [chunk for chunk in range(len(view.qualified)) if self.get_sum(view, chunk) is None]

    def collect_parts(self, view: SumView) -> tuple[tuple[int, tuple[Buffer, ...]], ...] | None:
        """Return the chunks to sum now, each with the data of all of U, or None while some of it is missing."""
        whole = []
        for chunk in self.owned_open(view):
            parts = [self.get_masked(view, dealer, chunk) for dealer in view.included]
            present = tuple(part for part in parts if part is not None)
            if len(present) < len(parts):
                return None
            whole.append((chunk, present))
        return tuple(whole)

    def begin_sums(self, chunks: Iterable[int]) -> None:
        """Note that chunks are being summed: once is enough, a result that the ledger contradicts is not repeated."""
        self._summed.update(chunks)

    def add_sum(self, view: SumView, summed: SummedChunk) -> list[Effect]:
        """Keep a chunk of the sum this member computed."""
        ref = self.sum_ref(summed.chunk)
        self._held[ref] = Held(summed.data, summed.digest, b"", False)
        return self.recheck(view, (ref,))

    def own_digests(self, view: SumView) -> tuple[tuple[int, bytes], ...] | None:
        """Return the digests of all chunks this member owns, or None while one is not computed."""
        digests = [(chunk, self.own_digest(chunk)) for chunk in self.owned(view)]
        known = tuple((chunk, digest) for chunk, digest in digests if digest is not None)
        return known if known and len(known) == len(digests) else None

    def own_digest(self, chunk: int) -> bytes | None:
        """Return the digest of a chunk of the sum at hand, checked or not."""
        held = self._held.get(self.sum_ref(chunk))
        return None if held is None else held.digest

    def drop_masked(self, view: SumView) -> None:
        """Forget other members' masked chunks: no chunk of the sum has to be made or looked at again."""
        if self.owned_open(view):
            return
        for ref in [ref for ref in self._held if ref.lane == Lane.MASKED]:
            del self._held[ref]

    def wants(self, view: SumView, only: MemberId | None) -> list[Effect]:
        """Ask for what is lacked now: of everyone who should have it, in turn, or of `only` one member."""
        wants: list[Effect] = []
        if view.phase is Phase.RECHECK:
            return wants
        for chunk, dealer in self.missing_masked(view):
            ref = self.masked_ref(dealer, chunk)
            if only in (None, dealer) and ref not in self._hashing:
                wants.append(WantChunk(dealer, ref))
        if view.phase < Phase.SUMACK or self._params.me not in view.present:
            return wants
        self._asked += only is None
        for chunk in self.missing_sums(view):
            owner = view.chunks[chunk].owner
            sources = [m for m in dict.fromkeys((*view.acked, owner)) if m != self._params.me]
            if sources and self.sum_ref(chunk) not in self._hashing and (only is None or only in sources):
                turn = owner if self._asked % 2 and owner in sources else sources[self._asked // 2 % len(sources)]
                wants.append(WantChunk(turn if only is None else only, self.sum_ref(chunk)))
        return wants

    # --- what goes out ------------------------------------------------------------------------------------------

    def offer(self, masked: MaskedInput) -> None:
        """Give this member's masked vector, whose root the ledger holds, to owners from now on."""
        self._masked = masked

    def is_asked_again(self, view: SumView, ref: ChunkRef) -> bool:
        """Whether a request is for this member's masked vector, which it has to make again first."""
        is_mine = ref.lane == Lane.MASKED and ref.dealer == self._params.me and ref.attempt == self._attempt
        return is_mine and self._masked is None and _is_frozen(view)

    def push_masked(self, view: SumView) -> list[Effect]:
        """Send each owner its chunk of this member's vector, once."""
        if self._masked is None or self._params.me in view.left_out:
            return []
        effects: list[Effect] = []
        settled = {number for number, chunk in enumerate(view.chunks) if chunk.is_settled}
        for chunk, owner in enumerate(view.owners or view.qualified):
            if owner != self._params.me and chunk not in settled:
                effects += self._send_once(view, owner, self.masked_ref(self._params.me, chunk))
        return effects

    def push_sums(self, view: SumView) -> list[Effect]:
        """Send every present member the chunks of the sum this member owns, once."""
        effects: list[Effect] = []
        for chunk, owner in enumerate(view.owners):
            if owner == self._params.me and self.own_digest(chunk) is not None:
                for member in view.present:
                    if member != self._params.me and member not in view.acked:
                        effects += self._send_once(view, member, self.sum_ref(chunk))
        return effects

    def serve(self, view: SumView, to: MemberId, ref: ChunkRef) -> list[Effect]:
        """Answer a request: masked chunks only to their owner, the sum to any member; a few times each."""
        if ref.attempt != self._attempt or ref.chunk >= len(view.qualified) or to not in self._params.members:
            return []
        if ref.lane not in (Lane.MASKED, Lane.SUM):
            return []
        if ref.lane == Lane.MASKED:
            owners = view.owners or view.qualified
            if ref.dealer != self._params.me or owners[ref.chunk] != to:
                return []
        count = self._served.get((to, ref), 0)
        effects = self._chunk(view, to, ref) if count < MAX_SERVED else []
        if effects:
            self._served[to, ref] = count + 1
        return effects

    # --- when the sum is wrong ----------------------------------------------------------------------------------

    def drop_sums(self) -> None:
        """Forget the chunks of a sum that is wrong."""
        for ref in [ref for ref in self._held if ref.lane == Lane.SUM]:
            del self._held[ref]

    def get_with_path(self, view: SumView, dealer: MemberId, chunk: int) -> tuple[Buffer, bytes] | None:
        """Return a masked chunk that is at hand and its Merkle path, or None."""
        if dealer == self._params.me and self._masked is not None:
            return self.layout(view).cut(self._masked.data, chunk), merkle_path(self._masked.leaves, chunk)
        held = self._held.get(self.masked_ref(dealer, chunk))
        return (held.data, held.proof) if held is not None and held.is_checked else None

    def keep_masked(self, view: SumView, place: tuple[MemberId, int], data: Buffer, digest: bytes, path: bytes) -> None:
        """Keep a chunk under its root again that this member owns and lost in a crash: others may need it."""
        dealer, chunk = place
        if self._owner(view, chunk) == self._params.me != dealer:
            self._held[self.masked_ref(dealer, chunk)] = Held(data, digest, path, True)

    def show(self, view: SumView, to: MemberId, ref: ChunkRef) -> list[Effect]:
        """Give any present member a masked chunk of U, own or owned: only in RECHECK, where nothing is ever opened."""
        if view.phase is not Phase.RECHECK or view.is_unmasked or ref.attempt != self._attempt:
            return []
        if ref.lane != Lane.MASKED or ref.dealer not in view.included or to not in view.present:
            return []
        count = self._shown.get((to, ref), 0)
        if ref.chunk >= len(view.qualified) or count >= MAX_SHOWN:
            return []
        found = self.get_with_path(view, MemberId(ref.dealer), ref.chunk)
        if found is None:
            return []
        self._shown[to, ref] = count + 1
        return [SendChunk(to, ref, found[1], memoryview(found[0]))]

    def _send_once(self, view: SumView, to: MemberId, ref: ChunkRef) -> list[Effect]:
        if (to, ref) in self._sent:
            return []
        self._sent.add((to, ref))
        return self._chunk(view, to, ref)

    def _chunk(self, view: SumView, to: MemberId, ref: ChunkRef) -> list[Effect]:
        """Return the effect that sends a chunk, or nothing if it is not at hand."""
        if ref.lane == Lane.SUM:
            held = self._held.get(ref)
            if held is None or not (held.is_checked or self._owner(view, ref.chunk) == self._params.me):
                return []
            return [SendChunk(to, ref, b"", memoryview(held.data))]
        if self._masked is None:
            return []
        path = merkle_path(self._masked.leaves, ref.chunk)
        return [SendChunk(to, ref, path, self.layout(view).cut(self._masked.data, ref.chunk))]


def _is_frozen(view: SumView) -> bool:
    """Whether q members have acknowledged the sum."""
    return view.phase > Phase.SUMACK


def _name(ref: ChunkRef) -> str:
    return "the sum" if ref.lane == Lane.SUM else f"member {ref.dealer}"


class Summing:
    """ROSTER, DIGEST and SUMACK of one attempt."""

    def __init__(self, params: SumParams, exchange: Exchange, pace: Pace, running: Jobs) -> None:
        self._params = params
        self._exchange = exchange
        self._pace = pace
        self._jobs = running
        self._has_reported = False

    def report(self, view: SumView) -> list[Effect]:
        """As an owner, report each chunk complete, or after a while who is missing."""
        missing = self._exchange.missing_masked(view)
        waiting = self._pace.start(view, Timer.WANT, Timer.REPORT) if missing else []
        if self._params.me in view.posted or (missing and not self._pace.is_report_due(view)):
            return waiting
        if not self._exchange.owned_open(view):
            return []
        message = bodies.Roster(*self._params.place(view.number), view.step, tuple(missing))
        return waiting + self._pace.submit(view, message)

    def sum(self, view: SumView) -> list[Effect]:
        """As an owner, sum over U, post the digests, send the sums to everyone."""
        refuse_unsafe(self._params, view)
        parts = self._exchange.collect_parts(view)
        if parts is None:
            return self._pace.start(view, Timer.WANT)
        if parts:
            self._exchange.begin_sums(chunk for chunk, _ in parts)
            return [self._jobs.start(Running(Work.SUM), jobs.SumChunks(parts))]
        effects = self._exchange.push_sums(view)
        digests = self._exchange.own_digests(view)
        if view.phase is not Phase.DIGEST or digests is None or self._params.me in view.posted:
            return effects
        return self._pace.submit(view, bodies.Digest(*self._params.place(view.number), digests)) + effects

    def acknowledge(self, view: SumView) -> list[Effect]:
        """Acknowledge the whole list of digests, or after a while report what is withheld."""
        if self._params.me not in view.present:
            return []
        missing = self._exchange.missing_sums(view)
        if missing:
            waiting = self._pace.start(view, Timer.WANT, Timer.REPORT)
            withheld = tuple(chunk for chunk in missing if view.chunks[chunk].owner != self._params.me)
            self._has_reported = self._has_reported or self._params.me in view.posted
            if self._has_reported or not withheld or not self._pace.is_report_due(view):
                return waiting
            message = bodies.SumAck(*self._params.place(view.number), None, withheld)
            return waiting + self._pace.submit(view, message, "missing")
        if self._params.me in view.acked:
            return []
        digests = [chunk.digest or b"" for chunk in view.chunks]
        place = self._params.place(view.number)
        message = bodies.SumAck(*place, compute_list_digest(*place, digests), ())
        return self._pace.submit(view, message, "acknowledged")
