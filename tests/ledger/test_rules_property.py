"""Random scripts of members that post, stay away or lie: what must hold whatever they do, and what must hold while
no more than f of them are faulty."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.chain.state import State
from fednode.crypto import scalar_bytes
from fednode.ids import fault_bound
from fednode.ledger import transactions as tx
from fednode.ledger.bodies import Body
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.rules import apply_block
from fednode.ledger.studies.bodies import Outcome, StudyAction, StudyVote
from fednode.ledger.studies.records import StudyStatus, get_report, get_round
from fednode.ledger.sums.phases import pending_phase
from fednode.ledger.sums.records import RoundRecord, VoidAttempt
from fednode.sums import bodies
from fednode.sums.bounds import min_included
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World
from tests.ledger.world import TERMS, Dealing, expire_vote

MAX_BLOCKS = 600


@dataclass
class Script:
    """One random run. `liars` post whatever they like; `slow` members are honest and often silent."""

    seed: int
    size: int
    liars: frozenset[int]
    slow: frozenset[int]
    rounds: int = 2
    unmasked: dict[int, tuple[int, ...]] = field(default_factory=dict)
    was_absent: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.world = self.make_world({
            "rounds": self.rounds, "has_statistics": bool(self.seed % 2), "pause_after_failures": 2,
        })
        for dealer in self.liars:
            for holder in self.world.members:
                if holder != dealer and self.random.random() < 0.3:
                    self.world.wrong_shares.add((dealer, holder))
                if self.random.random() < 0.4:
                    self.world.kept_chunks.add((dealer, holder))
                if self.random.random() < 0.4:
                    self.world.kept_sums.add((dealer, holder))

    def make_world(self, changes: dict[str, Any]) -> World:
        return World(size=self.size, terms=replace(TERMS, **changes))

    # --- what members do ----------------------------------------------------------------------------------------------

    def lie(self, member: int) -> Body | None:
        """Return some message a faulty member might post; often one the rules must refuse."""
        world, draw = self.world, self.random
        if not world.is_round_open or draw.random() < 0.3:
            return None
        place, attempt = world.place(), world.round.attempt

        def some(items: Iterable[Any]) -> tuple[Any, ...]:
            pool = list(items)
            return tuple(sorted(draw.sample(pool, draw.randint(0, len(pool)))))

        def shares(which: str, dealers: tuple[int, ...]) -> tuple[tuple[int, bytes], ...]:
            return tuple((d, Dealing.share(getattr(world.dealing(d), which), member)) for d in dealers)

        own = scalar_bytes(world.dealing(member).b[0])
        match Phase(world.phase.kind):
            case Phase.ACK:
                return bodies.Acknowledge(*place, some(d for d in attempt.dealers if d != member))
            case Phase.ROSTER:
                pairs = [(n, d) for n in world.owned(member) for d, _, _ in attempt.committed if d != member]
                return bodies.Roster(*place, world.phase.step, some(pairs)[: draw.randint(0, 3)])
            case Phase.SUMACK:
                missing = some(range(len(attempt.chunks)))
                return bodies.SumAck(*place, None, missing) if missing else world.owed(member)
            case Phase.REVEAL | Phase.REVEAL2:
                honest = world.owed(member)
                if isinstance(honest, bodies.Reveal) and draw.random() < 0.5:
                    return replace(honest, own_b=own)
                return bodies.Reveal(
                    *place, draw.choice([own, None]), shares("a", some(attempt.dealers)),
                    shares("b", some(attempt.dealers)),
                )
            case Phase.RESULT:
                return world.result(member, model_hash=bytes([draw.randint(1, 2)]) * 32)
            case _:
                return world.owed(member)

    def block(self) -> None:
        world = self.world
        pending = pending_phase(world.state, world.study)
        messages: list[tuple[int, Body]] = []
        members = self.random.sample(world.members, len(world.members))
        for member in members:
            if member in self.liars:
                body = self.lie(member) if self.random.random() < 0.6 else world.owed(member) or self.rejoin(member)
            elif member in self.slow and self.random.random() < 0.7:
                body = None
            else:
                body = world.owed(member) if self.random.random() < 0.8 else None
                if body is None:
                    body = self.rejoin(member)
            if body is not None:
                messages.append((member, body))
        world.block(*messages)
        self.check(world)
        self.vote(pending)

    def rejoin(self, member: int) -> Body | None:
        entry = next((e for e in self.world.life.ready if e.member == member), None)
        return None if entry is not None and entry.is_ready else self.world.ready(member)

    def vote(self, pending) -> None:
        """Honest members vote when no prompt honest member still owes a message; liars vote whenever they like."""
        world = self.world
        now = pending_phase(world.state, world.study)
        if now is None or pending is None or now.phase.number != pending.phase.number:
            return
        prompt = [m for m in world.members if m not in self.liars | self.slow]
        if now.record is not None and any(world.owed(m) is not None for m in prompt):
            voters = [m for m in sorted(self.liars) if m not in now.phase.expire_votes]
        else:
            voters = [m for m in world.members if m not in now.phase.expire_votes]
        if voters:
            world.block(*((m, expire_vote(now)) for m in voters))
            self.check(world)

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self, world: World) -> None:
        record = get_round(world.state, world.study)
        if record is not None:
            self.check_round(record)

    def check_round(self, record: RoundRecord) -> None:
        attempt, needed = record.attempt, min_included(self.size)
        included = set(attempt.included)
        self.check_faulty(record.faulty)
        assert attempt.number <= fault_bound(self.size)
        if record.is_unmasked:
            before = self.unmasked.setdefault(record.number, attempt.included)
            assert before == attempt.included, "the set changed after the Unmask"
            assert len(included) >= needed and len(attempt.present) >= needed
            committed = {m for m, _, _ in attempt.committed}
            assert included <= committed <= set(attempt.qualified) <= set(attempt.present) <= set(attempt.holders)
            assert record.pinned is None or attempt.included == record.pinned
        else:
            assert record.number not in self.unmasked, "an attempt was begun after the Unmask"
            assert not (attempt.own_b or attempt.a_shares or attempt.b_shares), "opened before the Unmask"
        assert {m for m, _ in attempt.own_b} <= included
        assert not {dealer for dealer, _ in attempt.a_shares} & included
        assert {dealer for dealer, _ in attempt.b_shares} <= set(attempt.silent_b) <= included
        assert all(len(shares) <= record.fault_bound for _, shares in attempt.answers)
        if record.pinned is not None:
            assert set(attempt.holders) <= set(record.pinned)

    def check_faulty(self, faulty: tuple[int, ...]) -> None:
        assert faulty == ()

    def is_explained(self, void: VoidAttempt) -> bool:
        return bool(void.dropped)

    def check_end(self) -> None:
        world = self.world
        last_failed_set = None
        number = 0 if world.terms.has_statistics else 1
        while (report := get_report(world.state, world.study, number)) is not None:
            assert report.attempts <= fault_bound(self.size) + 1
            self.check_faulty(report.faulty)
            assert all(map(self.is_explained, report.voids)), "nobody was lost"
            self.was_absent.update(absence.member for absence in report.absent)
            if report.is_unmasked:
                assert last_failed_set in (None, report.counted), "another set after a failed Unmask"
                last_failed_set = None if report.outcome == Outcome.OK else report.counted
            else:
                assert report.outcome == Outcome.FAILED and report.counted == ()
            number += 1

    def play(self) -> None:
        world = self.world
        world.ready_all()
        resumed = 0
        for _ in range(MAX_BLOCKS):
            if world.life.status in (StudyStatus.FINISHED, StudyStatus.STOPPED):
                break
            if world.life.status == StudyStatus.PAUSED:
                if resumed == 2:
                    break
                resumed += 1
                for member in world.members:
                    if world.life.status == StudyStatus.PAUSED:
                        world.post(member, StudyVote(world.study, StudyAction.RESUME))
            self.block()
        else:
            raise AssertionError(f"no end: {world.life.status} {world.life.reason}")
        self.check_end()


def people(size: int, count: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(1, size), min_size=0, max_size=count)


@st.composite
def scripts(draw: st.DrawFn, is_bounded: bool) -> Script:
    size = draw(st.sampled_from([3, 4, 4, 5, 7]))
    most = fault_bound(size) if is_bounded else size
    liars = draw(people(size, most))
    slow = draw(people(size, most - len(liars)))
    return Script(draw(st.integers(0, 2**32)), size, liars, slow - liars, rounds=draw(st.integers(1, 2)))


@pytest.mark.slow
@given(scripts(is_bounded=False))
@settings(max_examples=300)
def test_whatever_members_do_no_rule_is_broken(script: Script) -> None:
    script.play()


@pytest.mark.slow
@given(scripts(is_bounded=True))
@settings(max_examples=300)
def test_up_to_f_faulty_members_never_cost_a_prompt_honest_one_its_place(script: Script) -> None:
    script.play()
    prompt = set(script.world.members) - script.liars - script.slow
    assert not prompt & script.was_absent, "a prompt honest member was recorded absent"


@pytest.mark.parametrize("seed", range(4))
def test_a_stored_state_goes_on_exactly_like_the_one_in_memory(seed: int) -> None:
    """Every block is run again on a state decoded from its bytes: same receipts, same changes, same root."""
    script = Script(seed, 4, frozenset({1 + seed}), frozenset(), rounds=1)
    world = script.world
    stored = dict(world.state.items())
    original = world.block

    def both(*messages: tuple[int, Body]):
        transactions = [world.sign(member, body) for member, body in messages]
        again = apply_block(State.load(RECORD_TABLE, stored.items()), world.next_time(), transactions)
        decoded = [tx.decode_transaction(transaction.data) for transaction in transactions]
        world.at = world.next_time()
        world.last = apply_block(world.state, world.at, decoded)
        world.state = world.last.state
        assert (again.receipts, again.changes) == (world.last.receipts, world.last.changes)
        assert again.state.root == world.state.root
        for key, value in again.changes:
            if value is None:
                del stored[key]
            else:
                stored[key] = value
        return world.last.receipts

    world.block = both  # type: ignore[method-assign]
    script.play()
    assert original is not both
