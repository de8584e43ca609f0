"""RECHECK: the masked sum is wrong, and this member looks for itself which part of it.

Security assumption: views are final, so an attempt that comes here is void: neither secret of any honest member is ever
opened, and masked vectors may be shown to everybody (README, "Shown to every member"). This member says only what it
computed from chunks under their dealers' roots, of chunks and vectors it has every part of; what it could get neither
from the dealer nor from the owner, it holds against both, for both have said that they have it; or, where that would
be more than f, against the dealer alone: a crash takes from an owner what it owned, a dealer makes its vector again.

A chunk is added to its sum and its dealer's sketch as it comes and then forgotten: in memory are the sums (one vector)
and what is on its way or waits, one chunk from each member at a time. Nothing is on record: a restart begins anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fednode.crypto import sha256
from fednode.effects import Note
from fednode.ids import MemberId
from fednode.smpc.messages import (
    ChunkArrived,
    ChunkRef,
    Effect,
    Jobs,
    Lane,
    Pace,
    Running,
    SumParams,
    SumView,
    Timer,
    WantChunk,
    Work,
)
from fednode.smpc.opening import Unsafe, refuse_unsafe
from fednode.smpc.recheck_jobs import AddedParts, AddParts, MaskedPart, NameFindings, Recounted
from fednode.smpc.summing import Exchange
from fednode.smpc.vectors import HASH_BYTES, RingVector
from fednode.sums import bodies
from fednode.sums.phase import Phase

Place = tuple[MemberId, int]
"""A dealer and the number of a chunk of its masked vector."""

MAX_PATH_BYTES = 16 * HASH_BYTES
FIRST_GAP_TICKS = 2
"""How long a member that was asked for a chunk is given before it is asked for it again; then twice as long, and so on:
a slow line must not use up how often it shows a chunk (`summing.MAX_SHOWN`). A link that is back up ends the wait."""

PATIENCE = 2
"""How often in a row a dealer's chunk may be waited for in vain before owners are asked for its chunks, too."""


class Recheck:
    """What a member owes in RECHECK of one attempt."""

    def __init__(self, params: SumParams, attempt: int, exchange: Exchange, pace: Pace, jobs: Jobs) -> None:
        self._params = params
        self._attempt = attempt
        self._exchange = exchange
        self._pace = pace
        self._jobs = jobs
        self._wanted: dict[MemberId, set[int]] | None = None
        self._waiting: dict[Place, MaskedPart] = {}
        self._being_added: dict[Place, MaskedPart] = {}
        self._totals: dict[int, RingVector] = {}
        self._folds: dict[MemberId, RingVector] = {}
        self._asked: Counter[tuple[MemberId, Place]] = Counter()
        self._ask_again: dict[tuple[MemberId, Place], int] = {}
        self._ticks = 0
        self._on_way: dict[MemberId, Place] = {}
        self._slow: set[MemberId] = set()
        self._kept_waiting: Counter[MemberId] = Counter()
        self._useless: set[tuple[MemberId, Place]] = set()
        self._found: Recounted | None = None

    # --- what is owed -------------------------------------------------------------------------------------------

    def work(self, view: SumView) -> list[Effect]:
        """Fetch, add up, and in the end say what does not fit."""
        if self._params.me not in view.present or view.coin is None:
            return []
        refuse_unsafe(self._params, view)
        if view.is_unmasked:
            raise Unsafe("masked vectors are asked for after the unmasking")
        self._exchange.drop_sums()
        if self._params.me in view.posted:
            self._forget()
            return []
        wanted = self._start(view)
        tick = replace(view, phase_timeout_ms=view.phase_timeout_ms // max(1, len(view.included)))
        effects = self._pace.start(view, Timer.REPORT) + self._pace.start(tick, Timer.WANT)  # as often as elsewhere
        if self._jobs.is_running(Work.RECHECK):
            return effects + self._ask(view)
        if self._found is not None:
            return effects + self._pace.submit(view, self._finding(view, self._found))
        self._take_local(view)
        if self._waiting:
            self._being_added, self._waiting = self._waiting, {}
            return effects + self._ask(view) + [self._jobs.start(Running(Work.RECHECK), self._adding(view, view.coin))]
        if any(wanted.values()) and not self._pace.is_report_due(view):
            return effects + self._ask(view)
        return [*effects, self._jobs.start(Running(Work.RECHECK), self._naming(view, view.coin))]

    def _start(self, view: SumView) -> dict[MemberId, set[int]]:
        """Return the chunks of each dealer that are not added up yet."""
        if self._wanted is None:
            chunks = range(len(view.qualified))
            self._wanted = {dealer: set(chunks) for dealer in view.included}
        return self._wanted

    def _is_missing(self, place: Place) -> bool:
        is_wanted = self._wanted is not None and place[1] in self._wanted.get(place[0], ())
        return is_wanted and place not in self._waiting and place not in self._being_added

    def _has_waiting(self, source: MemberId) -> bool:
        return any(part.source == source for part in self._waiting.values())

    def _take_local(self, view: SumView) -> None:
        """Use what is at hand: the own vector, and chunks this member owns."""
        me = self._params.me
        for dealer in view.included:
            chunks = range(len(view.qualified)) if dealer == me else self._exchange.owned(view)
            for chunk in chunks:
                place = (dealer, chunk)
                if self._is_missing(place) and (me, place) not in self._useless:
                    found, root = self._exchange.get_with_path(view, dealer, chunk), view.root_of(dealer)
                    if found is not None and root is not None:
                        self._waiting[place] = MaskedPart(me, dealer, chunk, root, found[1], found[0])

    def _adding(self, view: SumView, coin: bytes) -> AddParts:
        parts = tuple(self._being_added.values())
        chunks, dealers = {part.chunk for part in parts}, {part.dealer for part in parts}
        totals = tuple((chunk, self._totals[chunk]) for chunk in sorted(chunks) if chunk in self._totals)
        folds = tuple((dealer, self._folds[dealer]) for dealer in sorted(dealers) if dealer in self._folds)
        return AddParts(coin, self._exchange.layout(view), parts, totals, folds, self._params.strength.rows)

    def _naming(self, view: SumView, coin: bytes) -> NameFindings:
        """Only what is whole: a sum over all of U, a sketch of all chunks."""
        wanted = self._start(view)
        open_chunks, open_dealers = set().union(*wanted.values()), {dealer for dealer in wanted if wanted[dealer]}
        totals = tuple(item for item in sorted(self._totals.items(), key=_first) if item[0] not in open_chunks)
        folds = tuple(item for item in sorted(self._folds.items(), key=_first) if item[0] not in open_dealers)
        return NameFindings(coin, totals, folds)

    def on_done(self, view: SumView, result: AddedParts | Recounted) -> list[Effect]:
        """Take in what a job computed."""
        if isinstance(result, Recounted):
            self._found = result
            return []
        self._totals.update(result.totals)
        self._folds.update(result.folds)
        effects: list[Effect] = []
        for part, digest in result.taken:
            self._exchange.keep_masked(view, (part.dealer, part.chunk), part.data, digest, part.path)
            self._start(view)[part.dealer].discard(part.chunk)
            del self._being_added[part.dealer, part.chunk]
        for place, part in self._being_added.items():  # nobody needs to be asked for this again who gave another
            self._useless.add((part.source, place))
            self._slow.add(part.dealer)
            effects.append(Note(f"dropped chunk {part.chunk} of member {part.dealer}: not what it committed"))
        self._being_added = {}
        return effects

    def _finding(self, view: SumView, found: Recounted) -> bodies.Recheck:
        chunks = tuple((chunk, digest) for chunk, digest in found.digests if view.digest_of(chunk) != digest)
        sketches = tuple(
            (dealer, sketch) for dealer, sketch in found.sketches if sha256(view.share_roots[dealer].sketch) != sketch
        )
        lacking = {dealer: chunks for dealer, chunks in self._start(view).items() if chunks}
        havers = set(lacking).union(view.owners[chunk] for chunks in lacking.values() for chunk in chunks)
        accused = havers.union((view.owners[chunk] for chunk, _ in chunks), (dealer for dealer, _ in sketches))
        if len(accused - {self._params.me}) > self._params.faults:  # would not be heard; only owners forget in a crash
            havers = set(lacking)
        withheld = tuple(sorted(havers - {self._params.me}))
        return bodies.Recheck(*self._params.place(view.number), chunks, sketches, withheld)

    def _forget(self) -> None:
        self._totals.clear()
        self._folds.clear()
        self._waiting.clear()

    # --- chunks -------------------------------------------------------------------------------------------------

    def is_expected(self, view: SumView, ref: ChunkRef, size_bytes: int, sender: MemberId) -> bool:
        """Whether a chunk was asked for from this sender and is still of use."""
        place = (MemberId(ref.dealer), ref.chunk)
        if ref.attempt != self._attempt or ref.lane != Lane.MASKED or view.phase is not Phase.RECHECK:
            return False
        if not self._is_missing(place):
            return False
        if not self._asked[sender, place] or (sender, place) in self._useless or self._params.me in view.posted:
            return False
        if self._has_waiting(sender):  # it let chunks be asked for one after the other, and sends all at once
            return False
        return self._found is None and size_bytes == self._exchange.layout(view).size_bytes(ref.chunk)

    def serve(self, view: SumView, to: MemberId, ref: ChunkRef) -> list[Effect]:
        """Answer a request: masked chunks of U, own or owned, to any present member."""
        return self._exchange.show(view, to, ref)

    def arrived(self, view: SumView, event: ChunkArrived) -> list[Effect]:
        """Put a chunk that was expected with those to be added next."""
        place = (MemberId(event.ref.dealer), event.ref.chunk)
        if self._on_way.get(event.sender) == place:
            del self._on_way[event.sender]
            self._kept_waiting[event.sender] = 0
        root = view.root_of(place[0])
        if root is not None and len(event.proof) <= MAX_PATH_BYTES:
            self._waiting[place] = MaskedPart(event.sender, *place, root, event.proof, event.data)
        return []

    def wants(self, view: SumView, only: MemberId | None) -> list[Effect]:
        """Give up on what did not come for a while and ask anew; of `only` one member, if it is back."""
        if view.phase is not Phase.RECHECK or self._wanted is None or self._params.me in view.posted:
            return []
        self._ticks += only is None
        if only is not None:
            self._ask_again = {key: tick for key, tick in self._ask_again.items() if key[0] != only}
        for source, (dealer, _) in list(self._on_way.items()):
            if only in (None, source):
                del self._on_way[source]
            if only is None and source == dealer:
                self._kept_waiting[dealer] += 1
                self._slow |= {dealer} if self._kept_waiting[dealer] >= PATIENCE else set()
        return self._ask(view)

    def _ask(self, view: SumView) -> list[Effect]:
        """Have one chunk on its way from every member of which none waits to be added up."""
        effects: list[Effect] = []
        for source in view.present:
            if source == self._params.me or source in self._on_way or self._found is not None:
                continue
            if self._has_waiting(source):
                continue  # no faster than they are added up
            places = self._places_of(view, source)
            if places:
                place = min(places, key=lambda known: self._asked[source, known])
                self._ask_again[source, place] = self._ticks + (FIRST_GAP_TICKS << self._asked[source, place])
                self._asked[source, place] += 1
                self._on_way[source] = place
                effects.append(WantChunk(source, self._exchange.masked_ref(*place)))
        return effects

    def _places_of(self, view: SumView, source: MemberId) -> list[Place]:
        """Return what to ask of a member: its own vector, and chunks it owns of members that do not answer."""
        count, turn = len(view.qualified), view.present.index(self._params.me)
        order = [(at + turn) % count for at in range(count)]  # not everybody asks for the same chunk first
        places = [(source, chunk) for chunk in order] if self._start(view).get(source) else []
        places += [(dealer, c) for dealer in sorted(self._slow - {source}) for c in order if view.owners[c] == source]
        on_way = {place for place in self._on_way.values() if place[0] not in self._slow}
        places = [p for p in places if self._is_missing(p) and p not in on_way and (source, p) not in self._useless]
        return [place for place in places if self._ask_again.get((source, place), 0) <= self._ticks]


def _first(item: tuple[int, RingVector]) -> int:
    return item[0]
