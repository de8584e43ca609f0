"""Who spoils a masked sum: found before anything opens, named, and the next attempt gives the exact sum without it.

Liars spoil a chunk sum or a sketch, lie about what they find, keep chunks back or send wrong ones, from all or from a
few; members vanish and restart in the middle. In every test an honest member is never named, and every opened sum is
the exact sum over U.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.crypto import sha256
from fednode.effects import ComputeDone
from fednode.ids import MemberId
from fednode.smpc import jobs
from fednode.smpc import messages as m
from fednode.smpc.messages import Work
from fednode.smpc.opening import Unsafe
from fednode.smpc.proving import ProvenUpdate
from fednode.smpc.recheck_jobs import AddedParts
from fednode.smpc.sketch import fold_part, mix_folds, sketch_ring
from fednode.smpc.summing import MAX_SHOWN
from fednode.smpc.vectors import Layout, digest_chunk
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.smpc.sim.dealers import spoil_chunk
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import Absence, World, sent
from tests.smpc.test_liars import Change, on_chunk, on_message

LIAR = MemberId(2)
Lie = Callable[[object], object]
LEDGERS = [ModelLedger, pytest.param(RealLedger, marks=pytest.mark.slow)]
both = pytest.mark.parametrize("ledger", LEDGERS)


def wrong_sum(result: object) -> object:
    """An owner adds to its chunks, and everybody agrees on them."""
    if isinstance(result, tuple) and result and isinstance(result[0], jobs.SummedChunk):
        spoiled = []
        for summed in result:
            data = memoryview(np.frombuffer(summed.data, np.uint32) + np.uint32(1000)).cast("B")
            spoiled.append(jobs.SummedChunk(summed.chunk, data, digest_chunk(data)))
        return tuple(spoiled)
    return result


def wrong_sketch(result: object) -> object:
    """A dealer posts the sketch of another vector than it committed."""
    if isinstance(result, ProvenUpdate):
        sketch = bytes([(result.posted.sketch[0] + 1) % 256]) + result.posted.sketch[1:]
        return replace(result, posted=replace(result.posted, sketch=sketch))
    return result


LIES = {"sum": wrong_sum, "sketch": wrong_sketch}
every_lie = pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())


def in_recheck(world: World, change: Change) -> Change:
    """Tamper only while the ledger is in RECHECK."""
    return lambda effect: change(effect) if world.trace.views[-1].phase is Phase.RECHECK else [effect]


def play(
    ledger: type, lie: Lie, *, count: int = 4, liars: tuple[int, ...] = (LIAR,), seed: int = 1,
    change: Change | None = None, changers: tuple[int, ...] | None = None, **more: object,
) -> World:
    """`liars` tell the lie; they, or `changers`, also tamper with what they send in RECHECK."""
    world = World(count, seed=seed, ledger=ledger, weights="hidden", **more)  # type: ignore[arg-type]
    for liar in liars:
        world.nodes[MemberId(liar)].lie = lie
    for liar in liars if changers is None else changers:
        if change is not None:
            world.nodes[MemberId(liar)].tamper = in_recheck(world, change)
    world.run()
    assert named(world) <= {*liars, *(changers or ())}, "an honest member is called faulty"
    return world


def named(world: World) -> set[int]:
    return {int(member) for member in world.ledger.faulty}  # type: ignore[attr-defined]


def refusals(world: World) -> list[tuple[MemberId, str]]:
    """What the ledger refused, but for acknowledgements and findings that came when enough had been heard already."""
    refused: list[tuple[MemberId, str]] = world.ledger.refused  # type: ignore[attr-defined]
    return [(sender, reason) for sender, reason in refused if not reason.endswith(LATE) or sender == 5]


LATE = (": phase closed", "Recheck: named faulty")


def succeeded(world: World, included: tuple[int, ...], voids: int = 1) -> m.SumView:
    view = world.check_ok()
    assert len(world.ledger.voids) == voids, world.ledger.voids  # type: ignore[attr-defined]
    assert view.included == included
    void = next(view for view in world.trace.views if view.phase is Phase.RECHECK)
    assert not any(v.is_unmasked for v in world.trace.views if v.number == void.number), "a void attempt was opened"
    return view


# --- the lie itself ------------------------------------------------------------------------------------------------

@both
@every_lie
def test_who_spoils_the_sum_is_named_and_the_next_attempt_is_exact(ledger: type, lie: Lie) -> None:
    world = play(ledger, lie)
    succeeded(world, (1, 3, 4))
    assert named(world) == {LIAR} and not refusals(world)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@every_lie
def test_two_of_seven_are_named_at_once(ledger: type, lie: Lie) -> None:
    world = play(ledger, lie, count=7, liars=(2, 5))
    succeeded(world, (1, 3, 4, 6, 7))
    assert named(world) == {2, 5}


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
def test_one_lies_in_each_way(ledger: type) -> None:
    world = World(7, seed=3, ledger=ledger, weights="hidden")
    world.nodes[MemberId(2)].lie, world.nodes[MemberId(6)].lie = wrong_sum, wrong_sketch
    world.run()
    succeeded(world, (1, 3, 4, 5, 7))
    assert named(world) == {2, 6}


@both
def test_the_owner_that_summed_is_named_not_the_one_the_chunk_was_taken_from(ledger: type) -> None:
    """Dealer 4 keeps its chunk from owner 1 alone; owner 2 takes over, has it, and spoils the sum."""
    world = World(5, seed=2, ledger=ledger, weights="hidden")

    def keep(effect: m.Effect) -> list[m.Effect]:
        is_kept = isinstance(effect, m.SendChunk) and effect.ref.lane == m.Lane.MASKED and effect.to == 1
        return [] if is_kept and effect.ref.attempt == 0 else [effect]

    world.nodes[MemberId(4)].tamper = keep
    world.nodes[LIAR].lie = wrong_sum
    world.run()
    handed = next(view for view in world.trace.views if view.phase is Phase.RECHECK)
    assert handed.qualified[0] == 1 and handed.owners[0] == 2
    assert named(world) == {LIAR}
    assert 1 in world.check().included


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 3, 5, 9000])
@every_lie
def test_any_length(length: int, lie: Lie) -> None:
    """Short vectors have empty chunks: the liar may own one, then there is nothing to spoil."""
    world = play(ModelLedger, lie, length=length)
    view = world.check_ok()
    assert view.included == ((1, 3, 4) if named(world) else (1, 2, 3, 4))


# --- lies in RECHECK -----------------------------------------------------------------------------------------------

def finds(said: bodies.Recheck, **found: object) -> bodies.Recheck:
    """The same message with these findings and no others."""
    return replace(said, **{"chunks": (), "sketches": (), "withheld": (), **found})  # type: ignore[arg-type]


def findings(change: Callable[[bodies.Recheck], object]) -> Change:
    def tell(said: bodies.Recheck) -> object:
        try:
            return change(said)
        except ValueError:  # it has no form in which it could be sent
            return None

    return on_message(bodies.Recheck, tell)  # type: ignore[arg-type]


LYING = {
    "nothing": finds,
    "another digest": lambda said: replace(said, chunks=((1, sha256(b"x")),)),
    "another chunk": lambda said: finds(said, chunks=((0, sha256(b"x")),)),
    "all chunks": lambda said: finds(said, chunks=tuple((c, sha256(bytes([c]))) for c in range(4))),
    "another sketch": lambda said: finds(said, sketches=((MemberId(1), sha256(b"x")),)),
    "all sketches": lambda said: finds(said, sketches=tuple((MemberId(i), sha256(b"x")) for i in (1, 3, 4))),
    "withheld": lambda said: finds(said, withheld=(MemberId(1),)),
    "all withheld": lambda said: finds(said, withheld=(MemberId(1), MemberId(3), MemberId(4))),
    "itself": lambda said: finds(said, withheld=(LIAR,)),
    "a stranger": lambda said: finds(said, withheld=(MemberId(9),)),
    "a dealer that is none": lambda said: finds(said, sketches=((MemberId(9), sha256(b"x")),)),
    "a chunk that is none": lambda said: finds(said, chunks=((9, sha256(b"x")),)),
    "twice": lambda said: finds(said, chunks=((0, sha256(b"x")), (0, sha256(b"y")))),
    "not in order": lambda said: finds(said, withheld=(MemberId(3), MemberId(1))),
    "silence": lambda said: None,
}


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@pytest.mark.parametrize("change", LYING.values(), ids=LYING.keys())
def test_any_false_word_of_the_liar_in_any_field_changes_nothing(ledger: type, change: Callable) -> None:
    world = play(ledger, wrong_sum, change=findings(change))
    succeeded(world, (1, 3, 4))
    assert named(world) == {LIAR}


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@pytest.mark.parametrize("said", [
    {"chunks": ((0, sha256(b"x")),)}, {"sketches": ((MemberId(1), sha256(b"x")),)},
    {"withheld": (MemberId(1),)}, {"chunks": ((0, sha256(b"x")),), "withheld": (MemberId(1),)},
], ids=["digest", "sketch", "withheld", "both"])
def test_f_that_say_the_same_name_and_drop_nobody_but_themselves(ledger: type, said: dict[str, object]) -> None:
    """Of seven, one spoils the sum and another swears with it that member 1 did."""
    swear = findings(lambda told: finds(told, **said))
    world = play(ledger, wrong_sum, count=7, liars=(2,), changers=(2, 5), change=swear)
    view = succeeded(world, (1, 3, 4, 5, 6, 7))
    assert named(world) == {2} and 1 in view.included


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
def test_findings_of_another_attempt_count_for_nothing(ledger: type) -> None:
    world = World(7, seed=1, ledger=ledger, weights="hidden")
    kept: list[m.Submit] = []

    def replay(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.Submit) and isinstance(effect.message, bodies.Recheck):
            kept.append(effect)
            return [effect, effect]
        return [effect, *kept] if isinstance(effect, m.Submit) else [effect]

    world.nodes[MemberId(2)].lie = wrong_sum
    world.nodes[MemberId(5)].tamper = replay
    world.run()
    succeeded(world, (1, 3, 4, 5, 6, 7))
    assert named(world) == {2} and kept
    assert {sender for sender, _ in refusals(world)} == {5}


# --- chunks kept back ----------------------------------------------------------------------------------------------

KEEPING = {
    "none": lambda effect: None, "garbage": spoil_chunk, "no path": lambda effect: replace(effect, proof=b""),
    "a long path": lambda effect: replace(effect, proof=bytes(32 * 17)),
    "size": lambda effect: replace(effect, data=effect.data[:-4]),
    "another chunk": lambda effect: replace(effect, ref=replace(effect.ref, chunk=(effect.ref.chunk + 1) % 4)),
    "another dealer's": lambda effect: replace(effect, ref=replace(effect.ref, dealer=1)),
    "another attempt's": lambda effect: replace(effect, ref=replace(effect.ref, attempt=1)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("ledger", "lie"), [(ModelLedger, wrong_sketch), (RealLedger, wrong_sum)])
@pytest.mark.parametrize("keep", KEEPING.values(), ids=KEEPING.keys())
def test_who_keeps_its_chunks_back_is_out_without_blame(ledger: type, lie: Lie, keep: Callable) -> None:
    """Neither sketch nor sum can be checked without the chunk of its vector that the liar owns itself."""
    world = play(ledger, lie, change=on_chunk(m.Lane.MASKED, keep))
    succeeded(world, (1, 3, 4))
    assert named(world) == set()


@both
def test_kept_back_from_everybody_nobody_says_what_it_did_not_compute(ledger: type) -> None:
    world = play(ledger, wrong_sum, change=on_chunk(m.Lane.MASKED, lambda effect: None))
    succeeded(world, (1, 3, 4))
    said = {i: message for i, _, message in world.trace.ledger if isinstance(message, bodies.Recheck)}
    assert all(said[MemberId(i)] == bodies.Recheck(*world.params(LIAR).place(0), withheld=(LIAR,)) for i in (1, 3, 4))
    assert named(world) == set(), "what is only kept back is no evidence"


@pytest.mark.slow
@pytest.mark.parametrize(("liar", "kept"), [(1, {3}), (3, {0}), (2, {0, 2, 3}), (4, {0, 1, 2})])
def test_what_a_dealer_keeps_back_comes_from_the_owners(liar: int, kept: set[int]) -> None:
    """Whoever comes first in the list of members, be it one chunk or all but the one that the liar owns itself."""
    keep = on_chunk(m.Lane.MASKED, lambda effect: None if effect.ref.chunk in kept else effect)
    world = play(ModelLedger, wrong_sum, liars=(liar,), change=keep)
    said = [message for i, _, message in world.trace.ledger if isinstance(message, bodies.Recheck) and i != liar]
    assert named(world) == {liar} and not any(message.withheld for message in said)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@pytest.mark.parametrize(("kept_from", "lie"), [({1}, wrong_sum), ({1, 3}, wrong_sketch), ({1, 3}, wrong_sum)])
def test_kept_back_from_some_it_is_out_all_the_same(ledger: type, lie: Lie, kept_from: set[int]) -> None:
    keep = on_chunk(m.Lane.MASKED, lambda effect: None if effect.to in kept_from else effect)
    succeeded(play(ledger, lie, change=keep), (1, 3, 4))


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
def test_an_accomplice_that_keeps_its_vector_back_saves_nobody(ledger: type) -> None:
    """Owner 2 spoils, dealer 5 gives its vector to two of five only: the others have it from owners."""
    keep = on_chunk(m.Lane.MASKED, lambda effect: None if effect.to not in (1, 3) else effect)
    world = play(ledger, wrong_sum, count=7, liars=(2,), changers=(2, 5), change=keep)
    view = world.check()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok" and 2 not in view.included
    assert {1, 3, 4, 6, 7} <= set(view.included) and len(world.ledger.voids) == 1  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
def test_three_of_ten_that_keep_back_from_different_members(ledger: type) -> None:
    """All spoil, and keep back so that few agree on anything. Each attempt loses one all the same."""
    def keep(dealer: int, kept_from: set[int]) -> Change:
        return on_chunk(m.Lane.MASKED, lambda effect: None if effect.to in kept_from else effect)

    world = World(10, seed=1, ledger=ledger, weights="hidden")
    for dealer, kept_from in ((2, set()), (5, {1, 3}), (8, {4, 6})):
        node = world.nodes[MemberId(dealer)]
        node.lie, node.tamper = wrong_sum, in_recheck(world, keep(dealer, kept_from))
    world.run()
    view = world.check_ok()
    assert {1, 3, 4, 6, 7, 9, 10} <= set(view.included) and named(world) <= {2, 5, 8}


# --- absences, restarts, and lies at once --------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@pytest.mark.parametrize(("down_ms", "after"), [(50, 0), (300, 2), (2000, 5), (50, 5), (2000, 0), (300, 8)])
def test_a_member_restarts_in_the_middle(ledger: type, down_ms: int, after: int) -> None:
    world = play(ledger, wrong_sum, absences=(Absence(3, Phase.RECHECK, 0, down_ms, after),))
    succeeded(world, (1, 3, 4))
    assert named(world) == {LIAR}


@both
def test_everybody_restarts_in_the_middle(ledger: type) -> None:
    absences = tuple(Absence(member, Phase.RECHECK, 0, 200, member % 3) for member in range(1, 5))
    world = play(ledger, wrong_sketch, absences=absences)
    succeeded(world, (1, 3, 4))
    assert named(world) == {LIAR}


@both
def test_an_owner_that_lost_its_chunks_in_a_crash_does_not_shield_who_keeps_them_back(ledger: type) -> None:
    """With f = 1 its dealer and its owner are one too many to be accused: then it is the dealer, which lost nothing."""
    nothing = on_message(bodies.Recheck, finds)
    keep = on_chunk(m.Lane.MASKED, lambda effect: None if effect.ref.chunk == 2 else effect)
    world = play(
        ledger, wrong_sketch, absences=(Absence(3, Phase.RECHECK, 0, 50, 0),),
        change=lambda effect: [kept for told in nothing(effect) for kept in keep(told)],
    )
    said = {i: message for i, _, message in world.trace.ledger if isinstance(message, bodies.Recheck)}
    assert said[MemberId(1)] == said[MemberId(4)] == bodies.Recheck(*world.params(LIAR).place(0), withheld=(LIAR,))
    succeeded(world, (1, 3, 4))


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@pytest.mark.parametrize("after", [0, 3])
def test_one_is_lost_beside_the_liar(ledger: type, after: int) -> None:
    """Of seven, one more vanishes in RECHECK for good: what its vector adds to chunks their owners still have."""
    world = play(ledger, wrong_sum, count=7, absences=(Absence(6, Phase.RECHECK, 0, 0, after),))
    view = world.check()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok" and named(world) <= {LIAR}
    assert {1, 3, 4, 5, 7} <= set(view.included)


@st.composite
def trouble(draw: st.DrawFn) -> tuple[int, int, Lie, dict[int, Change], set[int]]:
    """(N, who spoils, how, what each liar does in RECHECK, whom it keeps chunks from)."""
    count = draw(st.sampled_from([4, 4, 7]))
    liars = draw(st.lists(st.integers(1, count), min_size=1, max_size=(count - 1) // 3, unique=True))
    victims = draw(st.sets(st.integers(1, count)))
    changes: dict[int, Change] = {}
    for liar in liars:
        if draw(st.booleans()):
            changes[liar] = on_chunk(m.Lane.MASKED, lambda effect: None if effect.to in victims else effect)
        else:
            changes[liar] = findings(draw(st.sampled_from(list(LYING.values()))))
    return count, liars[0], draw(st.sampled_from(list(LIES.values()))), changes, victims


def trouble_comes_to_nothing(case: tuple, seed: int, ledger: type) -> None:
    count, spoiler, lie, changes, _ = case
    world = World(count, seed=seed, ledger=ledger, weights="hidden")
    world.nodes[MemberId(spoiler)].lie = lie
    for liar, change in changes.items():
        world.nodes[MemberId(liar)].tamper = in_recheck(world, change)
    world.run()
    view = world.check()
    assert named(world) <= {spoiler} and spoiler not in view.included
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok", world.ledger.outcome
    assert set(world.members) - set(changes) <= set(view.included), "an honest member was left out"


@pytest.mark.slow
@given(trouble(), st.integers(0, 2**16), st.sampled_from([ModelLedger, RealLedger]))
@settings(max_examples=12)
def test_whatever_f_liars_do_the_round_succeeds_without_who_spoils_it(case: tuple, seed: int, ledger: type) -> None:
    trouble_comes_to_nothing(case, seed, ledger)


@pytest.mark.soak
@given(trouble(), st.integers(0, 2**16), st.sampled_from([ModelLedger, RealLedger]))
@settings(max_examples=200)
def test_whatever_f_liars_do_at_length(case: tuple, seed: int, ledger: type) -> None:
    trouble_comes_to_nothing(case, seed, ledger)


# --- what a session does --------------------------------------------------------------------------------------------

def at_recheck(count: int = 4) -> World:
    world = World(count, seed=1, weights="hidden")
    world.nodes[LIAR].lie = wrong_sum
    return world.run(lambda w: w.trace.views[-1].phase is Phase.RECHECK and w.now_ms > w.opened_at_ms + 12)


def masked_ref(world: World, dealer: int, chunk: int) -> m.ChunkRef:
    return m.ChunkRef(world.trace.views[-1].number, m.Lane.MASKED, dealer, chunk)


@pytest.mark.slow
def test_masked_chunks_are_shown_to_everybody_in_this_phase_and_no_other() -> None:
    world = at_recheck()
    session, view = world.nodes[MemberId(1)].session, world.trace.views[-1]
    assert session is not None
    want = m.WantArrived(MemberId(3), masked_ref(world, 1, 3))  # chunk 3 belongs to member 4
    assert sent(session.handle(want))
    for phase in (Phase.ROSTER, Phase.SUMACK, Phase.COIN, Phase.SHARE, Phase.PROOF, Phase.REVEAL, Phase.RESULT):
        other = World(4, seed=1, weights="hidden")
        other.run(lambda w, phase=phase: w.trace.views[-1].phase is phase and w.now_ms > w.opened_at_ms + 12)
        asked = other.nodes[MemberId(1)].session
        assert asked is not None and other.trace.views[-1].phase is phase
        assert not sent(asked.handle(m.WantArrived(MemberId(3), masked_ref(other, 1, 3)))), phase
    assert not sent(session.handle(m.WantArrived(MemberId(3), replace(want.ref, attempt=1))))
    assert not sent(session.handle(m.WantArrived(MemberId(9), want.ref))), "a stranger"
    assert not sent(session.handle(m.WantArrived(MemberId(3), replace(want.ref, dealer=3)))), "not at hand"
    more = [bool(sent(session.handle(want))) for _ in range(20)]
    assert 0 < more.count(True) < MAX_SHOWN and not more[-1], "not for ever"
    assert sent(session.handle(replace(want, sender=MemberId(4)))), "each on its own account"
    assert view.phase is Phase.RECHECK


@pytest.mark.parametrize("liar", [1, 3])
def test_the_last_chunk_a_dealer_keeps_back_is_asked_of_its_owner_too(liar: int) -> None:
    """Asking its dealer again and again must not keep the owner from being asked, whoever comes first."""
    world = at_recheck()
    session, view = world.nodes[LIAR].session, world.trace.views[-1]
    recheck = session._recheck
    recheck._wanted, recheck._slow = {MemberId(liar): {3}}, {MemberId(liar)}
    recheck._on_way.clear()
    asked = [effect.to for effect in recheck.wants(view, None) if isinstance(effect, m.WantChunk)]
    assert asked == [liar, 4]


def test_a_chunk_that_takes_long_is_asked_for_at_doubling_intervals_and_at_once_over_a_new_link() -> None:
    """One chunk is left, and the member that has it does not answer: how often is it asked in how many ticks?"""
    world = at_recheck()
    session, view = world.nodes[MemberId(1)].session, world.trace.views[-1]
    recheck = session._recheck
    recheck._wanted = {MemberId(3): {2}}  # its own chunk of its own vector
    recheck._on_way.clear()
    recheck._ask_again.clear()
    recheck._asked.clear()

    def tick(only: MemberId | None = None) -> bool:
        return any(isinstance(effect, m.WantChunk) and effect.to == 3 for effect in recheck.wants(view, only))

    asked = [at for at in range(1, 60) if tick()]
    assert asked == [1, 3, 7, 15, 31]
    assert tick(MemberId(3)), "what was on its way is lost with the link"
    assert not tick(MemberId(4))
    later = [at for at in range(60, 60 + 6 * len(view.included)) if tick()]
    assert len(later) <= 1
    place = (MemberId(3), 2)
    assert session.is_chunk_expected(
        masked_ref(world, *place), Layout(world.length, 4).size_bytes(2), MemberId(3)
    ), "late is not too late"


@pytest.mark.slow
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_chunks_lost_on_the_way_come_again(lost: int) -> None:
    """Honest member 3 loses each chunk it shows again and again, but for the last time it shows it."""
    sends: Counter[tuple[MemberId, m.ChunkRef]] = Counter()

    def lose(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.SendChunk) and effect.ref.lane == m.Lane.MASKED:
            sends[effect.to, effect.ref] += 1
            return [effect] if sends[effect.to, effect.ref] > lost else []
        return [effect]

    world = play(ModelLedger, wrong_sum, changers=(3,), change=lose)
    succeeded(world, (1, 3, 4))
    said = {int(i): message for i, _, message in world.trace.ledger if isinstance(message, bodies.Recheck)}
    assert named(world) == {LIAR} and {1, 4} & set(said) and not any(message.withheld for message in said.values())
    assert max(sends.values()) == lost + 1 <= MAX_SHOWN


def test_an_owner_that_asked_often_before_is_shown_a_chunk_again() -> None:
    """It waited on a slow line, and lost what came in a crash: for its requests of then nobody honest is accused."""
    world, asked = World(4, seed=1, weights="hidden"), list[bool]()
    world.nodes[LIAR].lie = wrong_sum

    def ask() -> list[bool]:
        session = world.nodes[MemberId(1)].session
        assert session is not None
        want = m.WantArrived(MemberId(4), masked_ref(world, 1, 3))
        return [bool(sent(session.handle(want))) for _ in range(20)]

    def until(w: World) -> bool:
        phase, has_come = w.trace.views[-1].phase, w.now_ms > w.opened_at_ms + 12
        if phase is Phase.ROSTER and has_come and not asked:
            asked.extend(ask())
        return phase is Phase.RECHECK and has_come

    world.run(until)
    shown = ask()
    assert asked.count(True) > MAX_SHOWN and shown[0] and shown.count(True) <= MAX_SHOWN


def test_an_owner_shows_the_chunks_it_owns() -> None:
    world = at_recheck()
    session = world.nodes[MemberId(1)].session
    assert session is not None
    for dealer in (2, 3, 4):
        assert sent(session.handle(m.WantArrived(MemberId(3), masked_ref(world, dealer, 0)))), dealer


def test_after_the_unmasking_it_falls_silent_rather_than_show_anything() -> None:
    world = at_recheck()
    session, view = world.nodes[MemberId(1)].session, world.trace.views[-1]
    effects = session.handle(m.ViewChanged(replace(view, is_unmasked=True)))
    assert not sent(effects) and session.silent_reason == "masked vectors are asked for after the unmasking"
    assert issubclass(Unsafe, Exception)


def test_a_chunk_nobody_asked_for_is_not_read() -> None:
    world = at_recheck()
    session, view = world.nodes[MemberId(3)].session, world.trace.views[-1]
    assert session is not None
    layout = Layout(world.length, len(view.qualified))
    size = layout.size_bytes(1)
    assert not session.is_chunk_expected(masked_ref(world, 1, 1), size, MemberId(4)), "neither dealer nor owner"
    assert not session.is_chunk_expected(masked_ref(world, 3, 1), size, MemberId(1)), "its own"
    assert not session.is_chunk_expected(m.ChunkRef(0, m.Lane.SUM, 0, 1), size, MemberId(2)), "of a sum that is wrong"


def test_who_lets_chunks_be_asked_for_one_by_one_and_sends_all_at_once_is_heard_once() -> None:
    world = at_recheck(count=7)
    session, view = world.nodes[MemberId(1)].session, world.trace.views[-1]
    recheck, size = session._recheck, Layout(world.length, 7).size_bytes
    asked: list[m.ChunkRef] = []
    for _ in range(6):
        asked += [e.ref for e in recheck.wants(view, None) if isinstance(e, m.WantChunk) and e.to == 3]
    expected = [ref for ref in asked if session.is_chunk_expected(ref, size(ref.chunk), MemberId(3))]
    assert len(set(expected)) > 3, "late is not too late"
    for ref in expected:
        session.handle(m.ChunkArrived(MemberId(3), ref, b"", memoryview(bytes(size(ref.chunk)))))
    assert session._jobs.is_running(Work.RECHECK)
    assert sum(part.source == 3 for part in recheck._waiting.values()) == 1
    assert not [e for e in recheck.wants(view, None) if isinstance(e, m.WantChunk) and e.to == 3]


@pytest.mark.slow
def test_memory_is_one_vector_and_what_is_on_its_way() -> None:
    """From every member at most one chunk is asked for at a time, however fast they answer."""
    world = World(7, seed=1, weights="hidden", length=400)
    world.nodes[LIAR].lie = wrong_sum
    most = 0

    def look(world: World) -> bool:
        nonlocal most
        session = world.nodes[MemberId(1)].session
        if session is not None:
            recheck = session._recheck
            most = max(most, len(recheck._waiting) + len(recheck._on_way))
            assert sum(total.size for total in recheck._totals.values()) <= Layout(world.length, 7).total
        return False

    world.run(look)
    assert 0 < most <= 7 + 6 + 7, "the first step holds what was at hand"


# --- sums of folds --------------------------------------------------------------------------------------------------

@pytest.mark.slow
@given(st.integers(1, 20_000), st.lists(st.integers(0, 20_000), max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_folds_of_parts_add_up_to_the_sketch_of_the_whole(length: int, cuts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**32, length, dtype=np.uint32)
    coin = sha256(seed.to_bytes(8, "big"))
    places = sorted({0, length, *(cut // 4 * 4 for cut in cuts if cut < length)})
    folds = [fold_part(coin, values[a:b], a) for a, b in pairwise(places)]
    total = np.sum(folds, axis=0, dtype=np.uint32)
    assert (mix_folds(coin, [total, total])[1] == sketch_ring(coin, values)).all()


def test_results_of_the_wrong_attempt_are_nothing() -> None:
    world = at_recheck()
    session = world.nodes[MemberId(1)].session
    assert session.handle(ComputeDone(10_000, AddedParts((), (), ()))) == []
