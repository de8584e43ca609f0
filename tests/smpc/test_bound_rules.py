"""Rules of the second sum that each close an attack, on sessions taken out of the small world at some phase.

The views here are often ones the real ledger would never produce: the session refuses them by itself.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fednode.crypto import unseal
from fednode.effects import Compute, ComputeDone, Persist, TimerFired
from fednode.errors import StorageError
from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc.binding import Boxes
from fednode.smpc.proving import (
    BITS,
    PROOF,
    AnswerProofs,
    DerivedEntropy,
    NotProvable,
    ProvenUpdate,
    ProveUpdate,
    box_context,
    box_sizes,
)
from fednode.smpc.record import restore_shares, restore_state
from fednode.smpc.session import Session
from fednode.sums import bodies, shares
from fednode.sums import field as f
from fednode.sums.attempt import ChunkRecord, SumContext
from fednode.sums.bounds import FEW, MASKS_WRONG
from fednode.sums.norm import Statement
from fednode.sums.phase import Phase
from tests.smpc.sim.shown import key_of_sum
from tests.smpc.sim.world import MOMENTS, OPENED, Node, World
from tests.support.seeds import Stream

ME, OTHER = MemberId(2), MemberId(3)


@cache
def _world_at(phase: Phase, count: int) -> World:
    world = World(count, weights="hidden")
    return world.run(until=lambda w: w.ledger.view().phase is phase)


def restarted(known: World) -> World:
    """A copy of a world, every member fresh from its disk."""
    world = copy.copy(known)
    world.nodes = {}
    for member, node in known.nodes.items():
        world.nodes[member] = Node(member, node.secret, dict(node.disk))
        world.nodes[member].session = restored(world, member)
    return world


def reach(phase: Phase, count: int = 4) -> tuple[World, m.SumView]:
    """A copy of a world that has just opened `phase`, every member fresh from its disk, and the ledger's view."""
    world = restarted(_world_at(phase, count))
    view = world.ledger.view()
    assert view.phase is phase
    return world, view


def restored(world: World, member: MemberId = ME) -> Session:
    node = world.nodes[member]
    return Session.restore(
        world.params(member), node.disk, Stream("again"), lambda box: unseal(node.secret, box),
        world.chains[member].link,
    )


def session_of(world: World, member: MemberId = ME) -> Session:
    session = world.nodes[member].session
    assert session is not None
    return session


def settle(world: World, effects: list[m.Effect], member: MemberId = ME) -> list[m.Effect]:
    """Do the jobs among effects until nothing is left to compute; keep what is persisted."""
    seen = list(effects)
    for effect in seen:
        if isinstance(effect, Compute):
            seen += session_of(world, member).handle(ComputeDone(effect.number, effect.job.run()))
    world.nodes[member].disk |= {e.record.part: e.record.data.reveal() for e in seen if isinstance(e, Persist)}
    return seen


def show(world: World, view: m.SumView, member: MemberId = ME) -> list[m.Effect]:
    return settle(world, session_of(world, member).handle(m.ViewChanged(view)), member)


def submitted(effects: list[m.Effect], kind: type) -> list[bodies.Message]:
    return [effect.message for effect in effects if isinstance(effect, m.Submit) and isinstance(effect.message, kind)]


def boxes_in(effects: list[m.Effect]) -> list[m.SendChunk]:
    return [e for e in effects if isinstance(e, m.SendChunk) and e.ref.lane == m.Lane.SHARES]


def is_silent(world: World, member: MemberId = ME) -> bool:
    return session_of(world, member).silent_reason is not None


def deal_everything(world: World, view: m.SumView) -> dict[MemberId, list[m.SendChunk]]:
    """Let every member hand out its boxes: what is sent, by dealer."""
    return {i: boxes_in(show(world, view, i)) for i in world.members}


def give(world: World, sent: dict[MemberId, list[m.SendChunk]], to: MemberId, keep: set[int] = frozenset()) -> list:  # type: ignore[assignment, type-arg]
    """Deliver everybody's boxes for one holder, but those of dealers in `keep`."""
    effects: list[m.Effect] = []
    for dealer, chunks in sent.items():
        for chunk in chunks:
            if chunk.to == to and dealer not in keep:
                arrived = m.ChunkArrived(dealer, chunk.ref, chunk.proof, bytes(chunk.data))
                assert session_of(world, to).is_chunk_expected(chunk.ref, len(chunk.data), dealer)
                effects += settle(world, session_of(world, to).handle(arrived), to)
    return effects


def give_sum(world: World, view: m.SumView, to: MemberId) -> list[m.Effect]:
    """Deliver the masked sum, out of what was on the wire."""
    effects: list[m.Effect] = []
    for sender, chunk in world.trace.wire:
        if chunk.ref.lane == m.Lane.SUM and session_of(world, to).is_chunk_expected(chunk.ref, len(chunk.data), sender):
            arrived = m.ChunkArrived(sender, chunk.ref, b"", bytes(chunk.data))
            effects += settle(world, session_of(world, to).handle(arrived), to)
    return effects


def answered(world: World, view: m.SumView, keep: set[int] = frozenset()) -> list[m.Effect]:  # type: ignore[assignment]
    """Bring one member to its answers: all boxes, the sum, and the end of its patience."""
    sent = deal_everything(world, view)
    effects = give(world, sent, ME, keep) + give_sum(world, view, ME)
    for timer in (m.Timer.REPORT,):
        fired = TimerFired(m.SumTimer(timer, view.number, view.phase_no))
        effects += settle(world, session_of(world).handle(fired))
    return effects


# --- keys --------------------------------------------------------------------------------------------------------

def test_keys_on_record_go_out_with_the_key_of_the_coming_round_that_is_at_hand() -> None:
    world, view = reach(Phase.KEYS)
    before = submitted(show(world, view), bodies.Keys)
    params, node = replace(world.params(ME), next_key=bytes(31) + bytes([9])), world.nodes[ME]
    node.session = Session.restore(
        params, node.disk, Stream("again"), lambda box: unseal(node.secret, box), world.chains[ME].link
    )
    after = submitted(show(world, view), bodies.Keys)
    assert after == [replace(body, next_key=params.next_key) for body in before] != before  # type: ignore[call-arg]


# --- the coin ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("phase", [Phase.COMMIT, Phase.ROSTER, Phase.DIGEST, Phase.SUMACK])
def test_no_link_leaves_before_the_freeze(phase: Phase) -> None:
    world, view = reach(phase)
    assert not submitted(show(world, view), bodies.Coin)


def test_the_link_of_this_sum_leaves_once_it_is_frozen() -> None:
    world, view = reach(Phase.COIN)
    assert submitted(show(world, view), bodies.Coin) == [
        bodies.Coin(*world.params(ME).place(view.number), world.chains[ME].link(view.coin_index))
    ]


@pytest.mark.parametrize("change", [
    {"acked": (1, 2)}, {"acked": ()}, {"chunks": (ChunkRecord((ME,), digest=bytes(32)), *[ChunkRecord((ME,))] * 3)},
    {"chunks": ()}, {"chunks": (ChunkRecord((ME,), digest=bytes(32)),)}, {"included": (1, 2)}, {"pinned": (1, 2, 3)},
])
def test_a_coin_before_everyone_has_acknowledged_is_refused(change: dict[str, object]) -> None:
    world, view = reach(Phase.COIN)
    assert not submitted(show(world, replace(view, **change)), bodies.Coin)  # type: ignore[arg-type]
    assert is_silent(world)


# --- shares ------------------------------------------------------------------------------------------------------

def test_nothing_is_sketched_before_the_coin() -> None:
    world, view = reach(Phase.COIN)
    jobs = [effect.job for effect in show(world, view) if isinstance(effect, Compute)]
    assert not any(isinstance(job, ProveUpdate) for job in jobs)
    world, view = reach(Phase.SHARE)
    assert not submitted(show(world, replace(view, coin=None)), bodies.ShareRoot)


def test_roots_are_persisted_before_they_are_posted_and_boxes_leave_when_they_are_final() -> None:
    world, view = reach(Phase.SHARE)
    effects = show(world, view)
    posted = submitted(effects, bodies.ShareRoot)[0]
    assert isinstance(posted, bodies.ShareRoot) and not boxes_in(effects)
    order = [type(e) for e in effects if isinstance(e, Persist | m.Submit)]
    assert order == [Persist, m.Submit]
    record = restore_state(world.params(ME), world.nodes[ME].disk)
    assert record.sharing.shared.bits_root == posted.bits_root
    final = replace(view, share_roots={ME: posted}, posted=(ME,))
    assert sorted(chunk.to for chunk in boxes_in(show(world, final))) == [1, 3, 4]
    assert not boxes_in(show(world, final)), "once"


def test_no_box_leaves_under_a_sketch_or_roots_that_are_not_on_record() -> None:
    world, view = reach(Phase.SHARE)
    posted = submitted(show(world, view), bodies.ShareRoot)[0]
    assert isinstance(posted, bodies.ShareRoot)
    other = replace(view, share_roots={ME: replace(posted, sketch=bytes(1024))})
    assert not boxes_in(show(world, other))
    assert not boxes_in(show(world, replace(view, share_roots={ME: replace(posted, bits_root=bytes(32))})))
    assert is_silent(world)


def test_a_member_without_its_record_shares_nothing() -> None:
    world, view = reach(Phase.PROOF)
    del world.nodes[ME].disk[m.RecordPart.STATE]
    world.nodes[ME].session = restored(world)
    assert not boxes_in(show(world, view)) and is_silent(world)


def test_the_shares_of_one_coin_are_made_once_and_another_coin_silences() -> None:
    world, view = reach(Phase.SHARE)
    first = submitted(show(world, view), bodies.ShareRoot)
    world.nodes[ME].session = restored(world)
    assert submitted(show(world, view), bodies.ShareRoot) == first, "the same after a restart"
    world.nodes[ME].session = restored(world)
    assert not submitted(show(world, replace(view, coin=bytes(32))), bodies.ShareRoot) and is_silent(world)


def job_of(world: World, view: m.SumView, member: MemberId = ME) -> ProveUpdate:
    session = session_of(world, member)
    queue = session.handle(m.ViewChanged(view))
    for effect in queue:
        if isinstance(effect, Compute):
            if isinstance(effect.job, ProveUpdate):
                return effect.job
            queue += session.handle(ComputeDone(effect.number, effect.job.run()))
    raise AssertionError("no dealing")


@pytest.mark.parametrize("change", [
    {"coin": b"\x07" * 32}, {"root": b"\x07" * 32}, {"seed": b"\x07" * 32},
    {"context": SumContext(b"c" * 32, b"s" * 32, 1, 1)}, {"context": SumContext(b"c" * 32, b"s" * 32, 2, 0)},
])
def test_randomness_of_shares_depends_on_coin_vector_round_and_attempt(change: dict[str, object]) -> None:
    """Two vectors shared under one seed would show their difference to the holders of the seed's keys."""
    world, view = reach(Phase.SHARE)
    job = job_of(world, view)
    same, other = job.run(), replace(job, **change).run()  # type: ignore[arg-type]
    assert isinstance(same, ProvenUpdate) and isinstance(other, ProvenUpdate)
    opened = [
        [unseal(world.nodes[MemberId(1)].secret, boxes[0])[32:] for boxes in (dealt.bits_boxes, dealt.proof_boxes)]
        for dealt in (same, other)
    ]
    assert not set(opened[0]) & set(opened[1]) and opened[0][0] != opened[0][1]
    again = job.run()
    assert isinstance(again, ProvenUpdate)
    assert (again.bits_boxes, again.proof_boxes, again.posted) == (same.bits_boxes, same.proof_boxes, same.posted)


def test_every_purpose_has_its_own_randomness() -> None:
    context = SumContext(b"c" * 32, b"s" * 32, 1, 0)
    labels = (BITS, PROOF, "prove", "seal bits", "seal proof")
    assert len({DerivedEntropy(bytes(32), context, label, 1).random_bytes(32) for label in labels}) == len(labels)


def test_f_holders_learn_nothing_from_their_boxes() -> None:
    """The boxes of any g holders are as good as random: with them any other secret is possible."""
    world, view = reach(Phase.SHARE)
    dealt = job_of(world, view).run()
    assert isinstance(dealt, ProvenUpdate)
    for holder in (1, 3, 4):  # g = 1
        message = unseal(world.nodes[MemberId(holder)].secret, dealt.bits_boxes[holder - 1])[32:]
        values = shares.open_box(message, world_statement(world).length, len(message) == 16)
        assert values is not None and len(set(values.tolist())) > 0.99 * values.size
        assert abs(float((values < 2**63).mean()) - 0.5) < 0.05


@pytest.mark.parametrize("count", [4, 7])
def test_g_holders_together_cannot_read_a_sketch_and_g_plus_one_can(count: int) -> None:
    world, view = reach(Phase.SHARE, count)
    dealt = job_of(world, view).run()
    assert isinstance(dealt, ProvenUpdate)
    holders = list(range(count, count - (count - 1) // 3 - 1, -1))  # g + 1 of those that hold elements
    rows = []
    for holder in holders:
        message = unseal(world.nodes[MemberId(holder)].secret, dealt.bits_boxes[holder - 1])[32:]
        rows.append(np.frombuffer(message, f.FIELD))

    def read(few: int) -> f.FieldVector:
        weights = np.array(shares.lagrange(tuple(holders[:few]), 0), f.FIELD)
        return f.combine(weights, np.stack(rows[:few]))

    assert (read(len(holders)) <= 1).all() and (read(len(holders) - 1) <= 1).mean() < 0.01


def world_statement(world: World) -> Statement:
    made = world.params(ME).statement
    assert made is not None
    return made(0)


def test_a_vector_that_cannot_be_proven_silences_its_member_and_does_not_crash() -> None:
    world, view = reach(Phase.SHARE)
    job = job_of(world, view)
    for values in (np.full(37, 2**27, np.uint32), np.full(37, 2**31, np.uint32)):
        assert isinstance(replace(job, values=values).run(), NotProvable)
    world.nodes[ME].session = restored(world)
    queue = session_of(world).handle(m.ViewChanged(view))
    for effect in queue:
        if isinstance(effect, Compute):
            result = NotProvable("too long") if isinstance(effect.job, ProveUpdate) else effect.job.run()
            queue += session_of(world).handle(ComputeDone(effect.number, result))
    assert is_silent(world) and not submitted(queue, bodies.ShareRoot)


# --- boxes on their way --------------------------------------------------------------------------------------------

def test_only_boxes_of_use_are_taken() -> None:
    world, view = reach(Phase.PROOF)
    sent = deal_everything(world, view)
    chunk = next(c for c in sent[OTHER] if c.to == ME)
    session, size = session_of(world), len(chunk.data)
    assert size == sum(box_sizes(world_statement(world), False))
    assert session.is_chunk_expected(chunk.ref, size, OTHER)
    assert not session.is_chunk_expected(chunk.ref, size + 1, OTHER)
    assert not session.is_chunk_expected(chunk.ref, size, MemberId(1))
    for change in ({"chunk": 0}, {"chunk": 9}, {"attempt": 1}, {"dealer": 1}, {"dealer": 9}):
        assert not session.is_chunk_expected(replace(chunk.ref, **change), size, OTHER)
    assert not session.is_chunk_expected(replace(chunk.ref, dealer=ME), size, ME)
    settle(world, session.handle(m.ChunkArrived(OTHER, chunk.ref, chunk.proof, bytes(chunk.data))))
    assert not session.is_chunk_expected(chunk.ref, size, OTHER), "at hand"
    for phase in (Phase.COMMIT, Phase.COIN, Phase.REVEAL, Phase.RESULT):
        fresh = restored(world)
        fresh.handle(m.ViewChanged(replace(view, phase=phase)))
        assert not fresh.is_chunk_expected(chunk.ref, size, OTHER)


def test_boxes_are_given_to_their_holder_only_and_not_for_ever() -> None:
    world, view = reach(Phase.PROOF)
    ref = next(c for c in deal_everything(world, view)[ME] if c.to == OTHER).ref

    def ask(member: int, name: m.ChunkRef) -> list[m.SendChunk]:
        return boxes_in(session_of(world).handle(m.WantArrived(MemberId(member), name)))

    assert not ask(1, ref) and not ask(9, ref) and not ask(OTHER, replace(ref, chunk=0))
    assert not ask(OTHER, replace(ref, attempt=1)) and not ask(OTHER, replace(ref, dealer=4))
    assert [len(ask(OTHER, ref)) for _ in range(10)] == [1] * 8 + [0, 0]


def test_boxes_that_came_before_their_roots_wait_and_wrong_ones_are_dropped() -> None:
    world, view = reach(Phase.PROOF)
    chunk = next(c for c in deal_everything(world, view)[OTHER] if c.to == ME)
    early = replace(view, phase=Phase.SHARE, share_roots={})
    node = world.nodes[ME]
    for proof, is_kept in ((chunk.proof, True), (chunk.proof[::-1], False), (b"", False)):
        boxes = Boxes(world.params(ME), 0, lambda box: unseal(node.secret, box))
        assert boxes.is_expected(early, chunk.ref, len(chunk.data), OTHER)
        boxes.arrived(early, m.ChunkArrived(OTHER, chunk.ref, proof, bytes(chunk.data)))
        assert not boxes.is_expected(early, chunk.ref, len(chunk.data), OTHER), "one a dealer is kept aside"
        boxes.recheck(view)
        assert boxes.is_expected(view, chunk.ref, len(chunk.data), OTHER) is not is_kept
        assert (OTHER not in boxes.missing(view)) is is_kept


@pytest.mark.parametrize("change", [
    {"round": 2}, {"attempt": 1}, {"study": b"t" * 32}, {"chain_id": b"d" * 32}, {"dealer": 1}, {"holder": 1},
    {"kind": PROOF},
])
def test_a_box_moved_from_another_place_is_no_share(change: dict[str, object]) -> None:
    attempt = {"chain_id": b"c" * 32, "study": b"s" * 32, "round": 1, "attempt": 0}
    place = {**attempt, "dealer": 3, "holder": 2, "kind": BITS}

    def head(p: dict[str, object]) -> bytes:
        context = SumContext(p["chain_id"], p["study"], p["round"], p["attempt"])  # type: ignore[arg-type]
        return box_context(context, p["dealer"], p["holder"], p["kind"])  # type: ignore[arg-type]

    assert head(place) != head(place | change)


# --- answers -----------------------------------------------------------------------------------------------------

def test_answers_are_persisted_before_they_are_posted_and_the_same_after_a_restart() -> None:
    world, view = reach(Phase.PROOF)
    effects = answered(world, view)
    proofs = submitted(effects, bodies.Proof)
    assert len(proofs) == 1 and isinstance(proofs[0], bodies.Proof) and proofs[0].sum_ok == bodies.SumCheck.RIGHT
    order = [e for e in effects if isinstance(e, Persist | m.Submit)]
    assert isinstance(order[0], Persist) and order[0].record.part is m.RecordPart.SHARES
    world.nodes[ME].session = restored(world)
    assert submitted(show(world, view), bodies.Proof) == proofs, "from the record alone: nothing is fetched again"
    size = sum(box_sizes(world_statement(world), False))
    assert not session_of(world).is_chunk_expected(m.ChunkRef(0, 3, 3, 1), size, OTHER)


def test_a_second_query_of_the_same_shares_is_not_answered() -> None:
    """The proof hides its wires for one point; the answers at two would give them away."""
    world, view = reach(Phase.PROOF)
    answered(world, view)
    world.nodes[ME].session = restored(world)
    assert not submitted(show(world, replace(view, query_seed=b"\x05" * 32)), bodies.Proof) and is_silent(world)


def test_answers_on_the_ledger_that_are_not_on_record_silence() -> None:
    world, view = reach(Phase.PROOF)
    show(world, replace(view, answered=((ME, 1, (0,)),)))
    assert is_silent(world)


def test_a_missing_dealer_is_answered_for_with_noise_only_and_its_late_shares_count_for_nothing() -> None:
    """A share that was not answered for was never held against the proof: it must not get into an opening."""
    world, view = reach(Phase.PROOF)
    sent = deal_everything(world, view)
    give(world, sent, ME, {3})
    give_sum(world, view, ME)
    fired = TimerFired(m.SumTimer(m.Timer.REPORT, view.number, view.phase_no))
    proof = submitted(settle(world, session_of(world).handle(fired)), bodies.Proof)[0]
    assert isinstance(proof, bodies.Proof)
    at = view.included.index(OTHER) * 1072
    assert proof.data[at : at + 1072] == b"\xff" * 1072 and proof.data.count(b"\xff" * 100) == 10
    record = restore_shares(world.params(ME), world.nodes[ME].disk)
    assert record is not None and record.covered == (1, 2, 4)
    late = next(chunk for chunk in sent[OTHER] if chunk.to == ME)
    assert not session_of(world).is_chunk_expected(late.ref, len(late.data), OTHER)
    unmasked = replace(view, phase=Phase.REVEAL, phase_no=view.phase_no + 1, is_unmasked=True, posted=())
    assert [message.opening for message in reveals(show(world, unmasked))] == [None]


def test_a_sum_that_is_not_that_of_the_sketches_is_said_to_differ() -> None:
    world, view = reach(Phase.PROOF)
    sent = deal_everything(world, view)
    other = replace(view.share_roots[OTHER], sketch=bytes(1024))
    changed = replace(view, share_roots={**view.share_roots, OTHER: other})
    show(world, changed)
    effects = give(world, sent, ME) + give_sum(world, view, ME)
    assert [message.sum_ok for message in submitted(effects, bodies.Proof)] == [bodies.SumCheck.WRONG]  # type: ignore[union-attr]


def test_records_of_another_place_or_damaged_ones_are_refused() -> None:
    world, view = reach(Phase.PROOF)
    answered(world, view)
    data = world.nodes[ME].disk[m.RecordPart.SHARES]
    link = world.chains[ME].link
    for change in ({"round": 2}, {"me": MemberId(3)}, {"study": b"t" * 32}, {"chain_id": b"d" * 32}):
        with pytest.raises(StorageError, match="another"):
            Session.restore(replace(world.params(ME), **change), {m.RecordPart.SHARES: data}, Stream(1), bytes, link)
    for damaged in (b"", data[:-1], data[:3] + b"\xff" + data[4:] + b"x"):
        with pytest.raises(StorageError, match="damaged"):
            Session.restore(world.params(ME), {m.RecordPart.SHARES: damaged}, Stream(1), bytes, link)


# --- openings ----------------------------------------------------------------------------------------------------

def reveals(effects: list[m.Effect]) -> list[bodies.Reveal]:
    return [message for message in submitted(effects, bodies.Reveal) if isinstance(message, bodies.Reveal)]


def show_whole(world: World, view: m.SumView) -> list[m.Effect]:
    """Show the view to a member, and give it the masked sum, without which it opens nothing."""
    return show(world, view) + give_sum(world, view, ME)


def test_the_summed_share_is_opened_after_the_unmasking_with_u_on_record() -> None:
    world, view = reach(Phase.REVEAL)
    effects = show_whole(world, view)
    opening = reveals(effects)[0].opening
    record = restore_shares(world.params(ME), world.nodes[ME].disk)
    assert record is not None and opening is not None and record.covered == view.included
    assert isinstance(next(e for e in effects if isinstance(e, Persist | m.Submit)), Persist)
    held = f.from_bytes(record.held, 4 * world_statement(world).held_length)
    bare = f.to_bytes(f.total(held.reshape(4, -1)[:, :OPENED], axis=0))
    assert opening == key_of_sum(world, view).hide(bare) != bare and record.included == view.included


def test_nothing_is_opened_bare_by_a_member_that_lost_the_sum_and_cannot_get_it() -> None:
    world, view = reach(Phase.REVEAL)
    assert not reveals(show(world, view)), "it asks for the sum first"
    fired = session_of(world).handle(TimerFired(m.SumTimer(m.Timer.REPORT, view.number, view.phase_no)))
    said = reveals(settle(world, fired))
    assert [(message.opening, message.own_b is not None) for message in said] == [(None, True)]


def test_nothing_of_the_shares_is_opened_before_the_unmasking_or_in_a_void_attempt() -> None:
    world, view = reach(Phase.REVEAL)
    assert not reveals(show_whole(world, replace(view, is_unmasked=False)))
    for phase in (Phase.PROOF, Phase.SHARE, Phase.COIN):
        world, _ = reach(Phase.REVEAL)
        assert not reveals(show_whole(world, replace(view, phase=phase, is_unmasked=False)))
    world, _ = reach(Phase.REVEAL)
    void = replace(view, number=1, phase=Phase.KEYS, is_unmasked=False, keys={}, committed=(), included=(),
                   share_roots={}, answered=(), coin=None, query_seed=None)
    assert not reveals(show_whole(world, void))


def test_the_summed_share_of_another_attempt_is_not_opened() -> None:
    world, view = reach(Phase.REVEAL)
    data = restore_shares(world.params(ME), world.nodes[ME].disk)
    assert data is not None
    from fednode.smpc.record import persist_shares

    world.nodes[ME].disk[m.RecordPart.SHARES] = persist_shares(replace(data, attempt=1)).record.data.reveal()
    world.nodes[ME].session = restored(world)
    assert [message.opening for message in reveals(show_whole(world, replace(view, answered=())))] == [None]


@pytest.mark.parametrize("included", [(1, 2, 3), (2, 3, 4)])
def test_a_sum_over_another_set_is_not_opened(included: tuple[int, ...]) -> None:
    """A share of the sum over four minus one over three would be a single sketch."""
    world, view = reach(Phase.REVEAL)
    message = reveals(show_whole(world, replace(view, included=tuple(MemberId(i) for i in included))))
    assert [reveal.opening for reveal in message] in ([], [None])


def test_an_opening_that_was_decided_is_not_changed() -> None:
    world, view = reach(Phase.REVEAL)
    assert reveals(show_whole(world, view))
    other = replace(view, included=(MemberId(1), MemberId(2), MemberId(3)))
    world.nodes[ME].session = restored(world)
    assert not reveals(show_whole(world, other)) and is_silent(world)


def test_the_sum_must_have_the_opened_sketch() -> None:
    world, view = reach(Phase.RESULT)
    for i in world.members:
        show(world, view, i)
    good = [e for e in give_sum(world, view, ME) if isinstance(e, m.SumOpened)]
    assert len(good) == 1 and good[0].weight == 8
    wrong = bytes([view.sum_opened[0] ^ 1]) + view.sum_opened[1:]
    world.nodes[ME].session = restored(world)
    show(world, replace(view, sum_opened=wrong))
    assert [e.reason for e in give_sum(world, view, ME) if isinstance(e, m.SumFailed)] == [MASKS_WRONG]
    world.nodes[ME].session = restored(world)
    show(world, replace(view, sum_opened=None))
    assert not [e for e in give_sum(world, view, ME) if isinstance(e, m.SumOpened | m.SumFailed)]
    assert is_silent(world)


# --- secrets -----------------------------------------------------------------------------------------------------

def test_no_secret_is_printed() -> None:
    world, view = reach(Phase.PROOF)
    job = job_of(world, view, OTHER)
    dealt = job.run()
    assert isinstance(dealt, ProvenUpdate)
    answered(world, view)
    record = restore_shares(world.params(ME), world.nodes[ME].disk)
    state = restore_state(world.params(ME), world.nodes[ME].disk)
    assert record is not None and state is not None and state.sharing is not None
    text = "".join(map(repr, (job, dealt, record, state, session_of(world)._checks.boxes.__dict__, AnswerProofs(
        job.context, job.coin, bytes(32), False, (session_of(world)._checks.boxes.held_share(view, ME),), (), FEW, 8,
        None,
    ))))
    for secret in (state.sharing.seed, job.seed, record.held[:16], dealt.own[0][:16], dealt.own[1][:16]):
        assert repr(secret)[2:-1] not in text and secret.hex() not in text


def test_claims_that_no_rows_give_never_enter_a_sum() -> None:
    world = World(4, weights="hidden")
    session = Session(world.params(MemberId(1)), Stream(1), lambda box: box, world.chains[MemberId(1)].link)
    values = np.zeros(world.length, np.uint32)
    for claims in ([MOMENTS.unit, 1, 0, 0, 0], [0, 0, 0, 0], []):
        with pytest.raises(ValueError, match="possible ones"):
            session.handle(m.InputReady(values, 1, claims=np.array(claims, np.uint32)))
    assert not session.has_input
