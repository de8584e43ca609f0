"""Who has to go when all places for handshakes are taken."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.ids import PeerId
from fednode.p2p.addresses import source_of
from fednode.p2p.peers import SECOND_NS, PeerBook
from fednode.p2p.wire_limits import (
    HANDSHAKE_TIMEOUT_S,
    MAX_PENDING_HANDSHAKES,
    MAX_SOURCES,
    NEWCOMERS_BURST,
    NEWCOMERS_PER_S,
    SHARES_OF_PLACES,
    STRANGERS_BURST,
    STRANGERS_PER_S,
)
from fednode.p2p.yard import HANDSHAKE_STEPS, Place, Yard, places_within

MAX_PENDING_OF_SOURCE = MAX_PENDING_HANDSHAKES // SHARES_OF_PLACES
ROUND_TRIP_S, FLOOD_S = 0.1, 4.0
MEMBER, OFFICE = "192.0.2.1", "192.0.2.99"


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("hospital.example", "hospital.example"),
        ("", ""),
    ],
)
def test_a_source_is_an_address_or_a_site(host: str, source: str) -> None:
    assert source_of(host) == source


# --- a flood in simulated time

class Play:
    """Strangers at a constant rate, and members that come in between and need four round trips."""

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        self.yard = Yard(is_known)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.now = 0.0
        self.number = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.number += 1
        heapq.heappush(self.events, (when, self.number, what))

    def run(self) -> None:
        while self.events:
            self.now, _, what = heapq.heappop(self.events)
            what()

    def come(self, source: str, steps_at: tuple[float, ...], stays_s: float, outcome: list[str]) -> None:
        """Enter, take steps at these times, and be through, or given up, after `stays_s`."""
        begin = self.now
        place = self.yard.enter(source, lambda: outcome.append("pushed out"))
        for step_s in steps_at:
            self.at(begin + step_s, lambda: self.yard.step(place))

        def end() -> None:
            if not outcome:
                outcome.append("through")
            self.yard.leave(place)

        self.at(begin + stays_s, end)


def flooded(rate: float, steps_at: tuple[float, ...], sources: list[str], is_known: Callable[[str], bool]) -> list[str]:
    """Return what became of five members that came one after the other under a flood."""
    play, became = Play(is_known), []
    for number in range(int(rate * FLOOD_S)):
        source = sources[number % len(sources)]
        play.at(number / rate, lambda source=source: play.come(source, steps_at, HANDSHAKE_TIMEOUT_S, []))
    steps = tuple(ROUND_TRIP_S * step for step in range(1, HANDSHAKE_STEPS + 1))
    for number in range(5):
        outcome: list[str] = []
        became.append(outcome)
        play.at(FLOOD_S / 2 + number / 4, lambda out=outcome: play.come(MEMBER, steps, 4.5 * ROUND_TRIP_S, out))
    play.run()
    assert len(play.yard) == 0
    return [outcome[0] for outcome in became]


LAZY = tuple(0.2 * step for step in range(1, HANDSHAKE_STEPS + 1))


FLOODS = {"silent": (), "busy at once": (0.0,) * 3, "busy for long": LAZY}
MANY = [f"10.0.0.{number}" for number in range(MAX_PENDING_HANDSHAKES)]
SOURCES = {"another address": [OFFICE], "many addresses": MANY}


@pytest.mark.parametrize("rate", [50, 400, 1200])
@pytest.mark.parametrize("steps_at", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES)
def test_a_member_comes_in_under_a_flood(rate: int, steps_at: tuple[float, ...], sources: list[str]) -> None:
    assert flooded(rate, steps_at, sources, lambda source: source == MEMBER) == ["through"] * 5


@pytest.mark.parametrize(("rate", "flood"), [(1200, "silent"), (1200, "busy at once"), (600, "busy for long")])
def test_a_member_comes_in_past_a_flood_from_its_own_address(rate: int, flood: str) -> None:
    """Only the steps tell them apart, and at some rate nothing does."""
    assert flooded(rate, FLOODS[flood], [MEMBER], lambda source: True) == ["through"] * 5


def test_a_member_from_an_unlisted_address_comes_in_unless_a_thousand_addresses_flood() -> None:
    assert flooded(1200, LAZY, [OFFICE], lambda source: False) == ["through"] * 5


# --- what always holds

MOVE = st.tuples(st.sampled_from(["enter", "step", "leave"]), st.integers(0, 5), st.integers(0, 400))
MOVES = st.lists(MOVE, max_size=900)


@given(MOVES, st.integers(0, 2**32))
def test_places_are_bounded_and_counted(moves: list[tuple[str, int, int]], seed: int) -> None:
    drawn, places, gone = random.Random(seed), [], set()
    yard = Yard(lambda source: source in "01")
    moves = [*[("enter", drawn.randrange(6), 0) for _ in range(MAX_PENDING_HANDSHAKES)], *moves]
    for move, source, which in moves:
        if move == "enter":
            index = len(places)
            places.append(yard.enter(str(source), lambda index=index: gone.add(index)))
        elif move == "step":
            yard.step(places[which % len(places)])
        else:
            gone.add(which % len(places))
            yard.leave(places[which % len(places)])
        assert len(yard) == len(places) - len(gone) <= MAX_PENDING_HANDSHAKES
        assert sum(yard._by_source.values()) == len(yard) and min(yard._by_source.values(), default=1) > 0


def fill(yard: Yard, source: str, count: int, gone: list[str]) -> list[Place]:
    return [yard.enter(source, lambda: gone.append(source)) for _ in range(count)]


def test_strangers_push_out_strangers_and_a_source_its_own() -> None:
    gone: list[str] = []
    yard = Yard(lambda source: source in ("member", "another member"))
    fill(yard, "member", MAX_PENDING_OF_SOURCE, gone)
    fill(yard, "stranger", MAX_PENDING_HANDSHAKES - MAX_PENDING_OF_SOURCE, gone)
    fill(yard, "one more", 1, gone)
    fill(yard, "another member", 1, gone)
    assert gone == ["stranger"] * 2
    fill(yard, "member", 1, gone)
    assert gone == ["stranger"] * 2 + ["member"]


def test_steps_are_worth_something_three_times_only() -> None:
    gone: list[int] = []
    yard = Yard(lambda source: False)
    places = [yard.enter("x", lambda number=number: gone.append(number)) for number in range(MAX_PENDING_HANDSHAKES)]
    for _ in range(HANDSHAKE_STEPS):
        yard.step(places[0])
    yard.enter("x", lambda: None)
    assert gone == [1]
    for place in places[2:]:
        yard.step(place)
    yard.step(places[0])
    yard.enter("x", lambda: None)
    assert gone == [1, 0]


def test_the_book_knows_where_members_are_listed_and_where_they_came_from() -> None:
    book, peer = PeerBook(PeerId("me"), lambda: 0.5), PeerId("other")
    book.set_members({peer: ("/ip4/192.0.2.1/tcp/7700", "/dns4/other.example/tcp/7700", "nonsense")}, 1)
    assert book.knows_source("192.0.2.1") and book.knows_source("other.example") and not book.knows_source("")
    book.on_up(peer, "/ip4/198.51.100.7/tcp/50000")
    assert book.knows_source("198.51.100.7") and book.knows_source("192.0.2.1")
    book.on_up(peer, "unknown")
    assert book.knows_source("198.51.100.7")
    book.set_members({}, 2)
    assert not book.knows_source("198.51.100.7") and not book.knows_source("192.0.2.1")


def admitted(yard: Yard, sources: list[str], per_s: int, seconds: int) -> int:
    return sum(
        yard.admits(sources[number % len(sources)], SECOND_NS + number * SECOND_NS // per_s)
        for number in range(per_s * seconds)
    )


def test_strangers_come_so_often_each_and_together_and_members_do_not_wait_for_them() -> None:
    yard = Yard(lambda source: source == MEMBER)
    assert admitted(yard, [OFFICE], 1000, 10) <= NEWCOMERS_BURST + 10 * NEWCOMERS_PER_S
    assert admitted(yard, ["198.51.100.7"], 10, 10) == 100  # another stranger does not pay for it
    yard = Yard(lambda source: source == MEMBER)
    many = [f"s{number}" for number in range(20_000)]
    assert admitted(yard, many, 5000, 10) <= STRANGERS_BURST + 10 * STRANGERS_PER_S
    assert len(yard._newcomers) <= MAX_SOURCES
    assert admitted(yard, [MEMBER], 1000, 5) == 5000


@pytest.mark.parametrize("open_files", [-1, 16, 64, 256, 1024, 4096, 2**20])
def test_strangers_never_take_the_files_of_a_process(open_files: int) -> None:
    most, gone = places_within(open_files), []
    assert 1 <= most <= MAX_PENDING_HANDSHAKES and (open_files < 0 or most <= open_files // 4)
    yard = Yard(lambda source: False, most)
    for number in range(2 * most):
        yard.enter(str(number % 7), lambda number=number: gone.append(number))
    assert len(yard) == most == len(gone)
