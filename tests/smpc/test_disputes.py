"""Shares in dispute: dealt again, confirmed, exposed. Liars deal single holders nothing or something else, and withhold
what the others then lack; or dispute what they were dealt right; or lie in every field of what settles it.

In every test no honest member is called faulty, and every opened sum is the exact sum over U (`World.check`). Liars
also keep their opening back wherever nothing else is said: a round must not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.crypto import base_times, point_times, prove_knowledge
from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc.dealing import dispute_scalar
from fednode.smpc.proving import ProvenUpdate
from fednode.smpc.record import restore_state
from fednode.sums import bodies, norm
from fednode.sums import field as f
from fednode.sums.attempt import dispute_context, key_proof_context
from fednode.sums.bounds import FEW
from fednode.sums.coin import draw_confirm_seed
from fednode.sums.equal_logs import prove_equal_logs
from fednode.sums.phase import Phase
from fednode.sums.redeal import hide_held, show_held
from tests.smpc.sim import dealers
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import HELD, OPENED, Absence, World
from tests.smpc.test_liars import Change, on_chunk, on_message
from tests.support.seeds import Stream

LIAR = MemberId(2)
LEDGERS = [ModelLedger, RealLedger]
pytestmark = pytest.mark.slow
both = pytest.mark.parametrize("ledger", LEDGERS)
Work = Callable[[object], object]
DISPUTE_PHASES = (Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE)


# --- liars -------------------------------------------------------------------------------------------------------

def chain(*changes: Change | None) -> Change:
    """One change after another."""
    def tamper(effect: m.Effect) -> list[m.Effect]:
        effects = [effect]
        for change in changes:
            effects = effects if change is None else [made for one in effects for made in change(one)]
        return effects

    return tamper


withhold = on_message(bodies.Reveal, lambda message: replace(message, opening=None))  # type: ignore[type-var]


def keep_back(*holders: int) -> Change:
    """No boxes for these holders."""
    return on_chunk(m.Lane.SHARES, lambda effect: None if effect.to in holders else effect)


def noise_about(*dealers_named: int) -> Change:
    """Noise in PROOF about these dealers, as if nothing right had come."""
    def change(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Proof)
        data = bytearray(message.data)
        for dealer in dealers_named:  # everybody is in U: a dealer's place is its number
            at = (dealer - 1) * FEW.answer_bytes
            data[at : at + FEW.answer_bytes] = b"\xff" * FEW.answer_bytes
        return replace(message, data=bytes(data))

    return on_message(bodies.Proof, change)


def play(
    ledger: type, *, count: int = 4, liars: tuple[int, ...] = (LIAR,), tamper: Change | None = None,
    work: Work | None = None, seed: int = 1, opens: bool = False, attempt: int | None = 0,
    setup: Callable[[World], None] | None = None, **more: object,
) -> World:
    """All liars tamper alike, in one attempt only unless told; the first one of them does the dealing."""
    world = World(count, seed=seed, ledger=ledger, weights="hidden", **more)  # type: ignore[arg-type]
    change = chain(tamper, None if opens else withhold)
    for liar in liars:
        node = world.nodes[MemberId(liar)]
        node.tamper = lambda effect: change(effect) if attempt in (None, world.ledger.view().number) else [effect]
    world.nodes[MemberId(liars[0])].work = work
    if setup is not None:
        setup(world)
    world.run()
    assert set(world.ledger.faulty) <= set(liars), "an honest member is called faulty"  # type: ignore[attr-defined]
    refused = {sender for sender, reason in world.ledger.refused if "closed" not in reason}  # type: ignore[attr-defined]
    assert refused <= set(liars), world.ledger.refused  # type: ignore[attr-defined]
    return world


def phases_of(world: World, attempt: int = 0) -> list[Phase]:
    seen = [view.phase for view in world.trace.views if view.number == attempt and view.phase in DISPUTE_PHASES]
    return list(dict.fromkeys(seen))


def succeeded(world: World, *, out: tuple[int, ...] = (), voids: int = 0, faulty: tuple[int, ...] = ()) -> m.SumView:
    view = world.check_ok()
    assert len(world.ledger.voids) == voids, world.ledger.voids  # type: ignore[attr-defined]
    assert view.included == tuple(i for i in world.members if i not in out)
    assert tuple(sorted(world.ledger.faulty)) == faulty  # type: ignore[attr-defined]
    return view


# --- a dealer that deals single holders wrong ----------------------------------------------------------------------

WRONG = {
    "no box": (keep_back(3), None),
    "another share": (None, dealers.deal(boxes=dealers.spoil_boxes({3}))),
    "another share of the proof": (None, dealers.deal(proofs=dealers.spoil_boxes({3}))),
    "no elements": (None, dealers.deal(boxes=dealers.spoil_boxes({3}, is_opening=False))),
}
every_wrong = pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())


@both
@every_wrong
def test_what_one_holder_lacks_is_dealt_again_and_no_opening_of_a_liar_is_needed(
    ledger: type, wrong: tuple[Change | None, Work | None],
) -> None:
    world = play(ledger, tamper=wrong[0], work=wrong[1])
    view = succeeded(world)
    assert phases_of(world) == [Phase.REDEAL, Phase.CONFIRM]
    openings = {sender for sender, _, message in world.trace.ledger
                if isinstance(message, bodies.Reveal) and message.opening is not None}
    assert openings == {1, 3, 4} and view.disputes == ((2, 3),) and view.unconfirmed == ()


@both
def test_f_holders_lack_something_of_f_dealers(ledger: type) -> None:
    """Liars 2 and 3 of seven deal both 5 and 6 nothing: four disputes, and only honest members open."""
    world = play(ledger, count=7, liars=(2, 3), tamper=keep_back(5, 6))
    view = succeeded(world)
    assert view.disputes == ((2, 5), (2, 6), (3, 5), (3, 6)) and phases_of(world) == [Phase.REDEAL, Phase.CONFIRM]


@both
def test_two_liars_each_deal_another_honest_holder_wrong(ledger: type) -> None:
    """Together they could leave N - f - 2 right openings, too few before."""
    def setup(world: World) -> None:
        world.nodes[MemberId(2)].work = dealers.deal(boxes=dealers.spoil_boxes({5}))
        world.nodes[MemberId(3)].work = dealers.deal(boxes=dealers.spoil_boxes({7}))

    view = succeeded(play(ledger, count=7, liars=(2, 3), setup=setup))
    assert view.disputes == ((2, 5), (3, 7))


@both
def test_without_disputes_nothing_is_dealt_again(ledger: type) -> None:
    world = play(ledger)
    succeeded(world)
    assert phases_of(world) == []


@both
def test_a_dealer_that_answers_wrong_of_its_own_shares_disputes_nothing(ledger: type) -> None:
    world = play(ledger, tamper=noise_about(2))
    succeeded(world)
    assert phases_of(world) == []


# --- wrong in REDEAL ---------------------------------------------------------------------------------------------

def redeal(change: Callable[[bodies.Redeal], bodies.Message | None]) -> Change:
    return on_message(bodies.Redeal, change)  # type: ignore[arg-type]


WRONG_BOXES = {
    "zeros": lambda message: replace(message, box=bytes(len(message.box))),
    "no elements": lambda message: replace(message, box=bytes(b ^ 255 for b in message.box)),
    "off in the first element": lambda message: replace(message, box=bytes([message.box[0] ^ 1]) + message.box[1:]),
    "off in the last blind": lambda message: replace(message, box=message.box[:-8] + bytes([message.box[-8] ^ 1])
                                                     + message.box[-7:]),
    "turned round": lambda message: replace(message, box=message.box[::-1]),
}


@both
@pytest.mark.parametrize("change", WRONG_BOXES.values(), ids=WRONG_BOXES.keys())
def test_a_wrong_share_dealt_again_is_shown_and_names_its_dealer(ledger: type, change: Callable) -> None:
    world = play(ledger, tamper=chain(keep_back(3), redeal(change)))
    succeeded(world, out=(2,), voids=1, faulty=(2,))
    assert phases_of(world) == list(DISPUTE_PHASES)
    assert not any(view.is_unmasked for view in world.trace.views if view.number == 0)


@both
@pytest.mark.parametrize("change", [
    lambda message: None, lambda message: replace(message, box=message.box[:-8]),
    lambda message: replace(message, box=message.box + bytes(8)), lambda message: replace(message, holder=MemberId(4)),
    lambda message: replace(message, holder=MemberId(2)), lambda message: replace(message, box=b""),
], ids=["none", "shorter", "longer", "another holder", "itself", "empty"])
def test_who_deals_nothing_again_is_out_without_blame(ledger: type, change: Callable) -> None:
    world = play(ledger, tamper=chain(keep_back(3), redeal(change)))
    succeeded(world, out=(2,), voids=1)
    assert phases_of(world) == [Phase.REDEAL]


@both
def test_who_deals_again_to_some_only_is_out_without_blame(ledger: type) -> None:
    change = redeal(lambda message: None if message.holder == 6 else message)
    succeeded(play(ledger, count=7, liars=(2,), tamper=chain(keep_back(5, 6), change)), out=(2,), voids=1)


@both
def test_a_dealer_that_vanished_after_it_shared_is_out(ledger: type) -> None:
    """It answered no proof, so nobody waits for it in REDEAL: still it must not hold up every attempt."""
    def tamper(effect: m.Effect) -> list[m.Effect]:
        is_kept = isinstance(effect, m.Submit) and isinstance(effect.message, bodies.Proof | bodies.Redeal)
        return [] if is_kept else [effect]

    world = play(ledger, tamper=chain(keep_back(3), tamper))
    view = world.check_ok()
    assert len(world.ledger.voids) == 1 and view.included == (1, 3, 4)  # type: ignore[attr-defined]


def on_another_polynomial(zeros: tuple[int, ...], holders: tuple[int, ...]) -> Work:
    """What `holders` are dealt again lies on another polynomial of degree g, equal at `zeros` and off in one entry."""
    def bend(proven: ProvenUpdate) -> ProvenUpdate:
        kept = proven.kept

        class Bent:
            def held_by(self, holder: int) -> f.FieldVector:
                held = kept.held_by(holder)
                if holder in holders:
                    held[0] = (int(held[0]) + bend_at(zeros, holder)) % f.MODULUS
                return held

        return replace(proven, kept=Bent())  # type: ignore[arg-type]

    def work(job: object) -> object:
        result = dealers.deal(boxes=dealers.spoil_boxes(set(holders)))(job)
        return bend(result) if isinstance(result, ProvenUpdate) else result

    return work


def bend_at(zeros: tuple[int, ...], at: int) -> int:
    value = 1000
    for zero in zeros:
        value = value * (at - zero) % f.MODULUS
    return value


def confirm_bent(world: World, member: int, zeros: tuple[int, ...]) -> Change:
    """A liar's answer about dealer 2 on the other polynomial."""
    def change(message: bodies.Message) -> bodies.Message:
        assert isinstance(message, bodies.Confirm)
        seed = world.ledger.view().confirm_seed
        assert seed is not None and len(message.data) == 16
        rho = np.array(norm.draw_confirm(seed), f.FIELD)
        told = f.add(np.frombuffer(message.data, f.FIELD), f.scale(rho, bend_at(zeros, member)))
        return replace(message, data=f.to_bytes(told))

    return on_message(bodies.Confirm, change)


@both
def test_shares_dealt_again_on_another_polynomial_do_not_take_the_place_of_the_proven_one(ledger: type) -> None:
    """Holders 6 and 7 are dealt again what lies on another polynomial with that of 1 and 4; 2 and 3 answer for it too.

    So six of seven answers lie on it, and only 1, 4 and 5 on the proven one. If all answers counted, holder 5 would be
    off, and what 6 and 7 open would be anything: the bound of the sum rests on what was proven.
    """
    zeros = (1, 4)

    def setup(world: World) -> None:
        for liar in (2, 3):
            world.nodes[MemberId(liar)].tamper = confirm_bent(world, liar, zeros)
        world.nodes[LIAR].work = lambda job: work(job) if world.ledger.view().number == 0 else job.run()  # type: ignore[arg-type]

    work = on_another_polynomial(zeros, (6, 7))
    world = play(ledger, count=7, liars=(2, 3), setup=setup)
    succeeded(world, out=(2,), voids=1)
    assert phases_of(world) == [Phase.REDEAL, Phase.CONFIRM]


@both
def test_shares_dealt_again_on_another_polynomial_are_shown(ledger: type) -> None:
    """The same, but the liars answer right: then the holders are off, and show it."""
    world = play(ledger, count=7, liars=(2, 3), work=on_another_polynomial((1, 4), (6, 7)))
    succeeded(world, out=(2,), voids=1, faulty=(2,))
    assert world.trace.views[-1].number == 1 and phases_of(world) == list(DISPUTE_PHASES)


@both
def test_a_box_made_for_challenges_that_are_known_is_off(ledger: type) -> None:
    """Off in an entry, and in the blinds so that the answers are right, under the challenges without the boxes."""
    def setup(world: World) -> None:
        def change(message: bodies.Redeal) -> bodies.Message:
            view, context = world.ledger.view(), world.params(LIAR).context(0)
            shared = point_times(scalar_of(world, 2), view.keys[MemberId(3)].c_point or b"")
            held = show_held(message.box, shared, context, 2, 3, HELD)
            assert held is not None and view.query_seed is not None
            held = held.copy()
            for at, rho in enumerate(norm.draw_confirm(draw_confirm_seed(context, view.query_seed, {}))):
                held[OPENED + at] = (int(held[OPENED + at]) - 1000 * rho) % f.MODULUS
            held[0] = (int(held[0]) + 1000) % f.MODULUS
            return replace(message, box=hide_held(held, shared, context, 2, 3))

        world.nodes[LIAR].tamper = chain(keep_back(3), redeal(change), withhold)

    succeeded(play(ledger, setup=setup), out=(2,), voids=1, faulty=(2,))


# --- holders that lie ----------------------------------------------------------------------------------------------

@both
@pytest.mark.parametrize(("count", "liars"), [(4, (2,)), (7, (2, 3))])
def test_false_disputes_are_settled_and_the_sum_goes_on(ledger: type, count: int, liars: tuple[int, ...]) -> None:
    """Each liar disputes f honest dealers, gets its shares again, and confirms them."""
    targets = tuple(i for i in range(1, count + 1) if i not in liars)[: len(liars)]
    world = play(ledger, count=count, liars=liars, tamper=noise_about(*targets))
    view = succeeded(world)
    assert view.disputes == tuple((i, j) for i in targets for j in liars) and view.unconfirmed == ()
    assert phases_of(world) == [Phase.REDEAL, Phase.CONFIRM]


@both
def test_who_disputes_more_than_f_is_not_heard(ledger: type) -> None:
    world = play(ledger, tamper=noise_about(1, 3))
    succeeded(world)
    assert phases_of(world) == []


@both
def test_an_honest_holder_that_was_cut_off_disputes_nothing_and_the_sum_goes_on(ledger: type) -> None:
    """Boxes of two dealers do not reach holder 3 of four: it is late, not wronged; all others open."""
    def setup(world: World) -> None:
        for dealer in (1, 4):
            world.nodes[MemberId(dealer)].tamper = keep_back(3)

    world = play(ledger, setup=setup, opens=True)
    succeeded(world)
    assert phases_of(world) == []


CONFIRMS = {
    "zeros": lambda data: bytes(len(data)), "nothing held": lambda data: b"\xff" * len(data),
    "off by one": lambda data: bytes([data[0] ^ 1]) + data[1:], "off in the last": lambda data: data[:-1]
    + bytes([data[-1] ^ 1]),
}


@both
@pytest.mark.parametrize("shows", ["nothing", "itself"])
@pytest.mark.parametrize("change", CONFIRMS.values(), ids=CONFIRMS.keys())
def test_a_false_dispute_that_is_not_confirmed_stops_nothing(ledger: type, change: Callable, shows: str) -> None:
    """The holder is off, and may show the box it was dealt: which is right, so it is refused."""
    tamper = chain(
        noise_about(1), on_message(bodies.Confirm, lambda message: replace(message, data=change(message.data))),  # type: ignore[attr-defined]
        on_message(bodies.Expose, lambda message: message if shows == "itself" else None),
    )
    world = play(ledger, tamper=tamper)
    view = succeeded(world)
    assert [pair[:2] for pair in view.unconfirmed] == [(1, 2)] and phases_of(world) == list(DISPUTE_PHASES)
    shown = [reason for sender, reason in world.ledger.refused if "Expose" in reason]  # type: ignore[attr-defined]
    assert bool(shown) == (shows == "itself") and all("wrong accusation" in reason for reason in shown)


def scalar_of(world: World, member: int) -> int:
    state = restore_state(world.params(MemberId(member)), world.nodes[MemberId(member)].disk)
    return dispute_scalar(world.params(MemberId(member)), state.attempt, state.sharing.seed)


def other_points(world: World) -> dict[str, Callable[[bodies.Expose], bodies.Expose]]:
    """Points and proofs with which a liar could make a right box look wrong."""
    def proven(message: bodies.Expose, scalar: int, base: bytes, shared: bytes) -> bodies.Expose:
        context = dispute_context(world.params(LIAR).context(0), message.dealer, LIAR)
        return replace(message, shared=shared, proof=prove_equal_logs(scalar, base, context, Stream("lie")))

    def base(message: bodies.Expose, dealer: int | None = None) -> bytes:
        point = world.ledger.view().keys[MemberId(dealer or message.dealer)].c_point
        assert point is not None
        return point

    return {
        "another point": lambda msg: replace(msg, shared=point_times(77, base(msg))),
        "a proof for another scalar": lambda msg: proven(msg, 77, base(msg), point_times(77, base(msg))),
        "a proof for another dealer's point": lambda msg: proven(
            msg, scalar_of(world, 2), base(msg, 3), point_times(scalar_of(world, 2), base(msg, 3))),
        "the base point": lambda msg: replace(msg, shared=base_times(1)),
        "no point": lambda msg: replace(msg, shared=bytes(32)),
        "the identity": lambda msg: replace(msg, shared=b"\x01" + bytes(31)),
        "no proof": lambda msg: replace(msg, proof=bytes(64)),
        "short": lambda msg: replace(msg, proof=msg.proof[:-1]),
        "of another dealer": lambda msg: replace(msg, dealer=MemberId(3)),
        "of itself": lambda msg: replace(msg, dealer=LIAR),
    }


@both
@pytest.mark.parametrize("which", [
    "another point", "a proof for another scalar", "a proof for another dealer's point", "the base point", "no point",
    "the identity", "no proof", "short", "of another dealer", "of itself",
])
def test_no_point_makes_a_right_box_look_wrong(ledger: type, which: str) -> None:
    def setup(world: World) -> None:
        change = other_points(world)[which]
        world.nodes[LIAR].tamper = chain(
            noise_about(1), on_message(bodies.Confirm, lambda message: replace(message, data=bytes(16))),
            on_message(bodies.Expose, change), withhold,  # type: ignore[arg-type]
        )

    world = play(ledger, setup=setup)
    succeeded(world)
    assert any("Expose" in reason for sender, reason in world.ledger.refused)  # type: ignore[attr-defined]


@both
def test_who_answers_nothing_in_confirm_stops_nothing(ledger: type) -> None:
    world = play(ledger, tamper=chain(noise_about(1), on_message(bodies.Confirm, lambda message: None)))
    view = succeeded(world)
    assert view.confirmed == (1, 3, 4) and phases_of(world) == [Phase.REDEAL, Phase.CONFIRM]


@both
def test_noise_about_a_dealer_whose_shares_only_n_minus_f_carry_leaves_the_dealer_out(ledger: type) -> None:
    """The liar dealt holder 3 nothing, answers noise about itself: nobody can tell what was proven, so it is out."""
    tamper = chain(keep_back(3), on_message(bodies.Confirm, lambda message: replace(message, data=bytes(16))))
    succeeded(play(ledger, tamper=tamper), out=(2,), voids=1)


@both
def test_a_liar_among_the_provers_answers_noise(ledger: type) -> None:
    """2 deals holder 5 of seven nothing, 3 answers noise: f + 1 off or out of what was proven, and 2 is left out."""
    def setup(world: World) -> None:
        world.nodes[MemberId(2)].tamper = chain(keep_back(5, 6), withhold)
        world.nodes[MemberId(3)].tamper = on_message(bodies.Confirm, lambda message: replace(message, data=bytes(16)))

    succeeded(play(ledger, count=7, liars=(2, 3), setup=setup), out=(2,), voids=1)


@both
@pytest.mark.parametrize("change", [
    lambda message: replace(message, data=message.data[:-8]),
    lambda message: replace(message, data=message.data + bytes(16)),
    lambda message: replace(message, data=b""),
], ids=["shorter", "longer", "empty"])
def test_an_answer_of_another_size_is_as_good_as_none(ledger: type, change: Callable) -> None:
    view = succeeded(play(ledger, tamper=chain(noise_about(1), on_message(bodies.Confirm, change))))
    assert 2 not in view.confirmed


@both
def test_a_share_that_is_not_settled_is_not_opened(ledger: type) -> None:
    """The holder is late in EXPOSE: nobody is named, and what it was dealt wrong is in no opening."""
    def setup(world: World) -> None:
        world.nodes[MemberId(3)].tamper = on_message(bodies.Expose, lambda message: None)

    world = play(ledger, tamper=chain(keep_back(3), redeal(WRONG_BOXES["zeros"])), setup=setup, opens=True)
    succeeded(world)
    reveals = {s: msg for s, _, msg in world.trace.ledger if isinstance(msg, bodies.Reveal)}
    assert reveals[MemberId(3)].opening is None and reveals[MemberId(2)].opening is not None


# --- dispute keys ----------------------------------------------------------------------------------------------------

def own_keys(world: World, message: bodies.Keys, scalar: int, which: str = "c") -> bodies.Keys:
    context = key_proof_context(world.params(LIAR).context(0), LIAR, which)
    return replace(message, c_point=base_times(scalar), c_proof=prove_knowledge(scalar, context, Stream("lie")))


LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
KEYS = {
    "no proof": lambda world, msg: replace(msg, c_proof=bytes(64)),
    "of low order": lambda world, msg: replace(msg, c_point=LOW_ORDER),
    "another's": lambda world, msg: replace(msg, c_point=next(iter(world.ledger.view().keys.values())).c_point)
    if world.ledger.view().keys else replace(msg, c_point=base_times(5)),
    "that of a": lambda world, msg: replace(msg, c_point=msg.a_points[0], c_proof=msg.a_proof),
    "a proof for a": lambda world, msg: own_keys(world, msg, 99, "a"),
}


@both
@pytest.mark.parametrize("change", KEYS.values(), ids=KEYS.keys())
def test_keys_without_a_dispute_key_of_its_own_are_refused(ledger: type, change: Callable) -> None:
    world = World(4, seed=1, ledger=ledger, weights="hidden")
    world.nodes[LIAR].tamper = on_message(bodies.Keys, lambda message: change(world, message))
    world.run()
    assert world.check().included == (1, 3, 4)
    assert {sender for sender, _ in world.ledger.refused} == {LIAR}  # type: ignore[attr-defined]


# --- absences and crashes --------------------------------------------------------------------------------------------

def said(world: World, member: int) -> dict[tuple[object, ...], set[bytes]]:
    """What a member ever tried to say in disputes: for each thing to be said, all bytes it took."""
    found: dict[tuple[object, ...], set[bytes]] = {}
    for sender, attempt, message in world.trace.ledger:
        if sender == member and isinstance(message, bodies.Redeal):
            found.setdefault((attempt, "redeal", message.holder), set()).add(message.box)
        elif sender == member and isinstance(message, bodies.Confirm):
            found.setdefault((attempt, "confirm"), set()).add(message.data)
        elif sender == member and isinstance(message, bodies.Expose):
            found.setdefault((attempt, "expose", message.dealer), set()).add(message.shared + message.proof)
    return found


@both
@pytest.mark.parametrize("after", [0, 1, 2, 3, 5])
@pytest.mark.parametrize(("phase", "who"), [
    (Phase.REDEAL, 1), (Phase.CONFIRM, 1), (Phase.CONFIRM, 3), (Phase.CONFIRM, 4), (Phase.EXPOSE, 3), (Phase.REVEAL, 3),
])
def test_a_restart_in_the_middle_says_the_same(ledger: type, phase: Phase, who: int, after: int) -> None:
    """1 is disputed falsely by the liar, 3 is dealt nothing by it and then zeros: both sides of every phase."""
    tamper = chain(keep_back(3), noise_about(1), redeal(WRONG_BOXES["zeros"]))
    if phase is Phase.REVEAL:
        tamper = chain(keep_back(3), noise_about(1))
    absences = (Absence(who, phase, down_ms=300, after=after),)
    world = play(ledger, tamper=tamper, absences=absences, seed=after)
    if phase is Phase.REVEAL:
        succeeded(world)
    else:
        succeeded(world, out=(2,), voids=1, faulty=(2,))
    for member in (1, 3, 4):
        for key, ways in said(world, member).items():
            assert len(ways) == 1, key


@both
@pytest.mark.parametrize("phase", [Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE, Phase.REVEAL])
def test_everybody_restarts_at_once(ledger: type, phase: Phase) -> None:
    absences = tuple(Absence(i, phase, down_ms=200) for i in (1, 3, 4))
    wrong = redeal(WRONG_BOXES["zeros"] if phase is Phase.EXPOSE else lambda message: message)
    world = play(ledger, tamper=chain(keep_back(3), noise_about(1), wrong), absences=absences)
    if phase is Phase.EXPOSE:
        succeeded(world, out=(2,), voids=1, faulty=(2,))
    else:
        succeeded(world)


@both
@pytest.mark.parametrize("phase", [Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE])
def test_an_honest_member_that_vanishes_for_good_ends_no_round(ledger: type, phase: Phase) -> None:
    """One honest and one liar away, of seven: in REDEAL the vanished dealer costs an attempt, elsewhere nothing."""
    def setup(world: World) -> None:
        noise = on_message(bodies.Confirm, lambda message: replace(message, data=bytes(16)))
        world.nodes[LIAR].tamper = chain(noise_about(1), noise)

    world = play(ledger, count=7, setup=setup, absences=(Absence(1, phase),), opens=True)
    view = world.check_ok()
    assert not world.ledger.faulty  # type: ignore[attr-defined]
    assert len(world.ledger.voids) == (phase is Phase.REDEAL) and set(view.included) >= {2, 3, 4, 5, 6, 7}  # type: ignore[attr-defined]


@both
def test_liars_void_f_attempts_at_most(ledger: type) -> None:
    """Each of two liars of seven spoils one attempt in its own way; the third is exact, without them."""
    def setup(world: World) -> None:
        silent = chain(keep_back(5), redeal(lambda message: None))
        wrong = chain(keep_back(6), redeal(WRONG_BOXES["zeros"]))
        world.nodes[MemberId(2)].tamper = silent
        world.nodes[MemberId(3)].tamper = lambda e: wrong(e) if world.ledger.view().number == 1 else [e]

    world = play(ledger, count=7, liars=(2, 3), setup=setup)
    succeeded(world, out=(2, 3), voids=2, faulty=(3,))


# --- anything at all -------------------------------------------------------------------------------------------------

def scramble(world: World, member: int, draw: np.random.Generator) -> Change:
    """At every field of what settles disputes, and of what starts them, something else."""
    def bytes_of(data: bytes) -> bytes:
        kind = draw.integers(6)
        if kind == 0:
            return bytes(len(data))
        if kind == 1:
            return b"\xff" * len(data)
        if kind == 2:
            return draw.bytes(len(data))
        if kind == 3 and data:
            at = int(draw.integers(len(data)))
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return data if kind == 4 else data[: len(data) - 8]

    def tamper(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.SendChunk) and effect.ref.lane == m.Lane.SHARES and draw.integers(3) == 0:
            return []
        if not isinstance(effect, m.Submit) or draw.integers(4) == 0:
            return [effect]
        match effect.message:
            case bodies.Redeal() as message:
                changed: bodies.Message = replace(message, box=bytes_of(message.box))
                if draw.integers(4) == 0:
                    changed = replace(message, holder=MemberId(int(draw.integers(1, len(world.members) + 1))))
            case bodies.Confirm() as message:
                changed = replace(message, data=bytes_of(message.data))
            case bodies.Expose() as message:
                changed = replace(message, shared=bytes_of(message.shared), proof=bytes_of(message.proof))
            case bodies.Proof() as message:
                changed = noise_about(*set(draw.integers(1, len(world.members) + 1, 2).tolist()))(effect)[0].message  # type: ignore[union-attr]
            case bodies.Reveal() as message:
                changed = replace(message, opening=None)
            case _:
                return [effect]
        extra = [effect] if draw.integers(5) == 0 else []
        return [replace(effect, message=changed), *extra]

    return tamper


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([4, 7]), st.sampled_from(LEDGERS))
def test_whatever_f_members_do_no_honest_one_is_faulty_and_every_sum_is_exact(
    seed: int, count: int, ledger: type
) -> None:
    draw = np.random.default_rng(seed)
    liars = tuple(sorted(draw.choice(range(1, count + 1), (count - 1) // 3, replace=False).tolist()))

    def setup(world: World) -> None:
        for liar in liars:
            world.nodes[MemberId(liar)].tamper = scramble(world, liar, draw)
            if draw.integers(2):
                holders = set(draw.integers(1, count + 1, 2).tolist()) - {liar}
                world.nodes[MemberId(liar)].work = dealers.deal(boxes=dealers.spoil_boxes(holders))

    world = play(ledger, count=count, liars=liars, setup=setup, seed=seed)
    world.check()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok", world.ledger.outcome


def test_boxes_are_of_one_size() -> None:
    held = np.zeros(FEW.held_bytes(0) // 8, f.FIELD)
    assert len(hide_held(held, base_times(3), World(4).params(LIAR).context(0), 1, 2)) == FEW.held_bytes(0)
