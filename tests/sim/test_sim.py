"""Seeds that must hold, and broken rules that must not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fednode.chain.consensus.view import Timeouts
from fednode.chain.consensus.votes import HeightFacts
from fednode.ids import MemberId
from tests.limits import Limits
from tests.sim import mutants
from tests.sim.adversary import ATTACKS, Adversary
from tests.sim.ledger import JOINING
from tests.sim.mutants import MUTANTS, Mutant, hunt
from tests.sim.world import FOUND_GONE_MS, Plan, World, draw_plan
from tests.support.patches import applied


@pytest.mark.parametrize("seed", range(24))
def test_seed(seed: int) -> None:
    World(draw_plan(seed)).run()


@pytest.mark.parametrize("members", [1, 2, 3, 5, 7])
def test_other_sizes(members: int) -> None:
    World(draw_plan(1, members)).run()


def test_real_signatures_and_bytes() -> None:
    world = World(draw_plan(7))
    assert world.plan.is_real
    world.run()


def test_a_twin_is_found_out() -> None:
    found = 0
    for seed in range(0, 30, 3):
        world = World(draw_plan(seed))
        world.run()
        found += sum(len(block.evidence) for block in world.checker.chain)
    assert found > 0


def test_an_adversary_tries_everything_and_breaks_nothing() -> None:
    tried: set[str] = set()
    for seed in range(6):
        world = World(Plan(seed, has_adversary=True))
        world.run()
        hostile = world.nodes[0]
        assert isinstance(hostile, Adversary)
        tried |= set(hostile.attacks)
    assert tried == {attack.__name__.lstrip("_") for attack in ATTACKS}


@pytest.mark.parametrize("seed", range(3))
def test_a_member_joins_and_decides_from_the_next_height_on(seed: int) -> None:
    world = World(Plan(seed, joins=True))
    world.run()
    joined = next(block.height for block in world.checker.chain if b"join %d" % JOINING in block.transactions)
    certificates = [proof for _, proof in world.nodes[0].disk.blocks]
    sizes = [len(world.nodes[0].disk.tip.members)] + [len(proof.signatures) for proof in certificates[joined:]]
    assert sizes[0] == 5
    assert min(sizes) >= 4


def test_a_run_is_a_function_of_its_seed() -> None:
    one, other = World(draw_plan(11)), World(draw_plan(11))
    one.run()
    other.run()
    assert [block.hash for block in one.checker.chain] == [block.hash for block in other.checker.chain]
    assert one.events == other.events


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_noticed(mutant: Mutant) -> None:
    assert hunt(mutant, range(20)).killer is not None


def test_a_mutant_leaves_nothing_behind() -> None:
    with applied(MUTANTS[0].patches):
        pass
    World(draw_plan(0)).run()


def test_a_mutant_that_never_ends_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def spin(facts: HeightFacts, value: bytes) -> bool:
        while True:
            pass

    monkeypatch.setattr(mutants, "LIMITS", Limits(seconds=0.5, growth_bytes=1 << 30))
    killer = hunt(Mutant("never ends", ((HeightFacts, "is_valid", spin),)), range(1)).killer
    assert killer is not None and "no end within" in killer


@pytest.mark.parametrize("dead", [0, 1, 2, 3])
def test_a_dead_leader_costs_its_timeout_once(dead: int) -> None:
    world = World(Plan(5, faults=0))
    world.begin(skip=world.nodes[dead])
    world.run_to(20)
    views = [certificate.view for _, certificate in world.nodes[dead - 1].disk.blocks]
    assert len(views) >= 20
    assert sum(views) == 1


@pytest.mark.parametrize("dead", [0, 1, 2, 3])
def test_a_leader_known_to_be_gone_is_passed_over_at_once(dead: int) -> None:
    """Found to be gone before its turn, or while the others wait for it: no height takes the time to propose."""
    world = World(Plan(5, faults=0))
    world.begin(skip=world.nodes[dead])
    world.after(FOUND_GONE_MS, world.tell_gone)
    for at_ms in range(60, 10_000, 40):
        for node in world.nodes:
            world.after(at_ms, node.submit, b"more %d" % at_ms)
    reached = [world.now_ms]
    for height in range(1, 21):
        world.run_to(height)
        reached.append(world.now_ms)
    waits = [later - earlier for earlier, later in pairwise(reached)]
    assert max(waits) <= FOUND_GONE_MS + 2 * Timeouts().gone_ms < Timeouts().propose_ms


def test_whoever_takes_a_leader_for_gone_that_is_there_costs_the_chain_nothing() -> None:
    world = World(Plan(5, faults=0))
    world.begin()
    world.nodes[0].find_gone(frozenset({MemberId(2), MemberId(3), MemberId(4)}))
    world.run_to(40)
    assert not any(certificate.view for _, certificate in world.nodes[0].disk.blocks)


def test_an_idle_federation_is_silent() -> None:
    world = World(Plan(5, faults=0))
    world.begin()
    world.run_to(3)
    world.stop_submitting()
    world.run_for(60_000)
    height, sent = world.nodes[0].height, world.sent
    world.run_for(600_000)
    assert world.nodes[0].height == height
    assert world.sent - sent == 60 * 12  # each member tells each other every ten seconds where its chain ends


@pytest.mark.slow
@pytest.mark.parametrize("members", [4, 7])
def test_many_seeds(members: int) -> None:
    for seed in range(100, 100 + 1200 // members):
        World(draw_plan(seed, members, faults=5)).run()
