"""The fence: what others' values break costs their sender, what this program breaks by itself ends the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from fednode.chain.state import Draft, State
from fednode.codec import U8, decode, encode
from fednode.core import studies as node_studies
from fednode.core.effects import CoreTimer, Own
from fednode.effects import Note
from fednode.errors import Rejected, StorageError
from fednode.fence import Stumbled, Unforeseen, foreign, judge, rule, take
from fednode.ids import MemberId
from fednode.ledger import application as chain
from fednode.ledger import rules
from fednode.ledger.bodies import Body, Memo
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.transactions import Transaction
from fednode.node.parts import finish
from fednode.rounds.events import ForgetRound
from tests.ledger.sum_world import World
from tests.ledger.world import SPEC, TERMS
from tests.node.world import World as Nodes
from tests.support.reactor import Stage

BROKEN: list[type[Exception]] = [OverflowError, AssertionError, KeyError, MemoryError, RecursionError]


def breaks(error: Exception) -> Callable[[], None]:
    def ask() -> None:
        raise error

    return ask


@pytest.mark.parametrize("kind", BROKEN)
def test_what_nobody_foresaw_is_a_verdict_that_names_the_place_and_not_the_value(kind: type[Exception]) -> None:
    with pytest.raises(Unforeseen) as caught:
        judge("a level", breaks(kind("secret")))
    assert kind.__name__ in caught.value.reason
    assert "secret" not in caught.value.reason
    with pytest.raises(Stumbled, match="member 3"):
        take(3, "frame", breaks(kind("secret")))


@pytest.mark.parametrize("error", [Rejected("no"), StorageError("disk"), OSError(28, "full")])
def test_errors_with_an_owner_pass(error: Exception) -> None:
    for ask in (lambda: judge("it", breaks(error)), lambda: take(3, "it", breaks(error)), lambda: rule(breaks(error))):
        with pytest.raises(type(error)):
            ask()


async def test_tasks_are_cancelled_through_the_fence_and_borders_pass() -> None:
    with trio.move_on_after(0) as scope, foreign("a stream"):
        await trio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(trio.TooSlowError), foreign("a stream", trio.TooSlowError):
        raise trio.TooSlowError


def test_a_rule_leaves_what_depends_on_the_machine_alone() -> None:
    for kind in (MemoryError, RecursionError):
        with pytest.raises(kind):
            rule(breaks(kind()))


@dataclass(frozen=True, slots=True)
class Hostile:
    number: U8

    def __post_init__(self) -> None:
        if self.number == 7:
            raise OverflowError(self.number)


def test_a_record_that_breaks_its_own_check_is_rejected() -> None:
    with pytest.raises(Rejected):
        decode(Hostile, encode(Hostile(6)).replace(b"\x06", b"\x07"), 100)


def test_a_transaction_that_breaks_a_rule_is_refused_by_all_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(4)
    root = world.state.root

    def dispatch(*args: object) -> None:
        raise OverflowError

    monkeypatch.setattr(rules, "_dispatch", dispatch)
    assert world.post(1, Memo("broken")).reason == "unforeseen"
    monkeypatch.undo()
    world.post(2, Memo("right"))
    assert world.state.root != root  # the nonces


def test_a_study_that_cannot_go_on_stays_and_the_block_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world, untouched = World(4), World(4)
    world.ready_all()

    def settle(*args: object) -> None:
        raise OverflowError

    monkeypatch.setattr(rules, "settle_study", settle)
    untouched.ready_all()
    assert world.is_round_open and not untouched.is_round_open
    assert len(untouched.life.ready) == 4


async def test_a_study_that_breaks_is_set_aside_and_the_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(4)
    async with Stage(tmp_path, 4).playing() as stage:
        with pytest.raises(Rejected):
            node_studies.read_study(TERMS, SPEC)
        monkeypatch.setattr(node_studies, "read_study", lambda *given: breaks(OverflowError())())
        effects = stage.core.studies.on_state(world.state)
        assert "OverflowError" in str(stage.core.studies.problem_of(world.study))
        assert [type(asked.effect) for asked in effects] == [ForgetRound, Note], "records deleted, people told"
        assert stage.core.studies.on_state(world.state) == []

@pytest.mark.parametrize("is_machine", [False, True])
async def test_a_frame_that_breaks_the_node_costs_its_sender(
    tmp_path: Path, is_machine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, 4)

    def broken(*args: object) -> None:
        if is_machine:
            raise OverflowError
        judge("a frame", breaks(OverflowError()))

    monkeypatch.setattr(stage.core, "frame", broken)
    with pytest.raises(BaseExceptionGroup) if is_machine else nullcontext() as caught:
        async with stage.playing():
            await stage.receive(2, b"\x03")
    if caught is not None:
        assert caught.value.split(Stumbled)[1] is None
        return
    assert [peer for peer, _ in stage.network.dropped] == [stage.peer(2)]


async def test_own_bugs_end_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, 4)
    monkeypatch.setattr(stage.core, "tell", breaks(OverflowError()))
    with pytest.raises(BaseExceptionGroup):
        async with stage.playing():
            stage.reactor._on_timer((Own.CORE, CoreTimer.HOLD))


def test_a_job_that_breaks_has_no_result() -> None:
    assert isinstance(finish("computed", breaks(OverflowError())), Rejected)
    assert finish("computed", lambda: 3) == 3


@pytest.mark.parametrize("count", [1, 5])
def test_a_transaction_that_no_block_can_hold_keeps_no_other_out(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leads to at the end of a block breaks the block, though it is accepted by itself."""
    apply_block = chain.apply_block

    def apply(state: State, at: BlockTime, transactions: Sequence[Transaction], *rest: object) -> object:
        if any(transaction.body == Memo("bad") for transaction in transactions):
            raise OverflowError
        return apply_block(state, at, transactions, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(chain, "apply_block", apply)
    world = Nodes().start()
    for number in range(count):
        world.submit(1, Memo(f"good {number}"))
    world.submit(2, Memo("bad"))
    world.submit(3, Memo("good after"))
    world.rest(20_000)
    assert world.are_equal() and world[1].height > 0
    assert len(world[1].receipts) == count + 1
    pools = [[transaction.body for transaction in node.live().chain.pool] for node in world.nodes.values()]
    assert [] in pools  # who had the turn has dropped it; each other member does when its turn comes
    assert all(pool in ([], [Memo("bad")]) for pool in pools)


def test_people_are_told_of_a_rule_that_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch = rules._dispatch

    def broken(draft: Draft, at: BlockTime, sender: MemberId, body: Body) -> bytes | None:
        if body == Memo("bad") and at.time_ms:  # in a block, not when the pool asks
            raise OverflowError
        return dispatch(draft, at, sender, body)

    monkeypatch.setattr(chain, "pick_transactions", lambda state, at, candidates, room: tuple(candidates))
    monkeypatch.setattr(rules, "_dispatch", broken)
    world = Nodes().start()
    world.submit(2, Memo("bad"))
    world.rest(5_000)
    assert world.are_equal() and world[1].height > 0
    for number in (1, 2, 3, 4):
        told = [dict(entry.fields)["text"] for entry in world[number].logs if entry.kind == "problem"]
        assert told == ["a transaction of member 2 broke the rules of this program and was refused; please report it"]
