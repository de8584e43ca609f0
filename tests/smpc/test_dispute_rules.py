"""Rules of disputes that each close an attack, on sessions taken out of a small world in REDEAL, CONFIRM and EXPOSE.

In that world member 2 deals holder 3 nothing, then zeros, and disputes what dealer 1 dealt it. The views here are often
ones the real ledger would never produce: the session refuses them by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fednode.crypto import point_times, unseal
from fednode.effects import Note, Persist, StartTimer, TimerFired
from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc.dealing import dispute_scalar
from fednode.smpc.proving import box_sizes, keep_dealing
from fednode.smpc.record import AttemptRecord, SharesRecord, persist_shares, restore_shares, restore_state
from fednode.sums import bodies, norm, shares
from fednode.sums import field as f
from fednode.sums.attempt import dispute_context
from fednode.sums.equal_logs import are_logs_equal
from fednode.sums.norm import norm_statement
from fednode.sums.phase import Phase
from fednode.sums.redeal import hide_held, show_held
from fednode.sums.shares import deal_vector, open_box
from tests.smpc.sim.shown import key_of_sum
from tests.smpc.sim.world import HELD, OPENED, World
from tests.smpc.test_bound_rules import give_sum, is_silent, restarted, restored, session_of, show, submitted
from tests.smpc.test_disputes import WRONG_BOXES, chain, keep_back, noise_about, redeal
from tests.support.seeds import Stream

DEALER, LIAR, HOLDER = MemberId(1), MemberId(2), MemberId(3)
pytestmark = pytest.mark.slow


@cache
def _world_at(phase: Phase, is_right: bool) -> World:
    world = World(4, weights="hidden", seed=1)
    wrong = redeal((lambda message: message) if is_right else WRONG_BOXES["zeros"])
    world.nodes[LIAR].tamper = chain(keep_back(3), noise_about(1), wrong)
    return world.run(until=lambda w: w.ledger.view().phase is phase)


def reach(phase: Phase, is_right: bool = False) -> tuple[World, m.SumView]:
    """A copy of a world that has just opened `phase`, every member fresh from its disk, and the ledger's view."""
    world = restarted(_world_at(phase, is_right))
    view = world.ledger.view()
    assert view.phase is phase and view.disputes == ((1, 2), (2, 3))
    return world, view


def state_of(world: World, member: MemberId) -> AttemptRecord:
    state = restore_state(world.params(member), world.nodes[member].disk)
    assert state is not None
    return state


def shares_of(world: World, member: MemberId) -> SharesRecord:
    record = restore_shares(world.params(member), world.nodes[member].disk)
    assert record is not None
    return record


def common_point(world: World, view: m.SumView, member: MemberId, other: MemberId) -> bytes:
    state, point = state_of(world, member), view.keys[other].c_point
    assert state.sharing is not None and point is not None
    return point_times(dispute_scalar(world.params(member), view.number, state.sharing.seed), point)


def share_on_wire(world: World, view: m.SumView, dealer: MemberId, holder: MemberId) -> f.FieldVector:
    """What a holder was dealt at first, from its boxes."""
    statement = world.params(holder).statement(view.weight_of(dealer))  # type: ignore[misc]
    chunk = next(e for sender, e in world.trace.wire
                 if sender == dealer and e.to == holder and e.ref.lane == m.Lane.SHARES)
    is_key = holder == view.present[0]
    size = box_sizes(statement, is_key)[0]
    contents = [unseal(world.nodes[holder].secret, bytes(box))[32:] for box in (chunk.data[:size], chunk.data[size:])]
    bits, proof = (open_box(data, length, is_key) for data, length in
                   zip(contents, (statement.length, statement.proof_length), strict=True))
    assert bits is not None and proof is not None
    return norm.held_of(statement, bits, proof)


# --- the dealer ----------------------------------------------------------------------------------------------------

def test_what_is_dealt_again_is_what_was_dealt() -> None:
    world, view = reach(Phase.REDEAL)
    message, = submitted(show(world, view, DEALER), bodies.Redeal)
    assert isinstance(message, bodies.Redeal) and message.holder == LIAR
    point = common_point(world, view, LIAR, DEALER)
    assert point == common_point(world, view, DEALER, LIAR)
    held = show_held(message.box, point, world.params(LIAR).context(0), DEALER, LIAR, HELD)
    assert held is not None and held.tolist() == share_on_wire(world, view, DEALER, LIAR).tolist()


def test_a_dealer_deals_the_same_bytes_after_a_restart_and_nothing_that_is_there() -> None:
    world, view = reach(Phase.REDEAL)
    first = submitted(show(world, view, DEALER), bodies.Redeal)
    world.nodes[DEALER].session = restored(world, DEALER)
    assert submitted(show(world, view, DEALER), bodies.Redeal) == first
    world.nodes[DEALER].session = restored(world, DEALER)
    effects = show(world, replace(view, redealt=((DEALER, LIAR),)), DEALER)
    assert not submitted(effects, bodies.Redeal) and not [e for e in effects if isinstance(e, StartTimer)]


def test_a_message_that_was_lost_is_sent_again_with_the_same_bytes() -> None:
    world, view = reach(Phase.REDEAL)
    first = submitted(show(world, view, DEALER), bodies.Redeal)
    fired = TimerFired(m.SumTimer(m.Timer.RETRY, view.number, view.phase_no))
    assert submitted(session_of(world, DEALER).handle(fired), bodies.Redeal) == first


def test_who_is_in_no_dispute_proves_nothing_again() -> None:
    world, view = reach(Phase.REDEAL)
    for member in (HOLDER, MemberId(4)):
        assert not submitted(show(world, view, member), bodies.Redeal)
        assert session_of(world, member)._checks.boxes.proven is None


def test_more_than_f_holders_are_dealt_nothing_again() -> None:
    """f + 1 published shares and the f of liars would open a vector."""
    world, view = reach(Phase.REDEAL)
    effects = show(world, replace(view, disputes=((DEALER, LIAR), (DEALER, HOLDER))), DEALER)
    assert not submitted(effects, bodies.Redeal)
    assert any("more than may be dealt again" in e.text for e in effects if isinstance(e, Note))


@pytest.mark.parametrize("phase", [Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE])
def test_after_the_unmasking_it_falls_silent_rather_than_settle_anything(phase: Phase) -> None:
    world, view = reach(phase)
    member = DEALER if phase is Phase.REDEAL else HOLDER
    if phase is Phase.CONFIRM:
        drop_confirmed(world)
    effects = show(world, replace(view, is_unmasked=True), member)
    assert is_silent(world, member)
    assert not submitted(effects, bodies.Redeal | bodies.Confirm | bodies.Expose)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"sketch": bytes(1024)}, {"bits_root": bytes(32)}])
def test_a_dealing_that_is_not_the_posted_one_is_not_dealt_again(change: dict[str, bytes]) -> None:
    world, view = reach(Phase.REDEAL)
    posted = replace(view.share_roots[DEALER], **change)  # type: ignore[arg-type]
    effects = show(world, replace(view, share_roots={**view.share_roots, DEALER: posted}), DEALER)
    assert is_silent(world, DEALER) and not submitted(effects, bodies.Redeal)


@pytest.mark.parametrize("phase", [Phase.SHARE, Phase.PROOF, Phase.CONFIRM, Phase.EXPOSE, Phase.REVEAL])
def test_nothing_is_dealt_again_in_another_phase(phase: Phase) -> None:
    world, view = reach(Phase.REDEAL)
    assert not submitted(show(world, replace(view, phase=phase), DEALER), bodies.Redeal)


@pytest.mark.parametrize("count", [3, 4, 7, 10])
def test_what_is_kept_gives_every_holders_share(count: int) -> None:
    """The first g holders were dealt keys, the others elements."""
    statement = norm_statement(37, 7)
    holders, degree = tuple(range(1, count + 1)), shares.sharing_degree(count)
    bits = norm.encode(statement, np.arange(-128, 128), 5)
    proof = norm.prove(statement, bits, norm.draw_joint(b"\x01" * 32), Stream("proof"))
    dealt = [deal_vector(secret, degree, holders, Stream(kind)) for kind, secret in (("bits", bits), ("proof", proof))]
    kept = keep_dealing(statement, (bits, proof), (dealt[0], dealt[1]), degree)
    assert len(kept.keys) == degree and kept.secret.nbytes == 2072
    for holder in holders:
        is_key = holder <= degree
        opened = [open_box(one.boxes[holder], one.length, is_key) for one in dealt]
        assert opened[0] is not None and opened[1] is not None
        assert kept.held_by(holder).tolist() == norm.held_of(statement, opened[0], opened[1]).tolist()


# --- the holder ------------------------------------------------------------------------------------------------------

def drop_confirmed(world: World, member: MemberId = HOLDER) -> None:
    """The disk as it was before the member answered."""
    record = replace(shares_of(world, member), confirmed=None)
    world.nodes[member].disk[m.RecordPart.SHARES] = persist_shares(record).record.data.reveal()
    world.nodes[member].session = restored(world, member)


def confirms(effects: list[m.Effect]) -> list[bytes]:
    return [message.data for message in submitted(effects, bodies.Confirm) if isinstance(message, bodies.Confirm)]


def test_an_answer_is_on_the_disk_with_what_it_rests_on_before_it_is_posted() -> None:
    world, view = reach(Phase.CONFIRM, is_right=True)
    drop_confirmed(world)
    effects = show(world, view, HOLDER)
    assert [type(e) for e in effects if isinstance(e, Persist | m.Submit)] == [Persist, m.Submit]
    record = shares_of(world, HOLDER)
    assert record.confirmed is not None and view.confirm_seed is not None
    assert record.confirmed.seed == view.confirm_seed and confirms(effects) == [record.confirmed.answers]
    (redealt,) = record.confirmed.redealt
    held = share_on_wire(world, view, LIAR, DEALER), share_on_wire(world, view, LIAR, MemberId(4))
    weights = shares.lagrange((1, 4), 3)
    line = f.add(f.scale(held[0], weights[0]), f.scale(held[1], weights[1]))
    assert redealt.dealer == LIAR and redealt.held == f.to_bytes(line)
    challenges = norm.draw_confirm(view.confirm_seed)
    own = norm.confirm(share_on_wire(world, view, DEALER, HOLDER), challenges)
    assert record.confirmed.answers == f.to_bytes(own) + f.to_bytes(norm.confirm(line, challenges))


def test_the_same_answer_after_a_restart_whatever_the_boxes_say_now() -> None:
    """A second answer about another box under the same challenges would be another equation; the first one stays."""
    world, view = reach(Phase.CONFIRM)
    drop_confirmed(world)
    first = confirms(show(world, view, HOLDER))
    world.nodes[HOLDER].session = restored(world, HOLDER)
    other = replace(view, boxes={**view.boxes, (LIAR, HOLDER): b"\x01" * 2072})
    assert confirms(show(world, other, HOLDER)) == first and len(first) == 1


def test_a_second_confirm_query_is_not_answered() -> None:
    world, view = reach(Phase.CONFIRM)
    drop_confirmed(world)
    assert confirms(show(world, view, HOLDER))
    world.nodes[HOLDER].session = restored(world, HOLDER)
    assert not confirms(show(world, replace(view, confirm_seed=b"\x05" * 32), HOLDER)) and is_silent(world, HOLDER)


def test_an_answer_on_the_ledger_that_is_not_on_record_silences() -> None:
    world, view = reach(Phase.CONFIRM)
    drop_confirmed(world)
    show(world, replace(view, confirmed=(HOLDER,)), HOLDER)
    assert is_silent(world, HOLDER)


def test_who_did_not_answer_the_proofs_confirms_nothing() -> None:
    world, view = reach(Phase.CONFIRM)
    drop_confirmed(world)
    assert not confirms(show(world, replace(view, answered=()), HOLDER))
    del world.nodes[HOLDER].disk[m.RecordPart.SHARES]
    world.nodes[HOLDER].session = restored(world, HOLDER)
    assert not confirms(show(world, view, HOLDER))


@pytest.mark.parametrize("data", [b"\xff" * 2072, b""])
def test_a_box_that_holds_no_elements_is_answered_for_with_noise(data: bytes) -> None:
    world, view = reach(Phase.CONFIRM)
    drop_confirmed(world)
    point = common_point(world, view, HOLDER, LIAR)
    stream = hide_held(np.zeros(HELD, f.FIELD), point, world.params(HOLDER).context(0), LIAR, HOLDER)
    box = bytes(a ^ b for a, b in zip(stream, data, strict=False)) if data else data
    (answer,) = confirms(show(world, replace(view, boxes={**view.boxes, (LIAR, HOLDER): box}), HOLDER))
    record = shares_of(world, HOLDER)
    assert answer[16:] == b"\xff" * 16 != answer[:16] and record.confirmed is not None
    assert record.confirmed.redealt == ()


def test_what_was_held_before_does_not_count_where_a_share_was_dealt_again() -> None:
    """The liar, as a holder that follows the rules, has a share of 1 in its record; the box takes its place."""
    world, view = reach(Phase.CONFIRM)
    drop_confirmed(world, LIAR)
    assert DEALER in shares_of(world, LIAR).covered
    (answer,) = confirms(show(world, replace(view, boxes={**view.boxes, (DEALER, LIAR): b""}), LIAR))
    assert answer[:16] == b"\xff" * 16


# --- showing boxes ---------------------------------------------------------------------------------------------------

def shown(effects: list[m.Effect]) -> list[bodies.Expose]:
    return [message for message in submitted(effects, bodies.Expose) if isinstance(message, bodies.Expose)]


def test_a_wrong_box_is_shown_with_a_proof_that_everybody_can_check() -> None:
    world, view = reach(Phase.EXPOSE)
    (message,) = shown(show(world, view, HOLDER))
    point, base = view.keys[HOLDER].c_point, view.keys[LIAR].c_point
    assert point is not None and base is not None
    context = dispute_context(world.params(HOLDER).context(0), LIAR, HOLDER)
    assert message.dealer == LIAR and are_logs_equal(point, base, message.shared, context, message.proof)
    assert message.shared == common_point(world, view, LIAR, HOLDER)
    world.nodes[HOLDER].session = restored(world, HOLDER)
    assert shown(show(world, view, HOLDER)) == [message], "the same bytes after a restart"
    assert not shown(show(world, replace(view, exposed=((LIAR, HOLDER),)), DEALER))


CHANGES: dict[str, Callable[[m.SumView], m.SumView]] = {
    "of another holder": lambda view: replace(view, unconfirmed=((LIAR, MemberId(4), b""),)),
    "of nobody": lambda view: replace(view, unconfirmed=()),
    "of a dealer nobody disputes": lambda view: replace(view, unconfirmed=((DEALER, HOLDER, b""),)),
    "that is not on the ledger": lambda view: replace(view, redealt=()),
    "that was shown": lambda view: replace(view, exposed=((LIAR, HOLDER),)),
    "under other challenges": lambda view: replace(view, confirm_seed=b"\x07" * 32),
    "in another phase": lambda view: replace(view, phase=Phase.PROOF),
    "in CONFIRM": lambda view: replace(view, phase=Phase.CONFIRM),
    "of the next attempt": lambda view: replace(view, number=1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_other_box_is_shown(change: Callable[[m.SumView], m.SumView]) -> None:
    """Nor one of an honest dealer: with f + 1 shares of its vector on the ledger liars could open it."""
    world, view = reach(Phase.EXPOSE)
    assert not shown(show(world, change(view), HOLDER))


def test_who_has_not_confirmed_shows_nothing() -> None:
    world, view = reach(Phase.EXPOSE)
    drop_confirmed(world)
    assert not shown(show(world, replace(view, confirmed=()), HOLDER))


# --- openings --------------------------------------------------------------------------------------------------------

def opening(world: World, view: m.SumView) -> bytes | None:
    """What the holder opens once it has the masked sum, without which it opens nothing."""
    effects = show(world, view, HOLDER) + give_sum(world, view, HOLDER)
    (message,) = [e for e in submitted(effects, bodies.Reveal) if isinstance(e, bodies.Reveal)]
    return message.opening


def test_a_settled_share_is_in_the_opening() -> None:
    world, view = reach(Phase.REVEAL, is_right=True)
    assert view.unconfirmed == ()
    total = np.zeros(OPENED, f.FIELD)
    weights = shares.lagrange((1, 4), 3)
    for dealer in (1, 4, 3, 2):  # what holder 3 has of itself and of 2 lies on the line of 1 and 4
        rows = [share_on_wire(world, view, MemberId(dealer), MemberId(at))[:OPENED] for at in (1, 4) if at != dealer]
        if len(rows) == 2:
            total = f.add(total, f.add(f.scale(rows[0], weights[0]), f.scale(rows[1], weights[1])))
        else:
            total = f.add(total, share_on_wire(world, view, MemberId(dealer), HOLDER)[:OPENED])
    assert opening(world, view) == key_of_sum(world, view).hide(f.to_bytes(total))


@pytest.mark.parametrize("change", [
    {"unconfirmed": ((LIAR, HOLDER, b""),)}, {"confirmed": (1, 2, 4)},
], ids=["off", "not posted"])
def test_a_share_that_is_not_settled_is_in_no_opening(change: dict[str, object]) -> None:
    world, view = reach(Phase.REVEAL, is_right=True)
    assert opening(world, replace(view, **change)) is None  # type: ignore[arg-type]


def test_a_disputed_share_that_was_not_dealt_again_is_in_no_opening() -> None:
    world, view = reach(Phase.REVEAL, is_right=True)
    assert opening(world, replace(view, disputes=((1, 3), (2, 3)))) is None


def test_the_opening_rests_on_the_record_not_on_what_the_ledger_holds_by_then() -> None:
    world, view = reach(Phase.REVEAL, is_right=True)
    other, _ = reach(Phase.REVEAL, is_right=True)
    changed = replace(view, boxes={(LIAR, HOLDER): bytes(2072)})
    assert opening(world, view) == opening(other, changed) is not None


# --- secrets and keys ------------------------------------------------------------------------------------------------

def test_dispute_keys_differ_between_members_and_attempts_and_survive_a_restart() -> None:
    world, view = reach(Phase.REDEAL)
    points = [keys.c_point for keys in view.keys.values()]
    others = [keys.a_points[0] for keys in view.keys.values()] + [keys.b_points[0] for keys in view.keys.values()]
    assert len({*points, *others}) == 12 and None not in points
    seed = b"\x01" * 32
    params = world.params(DEALER)
    places = [(params, 0), (params, 1), (replace(params, round=2), 0), (replace(params, study=b"t" * 32), 0)]
    assert len({dispute_scalar(where, attempt, seed) for where, attempt in places}) == 4


def test_a_dispute_key_on_the_ledger_that_is_not_on_record_silences() -> None:
    world, view = reach(Phase.REDEAL)
    keys = replace(view.keys[DEALER], c_point=view.keys[HOLDER].c_point)
    show(world, replace(view, keys={**view.keys, DEALER: keys}), DEALER)
    assert is_silent(world, DEALER)


def test_no_secret_is_printed() -> None:
    world, view = reach(Phase.CONFIRM, is_right=True)
    drop_confirmed(world)
    show(world, view, HOLDER)
    show(world, replace(view, phase=Phase.REDEAL, redealt=()), DEALER)
    record = shares_of(world, HOLDER)
    proven = session_of(world, DEALER)._checks.boxes.proven
    assert proven is not None and record.confirmed is not None
    text = repr((record, proven, proven.kept))
    for secret in (record.held[:16], record.confirmed.redealt[0].held[:16], record.confirmed.answers[:8],
                   next(iter(proven.kept.keys.values()))[0]):
        assert repr(secret)[2:-1] not in text and secret.hex() not in text
    assert str(int(proven.kept.secret[0])) not in text
