"""The chain carries an application of which it knows nothing: consensus, crashes, catch-up, stores, light verification.

Everything of the chain is real: signatures, messages as bytes, LevelDB. Time and network are simulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fednode.chain.light import LightBlock, LightRules, follow, trust_genesis
from fednode.chain.state import BUCKETS, bucket_of, hash_bucket, verify_inclusion
from fednode.chain.store import LedgerStore
from fednode.errors import Rejected
from fednode.ids import NO_HASH
from tests.chain.register import RECORDS, TAKEN, VERSION, Entry, RegisterChecker, RegisterNode, RegisterWorld, entry_key
from tests.sim.faults import Crash, CrashAll, Timed
from tests.sim.ledger import JOINING
from tests.sim.world import LONGEST_REST_MS, Plan

RULES = LightRules({VERSION})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RegisterWorld]:
    """Four members that are up, and one that will join."""
    world = RegisterWorld(Plan(1, faults=0, is_real=True, joins=True), tmp_path)
    yield world
    world.close()


def machine_of(world: RegisterWorld, member: int) -> RegisterNode:
    node = next(node for node in world.nodes if node.member == member)
    assert isinstance(node, RegisterNode)
    return node


def light_block(store: LedgerStore, height: int) -> LightBlock:
    """What a stranger is given of one block: nothing in it is an entry."""
    block, certificate = store.get_block(height), store.get_certificate(height)
    assert block is not None and certificate is not None
    return LightBlock(block.header, certificate, store.get_members(height), store.get_members(height + 1))


def test_members_keep_a_register_and_every_name_is_entered_once(world: RegisterWorld) -> None:
    world.begin()
    world.run_to(12)
    checker, store = world.checker, machine_of(world, 1).disk.chain
    assert isinstance(checker, RegisterChecker)
    assert len(checker.entries) > 5 and len(checker.refused) > 3
    refused = set()
    for height in range(1, 13):
        block, receipts = store.get_block(height), store.get_receipts(height)
        assert block is not None and receipts is not None
        refused |= {data for data, receipt in zip(block.transactions, receipts, strict=True) if receipt.reason == TAKEN}
    assert refused and refused <= checker.refused


def test_a_machine_that_crashed_goes_on_from_its_store(world: RegisterWorld) -> None:
    world.begin()
    world.run_to(4)
    node = machine_of(world, 3)
    before = node.ledger.state.root
    node.crash()
    assert not node.is_up and node.disk.chain.load_state().root == before
    world.run_for(LONGEST_REST_MS)
    assert node.is_up and node.life == 2
    world.run_to(node.height + 4)


@pytest.mark.parametrize("seed", range(3))
def test_crashes_between_any_two_effects_lose_nothing(tmp_path: Path, seed: int) -> None:
    script = (Timed(1_000, Crash(0, seed)), Timed(4_000, CrashAll((seed, 1, 2, 3))), Timed(9_000, Crash(2, 2 + seed)))
    world = RegisterWorld(Plan(seed, is_real=True, script=script), tmp_path)
    world.run()
    assert sum(node.life for node in world.nodes) >= 6 + len(world.nodes) - 1
    world.close()


def test_a_newcomer_fetches_the_register_and_becomes_a_member(world: RegisterWorld) -> None:
    newcomer = machine_of(world, JOINING)
    world.begin(skip=newcomer)
    world.run_to(8)
    assert newcomer.height == 0
    world.restart(newcomer)
    world.run_to(16)
    assert newcomer.ledger.state.root == machine_of(world, 1).ledger.state.root
    assert JOINING in newcomer.disk.tip.members.ids
    signers = [proof.signers(newcomer.disk.chain.get_members(proof.height)) for _, proof in newcomer.disk.blocks[9:]]
    assert any(JOINING in members for members in signers)


def test_whoever_trusts_the_founding_alone_can_verify_an_entry(world: RegisterWorld) -> None:
    world.begin()
    world.run_to(10)
    node = machine_of(world, 1)
    store, height = node.disk.chain, node.disk.tip.height
    now_ms = world.now_ms + 1_000
    way = follow(trust_genesis(world.founding), height, lambda at: light_block(store, at), now_ms, RULES)
    header = way[-1].header
    number = bucket_of(entry_key(b"1"))
    bucket = node.ledger.state.bucket(number)
    verify_inclusion(hash_bucket(bucket), number, BUCKETS, node.ledger.state.bucket_path(number), header.state_root)
    found = {key: data for _, key, data in bucket}
    assert RECORDS.decode(entry_key(b"1"), found[entry_key(b"1")]) == Entry(b"2")

    forged = replace(header, state_root=NO_HASH)
    with pytest.raises(Rejected, match="another block"):
        follow(
            trust_genesis(world.founding), height, lambda at: replace(light_block(store, at), header=forged), now_ms,
            RULES,
        )
