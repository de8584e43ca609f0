"""Where incoming connections wait until they have proven who they are: how many may, and who has to go.

Security assumption: none about who waits. Whoever opens sockets by the thousand may fill the places of its own source;
it pushes out its own before others', strangers' before those from where members are known to come, and whoever has
stood still longest before one that just took a step. A step is an answer of ours to a whole message, and the handshake
has three: nobody can seem busy for long.

Pure and synchronous.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from fednode.p2p import wire_limits
from fednode.p2p.peers import TokenBucket

HANDSHAKE_STEPS = 3
"""Our greeting, the name of Noise, and Noise's answer; the next thing is the proof."""

def places_within(open_files: int) -> int:
    """Return how many places there are where a process may have so many files open (negative: any number)."""
    if open_files < 0:
        return wire_limits.MAX_PENDING_HANDSHAKES
    shares = wire_limits.SHARES_OF_PLACES
    return max(shares, min(wire_limits.MAX_PENDING_HANDSHAKES, open_files // shares))


class Place:
    """One connection that waits."""

    __slots__ = ("give_up", "is_known", "source", "steps")

    def __init__(self, source: str, is_known: bool, give_up: Callable[[], None]) -> None:
        self.source = source
        self.is_known = is_known
        self.give_up = give_up
        self.steps = 0


class Yard:
    """All that wait, whoever stood still longest first."""

    def __init__(
        self, is_known: Callable[[str], bool], most_places: int = wire_limits.MAX_PENDING_HANDSHAKES
    ) -> None:
        """`is_known`: whether a member is known to come from a source."""
        self._is_known = is_known
        self._most_places = most_places
        self._places: OrderedDict[Place, None] = OrderedDict()
        self._by_source: Counter[str] = Counter()
        self._newcomers: dict[str, TokenBucket] = {}
        self._strangers = TokenBucket(wire_limits.STRANGERS_PER_S, wire_limits.STRANGERS_BURST)

    def __len__(self) -> int:
        return len(self._places)

    def admits(self, source: str, now_ns: int) -> bool:
        """Whether to begin with a newcomer at all: strangers' sources come so often, each and together."""
        if self._is_known(source):
            return True
        bucket = self._newcomers.get(source)
        if bucket is None:
            if len(self._newcomers) >= wire_limits.MAX_SOURCES:
                self._newcomers.clear()
            bucket = self._newcomers[source] = TokenBucket(wire_limits.NEWCOMERS_PER_S, wire_limits.NEWCOMERS_BURST)
        return bucket.take(1, now_ns) and self._strangers.take(1, now_ns)

    def enter(self, source: str, give_up: Callable[[], None]) -> Place:
        """Take a place; if all are taken, somebody's `give_up` is called."""
        if len(self._places) >= self._most_places:
            victim = self._choose(source)
            self.leave(victim)
            victim.give_up()
        place = Place(source, self._is_known(source), give_up)
        self._places[place] = None
        self._by_source[source] += 1
        return place

    def step(self, place: Place) -> None:
        """It has got a step further."""
        if place in self._places and place.steps < HANDSHAKE_STEPS:
            place.steps += 1
            self._places.move_to_end(place)

    def leave(self, place: Place) -> None:
        """Its place is free; more than once does nothing."""
        if place in self._places:
            del self._places[place]
            self._by_source[place.source] -= 1
            if not self._by_source[place.source]:
                del self._by_source[place.source]

    def _choose(self, newcomer: str) -> Place:
        """Return who goes: of the newcomer's source if that has more than its share, else of the fullest stranger's."""
        if self._by_source[newcomer] >= self._most_places // wire_limits.SHARES_OF_PLACES:
            return next(place for place in self._places if place.source == newcomer)
        pool = [place for place in self._places if not place.is_known] or list(self._places)
        counts = [self._by_source[place.source] for place in pool]
        return pool[counts.index(max(counts))]
