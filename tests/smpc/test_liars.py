"""Members that lie, in the small world, under both ledgers: what they can spoil, and that nothing else happens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import pytest

from fednode.crypto import Entropy, point_add, scalar_bytes
from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc import session
from fednode.smpc.record import AttemptRecord
from fednode.sums import bodies
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import World

LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")  # order 8
LEDGERS = [ModelLedger, RealLedger]
Change = Callable[[m.Effect], list[m.Effect]]
pytestmark = pytest.mark.parametrize("ledger", LEDGERS)


def on_message(kind: type, change: Callable[[bodies.Message], bodies.Message | None]) -> Change:
    """A lie in a submitted message; None keeps it back."""

    def tamper(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.Submit) and isinstance(effect.message, kind):
            changed = change(effect.message)
            return [] if changed is None else [replace(effect, message=changed)]
        return [effect]

    return tamper


def on_chunk(lane: m.Lane, change: Callable[[m.SendChunk], m.SendChunk | None]) -> Change:
    """A lie in a chunk sent; None keeps it back."""

    def tamper(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.SendChunk) and effect.ref.lane == lane:
            changed = change(effect)
            return [] if changed is None else [changed]
        return [effect]

    return tamper


def run(count: int, ledger: type, liars: dict[int, Change], seed: int = 1) -> World:
    world = World(count, seed=seed, ledger=ledger)
    for member, tamper in liars.items():
        world.nodes[MemberId(member)].tamper = tamper
    world.run()
    return world


def succeeded(world: World) -> m.SumView:
    return world.check_ok()


def spoil_boxes(holders: set[int]) -> Callable[[bodies.Message], bodies.Message]:
    def change(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Keys)
        spoiled = tuple((h, bytes(len(box)) if h in holders else box) for h, box in message.sealed)
        return replace(message, sealed=spoiled)

    return change


def test_garbage_for_one_holder_is_answered_in_public(ledger: type) -> None:
    world = run(4, ledger, {2: on_message(bodies.Keys, spoil_boxes({3}))})
    view = succeeded(world)
    assert view.included == world.members and [h for h, _, _ in dict(view.answers)[MemberId(2)]] == [3]


def test_garbage_for_more_than_f_holders_costs_the_dealer_its_place(ledger: type) -> None:
    world = run(4, ledger, {2: on_message(bodies.Keys, spoil_boxes({3, 4}))})
    view = succeeded(world)
    assert view.included == (1, 3, 4) and not view.answers


def test_a_garbage_dealer_that_does_not_answer_is_out(ledger: type) -> None:
    def tamper(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.Submit) and isinstance(effect.message, bodies.Answer):
            return []
        return on_message(bodies.Keys, spoil_boxes({1}))(effect)

    view = succeeded(run(4, ledger, {2: tamper}))
    assert view.included == (1, 3, 4)


def test_a_share_off_the_polynomial_is_complained_about(ledger: type) -> None:
    """The box opens and carries the right context, only the share is wrong."""
    from fednode.codec import encode
    from fednode.crypto import seal
    from fednode.smpc.dealing import SharePair, share_context

    world = World(4, seed=5, ledger=ledger)

    def change(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Keys)
        context = share_context(world.params(MemberId(2)), world.ledger.view().number, MemberId(2), MemberId(4))
        pair = SharePair(context, scalar_bytes(5), scalar_bytes(6))
        box = seal(world.ledger.view().seal_keys[MemberId(4)], encode(pair))
        return replace(message, sealed=tuple((h, box if h == 4 else old) for h, old in message.sealed))

    world.nodes[MemberId(2)].tamper = on_message(bodies.Keys, change)
    world.run()
    view = succeeded(world)
    assert dict(view.complaints)[MemberId(4)] == (2,) and view.included == world.members


def deal_otherwise(
    monkeypatch: pytest.MonkeyPatch, liars: Collection[int], change: Callable[[bodies.Keys], bodies.Keys]
) -> None:
    """Members that commit to something else than they deal, and stand by it."""
    deal_keys = session.deal_keys

    def deal(params: m.SumParams, view: m.SumView, entropy: Entropy) -> AttemptRecord:
        dealt = deal_keys(params, view, entropy)
        return replace(dealt, keys=change(dealt.keys)) if params.me in liars else dealt

    monkeypatch.setattr(session, "deal_keys", deal)


def twist(keys: bodies.Keys) -> bodies.Keys:
    """Add a point of order 8 to every commitment but the key point, and of order 4 to the last."""
    a, b = ([points[0], *(point_add(point, LOW_ORDER) for point in points[1:])]
            for points in (keys.a_points, keys.b_points))
    a[-1] = point_add(a[-1], LOW_ORDER)
    return replace(keys, a_points=tuple(a), b_points=tuple(b))


def double(keys: bodies.Keys) -> bodies.Keys:
    """Commit to another polynomial with the same secret: every share is wrong."""
    return replace(keys, a_points=(keys.a_points[0], *(point_add(point, point) for point in keys.a_points[1:])))


@pytest.mark.parametrize("count", [4, 7])
def test_a_part_of_small_order_in_commitments_splits_nobody(
    ledger: type, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the holders, not the rule for answers, not those who rebuild the secret of a dealer that was left out."""
    liars = range(1, (count - 1) // 3 + 1)
    deal_otherwise(monkeypatch, liars, twist)
    lies = dict.fromkeys(liars, on_chunk(m.Lane.MASKED, lambda effect: None))
    accuse = on_message(bodies.Acknowledge, lambda message: replace(message, wrong=(MemberId(1),)))
    world = run(count, ledger, {**lies, count: accuse})
    view = succeeded(world)
    assert all(not named for holder, named in view.complaints if holder != count), "all shares are right"
    assert [holder for holder, _, _ in dict(view.answers)[MemberId(1)]] == [count], "the rule says so too"
    assert view.qualified == world.members and view.included == world.members[len(liars):]
    assert set(dict(view.a_shares)) == set(liars), "their secrets were rebuilt"


@pytest.mark.parametrize("is_twisted", [False, True])
def test_f_dealers_with_wrong_shares_for_all_are_each_found(
    ledger: type, is_twisted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal_otherwise(monkeypatch, (2, 5), lambda keys: twist(double(keys)) if is_twisted else double(keys))
    world = run(7, ledger, {})
    view = succeeded(world)
    honest = tuple(member for member in world.members if member not in (2, 5))
    assert all(dict(view.complaints)[member] == (2, 5) for member in honest)
    assert view.qualified == view.included == honest


@pytest.mark.parametrize("count", [4, 7])
def test_false_complaints_of_f_members_harm_nobody(ledger: type, count: int) -> None:
    liars = range(1, (count - 1) // 3 + 1)
    honest = tuple(MemberId(i) for i in range(liars.stop, count + 1))
    complain = on_message(bodies.Acknowledge, lambda message: replace(message, wrong=honest))
    view = succeeded(run(count, ledger, dict.fromkeys(liars, complain)))
    assert set(honest) <= set(view.included)
    assert all([h for h, _, _ in dict(view.answers)[i]] == list(liars) for i in honest)


def test_a_chunk_withheld_from_one_owner_is_handed_to_the_next(ledger: type) -> None:
    withhold = on_chunk(m.Lane.MASKED, lambda effect: None if effect.to == 1 else effect)
    view = succeeded(run(4, ledger, {3: withhold}))
    assert view.included == (1, 2, 3, 4) and view.owners[0] != 1


@pytest.mark.parametrize("count", [4, 7])
def test_chunks_withheld_from_everyone_leave_the_dealer_out(ledger: type, count: int) -> None:
    withhold = on_chunk(m.Lane.MASKED, lambda effect: None)
    world = run(count, ledger, {3: withhold})
    view = succeeded(world)
    assert view.included == tuple(i for i in world.members if i != 3)
    assert dict(view.own_b).keys() == set(view.included) and set(dict(view.a_shares)) <= {3}


def test_chunks_that_do_not_match_their_root_are_as_good_as_none(ledger: type) -> None:
    flip = on_chunk(m.Lane.MASKED, lambda e: replace(e, data=memoryview(bytes([e.data[0] ^ 1]) + bytes(e.data[1:]))))
    world = run(4, ledger, {3: flip})
    view = succeeded(world)
    assert view.included == (1, 2, 4)
    assert any("not what the ledger says" in note for note in world.nodes[MemberId(1)].notes)


def test_a_chunk_of_another_place_does_not_pass(ledger: type) -> None:
    wrong_path = on_chunk(m.Lane.MASKED, lambda e: replace(e, proof=e.proof[::-1]))
    assert succeeded(run(4, ledger, {3: wrong_path})).included == (1, 2, 4)


def test_an_owner_that_falsely_misses_a_dealer_is_contradicted(ledger: type) -> None:
    def accuse(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Roster)
        return replace(message, missing=((0, MemberId(2)),) if message.step == 0 else ())

    view = succeeded(run(4, ledger, {1: on_message(bodies.Roster, accuse)}))
    assert view.included == (1, 2, 3, 4) and view.owners[0] != 1


def test_an_owner_that_keeps_the_sum_back_is_barred_and_the_next_attempt_succeeds(ledger: type) -> None:
    world = run(4, ledger, {3: on_chunk(m.Lane.SUM, lambda effect: None)})
    view = succeeded(world)
    assert len(world.ledger.voids) == 1 and view.number == 1 and view.included == (1, 2, 4)


def test_an_owner_whose_sum_does_not_match_its_digest_is_barred(ledger: type) -> None:
    spoil = on_chunk(m.Lane.SUM, lambda e: replace(e, data=memoryview(bytes(len(e.data)))))
    world = run(4, ledger, {3: spoil})
    assert succeeded(world).included == (1, 2, 4) and len(world.ledger.voids) == 1


def test_a_wrong_own_b_counts_as_silence(ledger: type) -> None:
    def change(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Reveal)
        return replace(message, own_b=scalar_bytes(7)) if message.own_b else message

    world = run(4, ledger, {2: on_message(bodies.Reveal, change)})
    view = succeeded(world)
    assert view.included == world.members and 2 not in dict(view.own_b) and len(dict(view.b_shares)[MemberId(2)]) >= 3


def test_wrong_shares_are_refused_and_t_right_ones_suffice(ledger: type) -> None:
    """Seven members, one is dropped, two of the holders post nonsense: five shares are left, and five open it."""
    def change(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Reveal)
        return replace(message, a_shares=tuple((dealer, scalar_bytes(9)) for dealer, _ in message.a_shares))

    lie = on_message(bodies.Reveal, change)
    withhold = on_chunk(m.Lane.MASKED, lambda effect: None)
    world = run(7, ledger, {3: withhold, 5: lie})
    view = succeeded(world)
    assert view.included == (1, 2, 4, 5, 6, 7) and 5 not in dict(dict(view.a_shares)[MemberId(3)])
