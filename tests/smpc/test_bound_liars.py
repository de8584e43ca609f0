"""Members that deviate from the second rule, one field at a time: the exact sum without them, or no sum; never another.

Wrong chunk sums and wrong sketches, and every lie in RECHECK, are in `test_recheck`.

In every test no honest member is called faulty, and every opened sum is the exact sum over U (`World.check`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc.proving import ProveUpdate
from fednode.sums import bodies
from fednode.sums import field as f
from fednode.sums.bounds import FEW, MASKS_WRONG
from tests.smpc.sim import dealers
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import MOMENTS, World
from tests.smpc.test_liars import Change, on_chunk, on_message

LIAR, UNIT = MemberId(2), MOMENTS.unit
pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("ledger", [ModelLedger, RealLedger]),
]


def run(
    ledger: type, *, tamper: Change | None = None, work: Callable[[object], object] | None = None,
    lie: Callable[[object], object] | None = None, count: int = 4, liars: tuple[int, ...] = (LIAR,), seed: int = 1,
    weights: str = "hidden",
) -> World:
    world = World(count, seed=seed, ledger=ledger, weights=weights)
    for liar in liars:
        node = world.nodes[MemberId(liar)]
        node.tamper, node.work, node.lie = tamper, work, lie
    world.run()
    assert set(world.ledger.faulty) <= set(liars), "an honest member is called faulty"  # type: ignore[attr-defined]
    return world


def succeeded(world: World, included: tuple[int, ...] | None = None, voids: int = 0) -> m.SumView:
    view = world.check_ok()
    assert len(world.ledger.voids) == voids, world.ledger.voids  # type: ignore[attr-defined]
    assert view.included == (included or world.members)
    return view


def failed(world: World, reason: str = "") -> None:
    world.check()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "failed"
    assert reason in str(world.ledger.outcome[1]), world.ledger.outcome
    assert not any(node.opened for i, node in world.nodes.items() if i != LIAR)


# --- COIN --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [
    lambda message, world: replace(message, preimage=world.chains[LIAR].link(2)),  # the next one: it hashes to this one
    lambda message, world: replace(message, preimage=world.chains[LIAR].head),
    lambda message, world: replace(message, preimage=bytes(32)),
    lambda message, world: replace(message, preimage=world.chains[1].link(1)),
    lambda message, world: None,
], ids=["next", "head", "garbage", "another member's", "none"])
def test_a_wrong_link_is_refused_and_its_owner_is_only_absent(ledger: type, change: Callable) -> None:
    world = World(4, seed=1, ledger=ledger, weights="hidden")
    world.nodes[LIAR].tamper = on_message(bodies.Coin, lambda message: change(message, world))
    world.run()
    view = succeeded(world)
    assert LIAR not in dict(view.links) and len(view.links) == 3 and not world.ledger.faulty  # type: ignore[attr-defined]


# --- SHARE -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("part", ["bits_root", "proof_root"])
def test_boxes_under_another_root_are_as_good_as_none(ledger: type, part: str) -> None:
    change = on_message(bodies.ShareRoot, lambda message: replace(message, **{part: bytes(32)}))  # type: ignore[type-var]
    world = run(ledger, tamper=change)
    succeeded(world, (1, 3, 4), voids=1)


def test_a_member_that_shares_nothing_is_out_of_the_next_attempt(ledger: type) -> None:
    world = run(ledger, tamper=on_message(bodies.ShareRoot, lambda message: None))
    succeeded(world, (1, 3, 4), voids=1)
    assert not world.ledger.faulty  # type: ignore[attr-defined]


# --- boxes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [
    lambda effect: None, dealers.spoil_chunk, lambda effect: replace(effect, proof=effect.proof[::-1]),
    lambda effect: replace(effect, proof=b""), lambda effect: replace(effect, data=effect.data[:-1]),
    lambda effect: replace(effect, ref=replace(effect.ref, chunk=0)),
], ids=["none", "bytes", "path", "no path", "size", "another holder's"])
def test_boxes_kept_from_everybody_leave_the_dealer_out_without_blame(ledger: type, change: Callable) -> None:
    world = run(ledger, tamper=on_chunk(m.Lane.SHARES, change), liars=(3,))
    succeeded(world, (1, 2, 4), voids=1)
    assert not world.ledger.faulty  # type: ignore[attr-defined]


def test_a_box_kept_from_one_holder_changes_nothing(ledger: type) -> None:
    """Two honest holders and the dealer itself carry its share; the third honest one is dealt it again."""
    world = run(ledger, tamper=on_chunk(m.Lane.SHARES, lambda effect: None if effect.to == 3 else effect))
    succeeded(world)
    reveals = {sender: message for sender, _, message in world.trace.ledger if isinstance(message, bodies.Reveal)}
    assert all(reveals[i].opening is not None for i in world.members)


def test_a_box_kept_from_one_holder_and_a_withheld_opening_change_nothing(ledger: type) -> None:
    """Everything else that can be done to single holders is in `test_disputes`."""
    def tamper(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.SendChunk) and effect.ref.lane == m.Lane.SHARES and effect.to == 3:
            return []
        return on_message(bodies.Reveal, lambda message: replace(message, opening=None))(effect)  # type: ignore[type-var]

    succeeded(run(ledger, tamper=tamper))


def test_an_off_share_and_a_matching_opening_do_not_move_the_sketch(ledger: type) -> None:
    """The liar deals holder 3 a share of another polynomial and opens the point that lies on a line with 1 and 3.

    If openings of members counted whose share was never proven, it could open any sketch: one that fits a sum it
    has spoiled. Holder 1's shares are keys, so that of 3 (and the point of the liar, 4) are the ones to bend. Holder 3
    is late with its answers, or it would dispute its share: nobody knows that it is off, itself included.
    """
    delta = 12345

    def bend(boxes: dict[int, bytes]) -> dict[int, bytes]:
        share = np.frombuffer(boxes[3], f.FIELD).copy()
        share[0] = (int(share[0]) + delta) % f.MODULUS  # the lowest bit of the first entry
        return boxes | {3: share.tobytes()}

    def bend_opening(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Reveal)
        if message.opening is None:
            return message
        own = np.frombuffer(message.opening, f.FIELD).copy()
        own[0] = (int(own[0]) + delta * 3 * pow(2, -1, f.MODULUS)) % f.MODULUS  # 0 at 1, delta at 3, this at 4
        return replace(message, opening=own.tobytes())

    def tamper(effect: m.Effect) -> list[m.Effect]:
        return on_message(bodies.Reveal, bend_opening)(effect)

    world = World(4, seed=1, ledger=ledger, weights="hidden")
    world.nodes[MemberId(4)].tamper = tamper
    world.nodes[MemberId(4)].work = dealers.deal(boxes=bend)
    world.nodes[MemberId(3)].tamper = on_message(bodies.Proof, lambda message: None)
    world.run()
    failed(world, "too few right shares")
    late = {s: message for s, _, message in world.trace.ledger if isinstance(message, bodies.Reveal)}[MemberId(3)]
    assert late.opening is not None
    assert not any(node.failed for node in world.nodes.values()), "no sketch was opened, not even a wrong one"


@pytest.mark.parametrize("is_opening", [True, False])
@pytest.mark.parametrize("which", ["boxes", "proofs"])
def test_garbage_dealt_to_one_holder_is_outvoted(ledger: type, which: str, is_opening: bool) -> None:
    """Holder 3's box holds elements (the keys of holder 1 cannot be told from right ones by themselves)."""
    world = run(ledger, work=dealers.deal(**{which: dealers.spoil_boxes({3}, is_opening=is_opening)}))
    succeeded(world)


@pytest.mark.parametrize("which", ["boxes", "proofs"])
def test_garbage_dealt_to_two_holders_decides_nothing_and_blames_nobody(ledger: type, which: str) -> None:
    world = run(ledger, work=dealers.deal(**{which: dealers.spoil_boxes({1, 3})}))
    succeeded(world, (1, 3, 4), voids=1)
    assert not world.ledger.faulty  # type: ignore[attr-defined]


def test_boxes_made_for_another_round_do_not_open_as_shares(ledger: type) -> None:
    def work(job: object) -> object:
        if isinstance(job, ProveUpdate):
            return dealers.deal_as(job, box_context=replace(job.context, round=job.context.round + 1))
        return job.run()  # type: ignore[arg-type]

    succeeded(run(ledger, work=work), (1, 3, 4), voids=1)


# --- statements --------------------------------------------------------------------------------------------------

FALSE = {
    "a bit is two and the next none": dealers.two_for_the_next_bit,
    "a bit is any number": dealers.set_bit(5, 12345),
    "an entry out of range": dealers.set_bit(27, 9),
    "w = W + 1": dealers.weight_above_the_bound,
    "too long for its weight": dealers.longer(40),
    "another statement": dealers.other_statement,
    "a bit of the slack is two": dealers.set_bit(256 * 28 + 3 + 61, 2),
    "a bit of a claim is two": dealers.set_bit(-1, 2),
    "a claim's bit is two and the next none": dealers.two_for_the_next_bit_of_a_claim,
    "two voices said as one": dealers.claim(1, {0: UNIT, 1: 0, 2: UNIT}, 0),
    "a claim without a voice": dealers.claim(0, {0: UNIT, 1: 0, 2: 0}, 0),
    "a voice without a claim": dealers.claim(1, {0: 0, 1: 0, 2: 0}, 0),
    "a mean of one half and no variance": dealers.claim(1, {0: 0, 1: UNIT // 2, 2: UNIT - UNIT // 2}, 0),
    "a slack that is not what is left": dealers.claim(1, {0: UNIT, 1: 0, 2: 0}, 7),
}


@pytest.mark.parametrize("bits", FALSE.values(), ids=FALSE.keys())
def test_a_false_statement_names_its_dealer_and_the_next_attempt_goes_on_without(ledger: type, bits: object) -> None:
    world = run(ledger, work=dealers.deal(bits=bits))
    succeeded(world, (1, 3, 4), voids=1)
    assert tuple(world.ledger.faulty) == (LIAR,)  # type: ignore[attr-defined]


def test_a_proof_for_another_attempt_is_false(ledger: type) -> None:
    def work(job: object) -> object:
        if isinstance(job, ProveUpdate):
            return dealers.deal_as(job, joint_context=replace(job.context, attempt=7))
        return job.run()  # type: ignore[arg-type]

    world = run(ledger, work=work)
    succeeded(world, (1, 3, 4), voids=1)
    assert tuple(world.ledger.faulty) == (LIAR,)  # type: ignore[attr-defined]


def test_a_short_sketch_of_another_vector_opens_no_sum(ledger: type) -> None:
    """The statement is true, of something that was not masked: the opened sum has another sketch."""
    def work(job: object) -> object:
        if isinstance(job, ProveUpdate):
            return replace(job, values=np.zeros_like(job.values)).run()
        return job.run()  # type: ignore[arg-type]

    world = run(ledger, work=work)
    failed(world)
    assert {reason for i in (1, 3, 4) for reason in world.nodes[MemberId(i)].failed} == {MASKS_WRONG}


def test_a_weight_that_is_proven_counts_whatever_was_meant(ledger: type) -> None:
    """A member may prove a larger weight than it has: the sum is of what was dealt."""
    def work(job: object) -> object:
        return (replace(job, weight=7) if isinstance(job, ProveUpdate) else job).run()  # type: ignore[arg-type]

    world = World(4, seed=1, ledger=ledger, weights="hidden")
    world.nodes[LIAR].work = work
    world.run()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok"
    assert {weight for node in world.nodes.values() for _, weight, _ in node.opened} == {2 + 7 + 1 + 2}


# --- PROOF -------------------------------------------------------------------------------------------------------

def answers(change: Callable[[bytes], bytes]) -> Change:
    return on_message(bodies.Proof, lambda message: replace(message, data=change(message.data)))  # type: ignore[attr-defined, type-var]


@pytest.mark.parametrize("change", [
    lambda data: bytes(len(data)), lambda data: b"\xff" * len(data),
    lambda data: data[FEW.answer_bytes:] + data[:FEW.answer_bytes],
    lambda data: f.to_bytes(f.add(np.frombuffer(data, f.FIELD), np.ones(1, f.FIELD))),
], ids=["zeros", "not canonical", "of other dealers", "all off by one"])
@pytest.mark.parametrize("count", [4, 7])
def test_wrong_answers_of_f_holders_change_nothing(ledger: type, change: Callable, count: int) -> None:
    liars = tuple(range(2, 2 + (count - 1) // 3))
    world = run(ledger, tamper=answers(change), count=count, liars=liars)
    succeeded(world)


@pytest.mark.parametrize("change", [
    lambda message: replace(message, part=1), lambda message: replace(message, data=message.data[:-8]),
    lambda message: None,
], ids=["part", "size", "none"])
def test_answers_of_another_form_are_as_good_as_none(ledger: type, change: Callable) -> None:
    succeeded(run(ledger, tamper=on_message(bodies.Proof, change)))


@pytest.mark.parametrize("said", [0, 2])
@pytest.mark.parametrize("count", [4, 7])
def test_false_words_on_the_sum_by_f_members_change_nothing(ledger: type, said: int, count: int) -> None:
    liars = tuple(range(2, 2 + (count - 1) // 3))
    tamper = on_message(bodies.Proof, lambda message: replace(message, sum_ok=said))  # type: ignore[type-var]
    succeeded(run(ledger, tamper=tamper, count=count, liars=liars))


# --- masks and openings -------------------------------------------------------------------------------------------

def test_a_wrong_pair_mask_opens_no_sum_and_names_nobody(ledger: type) -> None:
    world = run(ledger, lie=dealers.mask_wrongly)
    failed(world)
    assert {reason for i in (1, 3, 4) for reason in world.nodes[MemberId(i)].failed} == {MASKS_WRONG}
    assert not world.ledger.faulty  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", [
    lambda opening: bytes(len(opening)), lambda opening: b"\xff" * len(opening), lambda opening: opening[:-8],
    lambda opening: opening[8:] + opening[:8], lambda opening: None,
], ids=["zeros", "not canonical", "size", "shifted", "none"])
@pytest.mark.parametrize("count", [4, 7])
def test_wrong_openings_of_f_members_change_nothing(ledger: type, change: Callable, count: int) -> None:
    liars = tuple(range(2, 2 + (count - 1) // 3))
    tamper = on_message(
        bodies.Reveal, lambda message: replace(message, opening=change(message.opening) if message.opening else None)
    )
    succeeded(run(ledger, tamper=tamper, count=count, liars=liars))


def test_two_liars_of_seven_with_different_lies(ledger: type) -> None:
    world = World(7, seed=4, ledger=ledger, weights="hidden")
    world.nodes[MemberId(2)].work = dealers.deal(bits=dealers.longer(40))
    world.nodes[MemberId(5)].tamper = answers(lambda data: bytes(len(data)))
    world.run()
    view = succeeded(world, (1, 3, 4, 5, 6, 7), voids=1)
    assert tuple(world.ledger.faulty) == (2,) and view.number == 1  # type: ignore[attr-defined]


