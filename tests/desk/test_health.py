"""`status` counts who signs and names the cause, on whole cores: lost sign-states, wrong clocks, a genesis to come."""

from __future__ import annotations

from dataclasses import replace

from fednode.core.attendance import BEAT_MS
from fednode.desk.health import health_problems, signing_members, why_not_signing
from fednode.ids import MemberId
from tests.node.world import World

SETTLED_MS = 2 * BEAT_MS


def problems(world: World, number: int) -> list[str]:
    return health_problems(world.nodes[number].live(), lambda member: f"H{member}", world.now_ms)


def test_all_is_well() -> None:
    world = World().start().rest(SETTLED_MS)
    for number, node in world.nodes.items():
        assert signing_members(node.live(), world.now_ms) == (1, 2, 3, 4)
        assert problems(world, number) == [] and why_not_signing(node.live(), world.now_ms) is None


def test_two_of_four_without_sign_state_are_connected_and_do_not_count() -> None:
    world = World()
    for number in (1, 2):
        world.nodes[number].disk.record = None
    world.start().rest(SETTLED_MS)
    core = world.nodes[3].live()
    assert core.up == {1, 2, 4}
    assert signing_members(core, world.now_ms) == (3, 4)
    (told,) = problems(world, 3)
    assert "2 of 4 members sign and 3 are needed" in told
    assert "Connected, but not signing: H1 (member 1), H2 (member 2)" in told
    assert "sign-state" in (why_not_signing(world.nodes[1].live(), world.now_ms) or "")


def test_who_is_away_is_named_as_away() -> None:
    world = World().start().rest(SETTLED_MS)
    world.stop(2)
    world.stop(4)
    world.rest(SETTLED_MS)
    (told,) = problems(world, 1)
    assert "Not connected: H2 (member 2), H4 (member 4)" in told and "but not signing" not in told


def test_the_clock_that_is_wrong_is_named_and_no_other() -> None:
    world = World().start().rest(SETTLED_MS)
    lagging = world.nodes[2].live()
    seen = {number: node.live() for number, node in world.nodes.items()}
    for core in seen.values():  # as if member 2's machine were an hour behind: what it says and what it reads
        for member, lives in core.attendance._lives.items():
            for life in lives.values():
                if core is lagging:
                    life.heard_ms -= 3_600_000
                elif member == MemberId(2):
                    said = replace(life.presence.said, time_ms=life.presence.said.time_ms - 3_600_000)
                    life.presence = replace(life.presence, said=said)
    own = health_problems(lagging, lambda member: f"H{member}", world.now_ms - 3_600_000)
    assert "this machine's clock is behind the other members' by some 3600 s (3 of 3 agree)" in own[0]
    for number in (1, 3, 4):
        (told,) = problems(world, number)
        assert told.startswith("the clock of H2 (member 2) is behind the other members' by some 3600 s")


def test_a_genesis_of_the_future_is_the_cause_and_no_member() -> None:
    world = World().start().rest(SETTLED_MS)
    core = world.nodes[1].live()
    early_ms = world.genesis.time_ms - 7_200_000
    for lives in core.attendance._lives.values():
        for life in lives.values():
            life.heard_ms = early_ms
            life.presence = replace(life.presence, said=replace(life.presence.said, time_ms=early_ms))
    (told,) = health_problems(core, lambda member: f"H{member}", early_ms)
    assert told.startswith("the genesis was made with a clock that was ahead by some 7")
    assert "3 other clocks agree with this one" in told
