"""The rules that each close a concrete attack, one by one, on sessions taken out of the small world at some phase.

The views here are often ones the real ledger would never produce: the session refuses them by itself.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fednode.codec import decode, encode
from fednode.crypto import Secret, base_times, is_point_valid, is_share_valid, point_add, scalar_bytes, seal, unseal
from fednode.effects import Compute, ComputeDone, Note, Persist, TimerFired
from fednode.errors import Rejected, StorageError
from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc.dealing import SharePair, open_shares, share_context
from fednode.smpc.jobs import OpenedSecret, open_secret
from fednode.smpc.record import INPUT_START, LongPart, restore_input
from fednode.smpc.session import Session
from fednode.sums import bodies, shares
from fednode.sums.attempt import ChunkRecord, compute_list_digest
from fednode.sums.phase import Phase
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.world import Absence, Node, World, sent
from tests.support.seeds import Stream

LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")  # order 8
ME = MemberId(2)


@cache
def _world_at(phase: Phase, count: int, dropped: int | None) -> World:
    """A world that has just opened `phase`; the chunks of `dropped` reach nobody."""
    world = World(count)
    if dropped is not None:
        world.nodes[MemberId(dropped)].tamper = lambda effect: (
            [] if isinstance(effect, m.SendChunk) and effect.ref.lane == m.Lane.MASKED else [effect]
        )
    return world.run(until=lambda w: w.ledger.view().phase is phase)


def reach(phase: Phase, count: int = 4, dropped: int | None = None) -> tuple[World, m.SumView]:
    """A copy of such a world, every member freshly restored from its disk, and the ledger's view."""
    world = copy.copy(_world_at(phase, count, dropped))
    nodes, world.nodes = world.nodes, {}
    for member, node in nodes.items():
        world.nodes[member] = Node(member, node.secret, dict(node.disk))
        world.nodes[member].session = restored(world, member)
    view = world.ledger.view()
    assert view.phase is phase
    return world, view


def settle(session: Session, effects: list[m.Effect]) -> list[m.Effect]:
    """Do the jobs among effects until nothing is left to compute; return everything that happened."""
    seen = list(effects)
    for effect in seen:
        if isinstance(effect, Compute):
            seen += session.handle(ComputeDone(effect.number, effect.job.run()))
    return seen


def late(view: m.SumView) -> TimerFired[m.SumTimer]:
    """The member has waited for chunks as long as it will in this phase."""
    return TimerFired(m.SumTimer(m.Timer.REPORT, view.number, view.phase_no))


def show(world: World, view: m.SumView, member: MemberId = ME) -> list[m.Effect]:
    session = world.nodes[member].session
    effects = settle(session, session.handle(m.ViewChanged(view)))
    if view.phase is Phase.REVEAL:  # a session out of the disk has no sum: it opens without once it has waited
        effects += settle(session, session.handle(late(view)))
    world.nodes[member].disk |= {e.record.part: e.record.data.reveal() for e in effects if isinstance(e, Persist)}
    return effects


def restored(world: World, member: MemberId = ME, **without: bool) -> Session:
    """The member after a crash, with its disk, or parts of it."""
    node = world.nodes[member]
    disk = {part: data for part, data in node.disk.items() if part.value not in without}
    link = world.chains[member].link
    return Session.restore(world.params(member), disk, Stream("again"), lambda box: unseal(node.secret, box), link)


def submitted(effects: list[m.Effect]) -> list[bodies.Message]:
    return [effect.message for effect in effects if isinstance(effect, m.Submit)]


def is_silent(world: World, member: MemberId = ME) -> bool:
    session = world.nodes[member].session
    return session is not None and session.silent_reason is not None


# --- keys -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("count", [4, 5, 7])
def test_shares_open_only_with_t_holders(count: int) -> None:
    world, view = reach(Phase.ACK, count)
    threshold = count - (count - 1) // 3
    keys = view.keys[ME]
    assert len(keys.a_points) == len(keys.b_points) == threshold
    found = {}
    for holder in world.members:
        if holder != ME:
            opened, _ = open_shares(world.params(holder), view, lambda b, h=holder: unseal(world.nodes[h].secret, b))
            found[int(holder)] = next(pair.a_share for pair in opened if pair.dealer == ME)
    few = dict(list(found.items())[: threshold - 1])
    assert shares.reconstruct(keys.a_points, few) is None
    assert len(found) < threshold or shares.reconstruct(keys.a_points, found) is not None
    assert keys.a_points[0] != keys.b_points[0]


def test_every_attempt_has_fresh_keys() -> None:
    world = World(4, seed=3, absences=(Absence(4, Phase.DIGEST),))
    world.run()
    points = [v.keys[ME].a_points[0] for v in world.trace.views if ME in v.keys and v.phase is Phase.ACK]
    assert world.ledger.view().number == 1 and len(set(points)) == 2
    assert not any("seen" in reason for _, reason in world.ledger.refused)


@pytest.mark.parametrize("field", ["round", "study", "chain_id"])
def test_a_box_moved_from_another_place_is_no_share(field: str) -> None:
    world, view = reach(Phase.ACK)
    params = world.params(ME)
    value = getattr(params, field)
    moved = replace(params, **{field: value + 1 if isinstance(value, int) else value[::-1] + b"x"})
    secret = world.nodes[ME].secret
    assert len(open_shares(params, view, lambda box: unseal(secret, box))[0]) == 3
    assert open_shares(moved, view, lambda box: unseal(secret, box)) == ([], [1, 3, 4])
    later = replace(view, number=1)
    assert open_shares(params, later, lambda box: unseal(secret, box)) == ([], [1, 3, 4])


def test_a_box_of_another_dealer_is_no_share() -> None:
    world, view = reach(Phase.ACK)
    keys, others = view.keys[MemberId(3)], view.keys[MemberId(4)]
    copied = replace(keys, sealed=others.sealed[:2] + keys.sealed[2:])
    effects = show(world, replace(view, keys={**view.keys, MemberId(3): copied}))
    assert submitted(effects) == [bodies.Acknowledge(*world.params(ME).place(0), (MemberId(3),))]


def test_a_dealing_with_a_point_outside_the_group_is_named_wrong() -> None:
    world, view = reach(Phase.ACK)
    keys = view.keys[MemberId(3)]
    twisted = replace(keys, a_points=(point_add(keys.a_points[0], LOW_ORDER), *keys.a_points[1:]))
    effects = show(world, replace(view, keys={**view.keys, MemberId(3): twisted}))
    assert submitted(effects) == [bodies.Acknowledge(*world.params(ME).place(0), (MemberId(3),))]


@pytest.mark.parametrize("point", [LOW_ORDER, bytes(32), b"\x01" + bytes(31)])
def test_nothing_is_masked_towards_a_point_outside_the_group(point: bytes) -> None:
    world, view = reach(Phase.COMMIT)
    keys = view.keys[MemberId(3)]
    bad = replace(view, keys={**view.keys, MemberId(3): replace(keys, a_points=(point, *keys.a_points[1:]))})
    effects = show(world, bad)
    assert not submitted(effects) and not any(isinstance(effect, Compute) for effect in effects)


def test_a_low_order_seal_key_gets_noise_and_stops_nobody() -> None:
    world, view = reach(Phase.KEYS)
    session = Session(world.params(ME), Stream("x"), lambda box: box, world.chains[ME].link)
    effects = session.handle(m.ViewChanged(replace(view, seal_keys={**view.seal_keys, MemberId(3): bytes(32)})))
    message = submitted(effects)[0]
    assert isinstance(message, bodies.Keys) and len(dict(message.sealed)[MemberId(3)]) == 151


def next_attempt(view: m.SumView, number: int, phase_no: int) -> m.SumView:
    """A later attempt of the same members, nothing in it yet."""
    opened = {"phase": Phase.KEYS, "phase_no": phase_no, "step": 0, "phase_timeout_ms": 1000}
    return m.SumView(number, view.holders, seal_keys=view.seal_keys, **opened)


def complaint_view(view: m.SumView, complainers: tuple[int, ...], f: int) -> m.SumView:
    complaints = tuple((i, (ME,) if i in complainers else ()) for i in view.present)
    return replace(view, phase=Phase.ANSWER, phase_no=view.phase_no + 1, complaints=complaints, posted=())


@pytest.mark.parametrize(("count", "complainers", "answers"), [
    (4, (3,), True), (4, (3, 4), False), (7, (3, 4), True), (7, (3, 4, 5), False), (7, (1, 3, 4, 5, 6, 7), False),
])
def test_at_most_f_complaints_are_answered(count: int, complainers: tuple[int, ...], answers: bool) -> None:
    world, view = reach(Phase.COMMIT, count)
    effects = show(world, complaint_view(view, complainers, (count - 1) // 3))
    messages = submitted(effects)
    assert bool(messages) == answers
    if answers:
        assert isinstance(messages[0], bodies.Answer) and tuple(h for h, _, _ in messages[0].shares) == complainers
        for holder, a_share, b_share in messages[0].shares:
            assert is_share_valid(view.keys[ME].a_points, holder, int.from_bytes(a_share, "little"))
            assert is_share_valid(view.keys[ME].b_points, holder, int.from_bytes(b_share, "little"))


def test_complaints_of_members_that_are_not_present_do_not_count() -> None:
    world, view = reach(Phase.COMMIT, 7)
    disputed = complaint_view(view, (3, 4, 5), 2)
    effects = show(world, replace(disputed, present=tuple(i for i in view.present if i != 5)))
    assert [h for h, _, _ in submitted(effects)[0].shares] == [3, 4]  # type: ignore[union-attr]


def test_other_complaints_than_those_answered_are_not_answered() -> None:
    world, view = reach(Phase.COMMIT, 7)
    assert submitted(show(world, complaint_view(view, (3, 4), 2)))
    other = complaint_view(view, (5, 6), 2)
    assert not submitted(show(world, replace(other, phase_no=other.phase_no + 1)))
    assert is_silent(world)


# --- commitment and chunks --------------------------------------------------------------------------------------

@pytest.mark.parametrize("qualified", [(1, 2, 3), (1, 2, 3, 4, 5, 6)])
def test_too_few_qualified_or_present_members_are_not_masked_for(qualified: tuple[int, ...]) -> None:
    world, view = reach(Phase.COMMIT, 7)
    few = replace(view, qualified=tuple(map(MemberId, qualified)), present=tuple(map(MemberId, qualified)))
    assert bool(submitted(show(world, few))) == (len(qualified) >= 5)


def test_no_chunk_leaves_before_its_root_is_final() -> None:
    world, view = reach(Phase.COMMIT)
    effects = show(world, view)
    assert [type(message) for message in submitted(effects)] == [bodies.Commit] and not sent(effects)
    session = world.nodes[ME].session
    assert not session.handle(m.WantArrived(MemberId(1), m.ChunkRef(0, m.Lane.MASKED, ME, 0)))
    chunks = tuple(ChunkRecord((owner,)) for owner in view.qualified)
    later = replace(view, phase=Phase.ROSTER, phase_no=9, chunks=chunks,
                    committed=tuple((MemberId(i), bytes(32), 1) for i in (1, 3, 4)))
    assert not sent(show(world, later))


def test_chunks_leave_once_their_root_is_final_and_match_it() -> None:
    world, view = reach(Phase.COMMIT)
    message = submitted(show(world, view))[0]
    assert isinstance(message, bodies.Commit)
    effects = show(world, replace(view, committed=((ME, message.root, message.weight),)))
    from fednode.smpc.vectors import digest_chunk, is_leaf_of

    assert [(effect.to, effect.ref.chunk) for effect in sent(effects)] == [(1, 0), (3, 2), (4, 3)]
    for effect in sent(effects):
        assert is_leaf_of(message.root, digest_chunk(effect.data), effect.ref.chunk, 4, effect.proof)


def test_a_commitment_that_is_not_on_record_silences() -> None:
    world, view = reach(Phase.COMMIT)
    show(world, view)
    effects = show(world, replace(view, committed=((ME, b"r" * 32, 1),)))
    assert not sent(effects) and is_silent(world)


def test_masked_chunks_are_given_to_their_owner_only_and_not_for_ever() -> None:
    world, view = reach(Phase.ROSTER)
    session = world.nodes[ME].session
    assert session is not None
    show(world, view)
    ref = m.ChunkRef(0, m.Lane.MASKED, ME, 0)
    assert not session.handle(m.WantArrived(MemberId(3), ref))
    answers = [session.handle(m.WantArrived(MemberId(1), ref)) for _ in range(20)]
    assert sum(map(len, answers)) == 8
    for wrong in (replace(ref, attempt=1), replace(ref, dealer=3), replace(ref, chunk=9)):
        assert not session.handle(m.WantArrived(MemberId(1), wrong))


def test_only_chunks_of_use_are_taken() -> None:
    world, view = reach(Phase.ROSTER)
    session = world.nodes[ME].session
    assert session is not None
    layout_size = len(world.trace.wire[0][1].data)
    fresh = restored(world)
    assert not fresh.is_chunk_expected(m.ChunkRef(0, m.Lane.MASKED, 3, 1), layout_size, MemberId(3))
    settle(fresh, fresh.handle(m.ViewChanged(view)))
    size = next(len(e.data) for _, e in world.trace.wire if e.ref == m.ChunkRef(0, m.Lane.MASKED, 3, 1))
    good = m.ChunkRef(0, m.Lane.MASKED, 3, 1)
    assert fresh.is_chunk_expected(good, size, MemberId(3))
    assert not fresh.is_chunk_expected(good, size + 4, MemberId(3))
    assert not fresh.is_chunk_expected(good, 0, MemberId(3))
    assert not fresh.is_chunk_expected(good, size, MemberId(4))
    assert not fresh.is_chunk_expected(replace(good, chunk=0), size, MemberId(3))
    assert not fresh.is_chunk_expected(replace(good, attempt=1), size, MemberId(3))
    assert not fresh.is_chunk_expected(replace(good, chunk=99), size, MemberId(3))
    assert not fresh.is_chunk_expected(replace(good, dealer=2), size, ME)
    data = next(e for _, e in world.trace.wire if e.ref == good)
    fresh.handle(m.ChunkArrived(MemberId(3), good, data.proof, bytes(data.data)))
    assert not fresh.is_chunk_expected(good, size, MemberId(3)), "the same chunk is not taken twice"
    assert fresh.handle(m.ChunkArrived(MemberId(3), good, b"", bytes(size))) == [
        Note("dropped an unexpected chunk from member 3")
    ]


def test_a_second_vector_is_not_used() -> None:
    world, view = reach(Phase.COMMIT)
    first = submitted(show(world, view))[0]
    session = world.nodes[ME].session
    assert session is not None and session.has_input
    effects = session.handle(m.InputReady(np.zeros(world.length, np.uint32), 1))
    assert [type(effect) for effect in effects] == [Note]
    again = restored(world)
    again.handle(m.InputReady(np.zeros(world.length, np.uint32), 1))
    assert submitted(settle(again, again.handle(m.ViewChanged(view)))) == [first]


@pytest.mark.parametrize(("values", "weight"), [
    (np.zeros(36, np.uint32), 1), (np.zeros(37, np.int32), 1), (np.zeros(37, np.uint32), 0),
])
def test_an_input_of_the_wrong_form_is_a_bug(values: np.ndarray, weight: int) -> None:  # type: ignore[type-arg]
    session = Session(World(4).params(ME), Stream(1), lambda box: box, bytes)
    with pytest.raises(ValueError, match="input"):
        session.handle(m.InputReady(values, weight))


# --- the record -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("phase", [Phase.ACK, Phase.COMMIT, Phase.ROSTER, Phase.SUMACK, Phase.REVEAL, Phase.RESULT])
@pytest.mark.parametrize("lost", ["all", "state"])
def test_a_member_without_its_record_stays_silent(phase: Phase, lost: str) -> None:
    world, view = reach(phase)
    session = restored(world, **({"state": True, "input": True} if lost == "all" else {"state": True}))
    effects = settle(session, session.handle(m.ViewChanged(view)))
    effects += session.handle(m.InputReady(np.zeros(world.length, np.uint32), 1))
    assert not submitted(effects) and not sent(effects) and session.silent_reason is not None


def test_a_member_that_lost_its_committed_vector_stays_silent() -> None:
    world, view = reach(Phase.ROSTER)
    session = restored(world, input=True)
    effects = settle(session, session.handle(m.ViewChanged(view)))
    effects += settle(session, session.handle(m.InputReady(np.zeros(world.length, np.uint32), 1)))
    assert not submitted(effects) and not sent(effects) and session.silent_reason is not None


def test_a_vector_that_cannot_be_read_any_more_means_silence() -> None:
    world, view = reach(Phase.COMMIT)
    node, whole = world.nodes[ME], world.nodes[ME].disk[m.RecordPart.INPUT]

    def fail(size_bytes: int) -> bytes:
        assert size_bytes == len(whole) - INPUT_START
        raise StorageError("the round record is damaged; this hospital sits the round out")

    parts = {**node.disk, m.RecordPart.INPUT: LongPart(whole[:INPUT_START], fail)}
    session = Session.restore(
        world.params(ME), parts, Stream("y"), lambda box: unseal(node.secret, box), world.chains[ME].link
    )
    assert session.has_input
    effects = settle(session, session.handle(m.ViewChanged(view)))
    assert not sent(effects) and not any(isinstance(x, bodies.Commit) for x in submitted(effects))
    assert session.silent_reason == "the round record is damaged; this hospital sits the round out"


def test_a_long_record_of_another_length_is_refused_where_it_is_found() -> None:
    world, _ = reach(Phase.COMMIT)
    whole = world.nodes[ME].disk[m.RecordPart.INPUT]
    for head in (b"", whole[: INPUT_START - 1], whole[: INPUT_START + 1]):
        with pytest.raises(StorageError):
            restore_input(world.params(ME), {m.RecordPart.INPUT: LongPart(head, lambda size_bytes: whole)})
    with pytest.raises(StorageError, match="wrong length"):
        restore_input(
            replace(world.params(ME), length=36), {m.RecordPart.INPUT: LongPart(whole[:INPUT_START], lambda n: whole)}
        )


def test_an_older_record_stays_silent() -> None:
    """A restored snapshot: the record of before the commitment, the ledger of after it."""
    world = World(4).run(until=lambda w: w.ledger.view().phase is Phase.COMMIT)
    old = dict(world.nodes[ME].disk)
    world.run(until=lambda w: w.ledger.view().phase is Phase.ROSTER)
    node = world.nodes[ME]
    link = world.chains[ME].link
    session = Session.restore(world.params(ME), old, Stream("y"), lambda box: unseal(node.secret, box), link)
    effects = settle(session, session.handle(m.ViewChanged(world.ledger.view())))
    assert not submitted(effects) and not sent(effects) and session.silent_reason is not None


def test_every_promise_is_persisted_before_it_is_made() -> None:
    """In the effects of a whole round: each message comes after the record that holds what it promises."""
    world = World(4, seed=8, absences=(Absence(3, Phase.ROSTER),))
    log: list[m.Effect] = []

    def note(effect: m.Effect) -> list[m.Effect]:
        log.append(effect)
        return [effect]

    world.nodes[ME].tamper = note
    world.run()
    stored = b""
    for effect in log:
        if isinstance(effect, Persist) and effect.record.part is m.RecordPart.STATE:
            stored = effect.record.data.reveal()
        if isinstance(effect, m.Submit):
            match effect.message:
                case bodies.Keys(a_points=points):
                    assert points[0] in stored
                case bodies.Acknowledge():
                    assert _attempt(world, stored).acknowledged is not None
                case bodies.Commit(root=root):
                    committed = _attempt(world, stored).committed
                    assert committed is not None and committed.root == root
                    kept = {e.record.part for e in log[: log.index(effect)] if isinstance(e, Persist)}
                    assert m.RecordPart.INPUT in kept
                case bodies.Reveal():
                    opening = _attempt(world, stored).opening
                    assert opening is not None and opening.included == (1, 2, 4)


def _attempt(world: World, data: bytes):  # type: ignore[no-untyped-def]
    from fednode.smpc.record import restore_state

    attempt = restore_state(world.params(ME), {m.RecordPart.STATE: data})
    assert attempt is not None
    return attempt


def test_records_of_another_place_or_damaged_ones_are_refused() -> None:
    world, _ = reach(Phase.ROSTER)
    disk = world.nodes[ME].disk
    for part in (m.RecordPart.STATE, m.RecordPart.INPUT):
        for change in ({"round": 2}, {"me": MemberId(3)}, {"study": b"t" * 32}, {"chain_id": b"d" * 32}):
            with pytest.raises(StorageError, match="another"):
                Session.restore(replace(world.params(ME), **change), {part: disk[part]}, Stream(1), bytes, bytes)
        for damaged in (b"", disk[part][:-1], disk[part][:3] + b"\xff" + disk[part][4:] + b"x", b"\x10"):
            with pytest.raises(StorageError, match="damaged|length"):
                Session.restore(world.params(ME), {part: damaged}, Stream(1), bytes, bytes)
    with pytest.raises(StorageError, match="length"):
        parts = {m.RecordPart.INPUT: disk[m.RecordPart.INPUT]}
        Session.restore(replace(world.params(ME), length=40), parts, Stream(1), bytes, bytes)


def test_no_secret_is_printed() -> None:
    world, _view = reach(Phase.REVEAL)
    text = repr(world.nodes[ME].session.__dict__) + repr(  # type: ignore[union-attr]
        [effect for _, effect in world.trace.wire]) + repr(_attempt(world, world.nodes[ME].disk[m.RecordPart.STATE]))
    attempt = _attempt(world, world.nodes[ME].disk[m.RecordPart.STATE])
    for secret in (*attempt.a_coefficients, *attempt.b_coefficients):
        assert repr(secret)[2:-1] not in text and secret.hex() not in text
        assert str(int.from_bytes(secret, "little")) not in text
    persist = Persist(m.KeptPart(m.RecordPart.STATE, Secret(b"deep secret")))
    assert "deep" not in repr(persist)


# --- the one unmasking ------------------------------------------------------------------------------------------

def reveal_of(effects: list[m.Effect]) -> bodies.Reveal:
    message = submitted(effects)[0]
    assert isinstance(message, bodies.Reveal)
    return message


def dropped_world(count: int = 7) -> tuple[World, m.SumView]:
    """REVEAL with member 3 dropped: it committed, and its chunks reached nobody."""
    world, view = reach(Phase.REVEAL, count, dropped=3)
    assert 3 in view.qualified and 3 not in view.included
    return world, view


def test_openings_are_decided_by_u_alone() -> None:
    world, view = dropped_world()
    message = reveal_of(show(world, view))
    assert message.own_b is not None
    assert base_times(int.from_bytes(message.own_b, "little")) == view.keys[ME].b_points[0]
    assert [dealer for dealer, _ in message.a_shares] == [3] and message.b_shares == ()


def test_a_dropped_member_never_opens_its_own_b() -> None:
    world, view = dropped_world()
    alone = reveal_of(show(world, view, MemberId(3)))
    nothing = bodies.Reveal(*world.params(MemberId(3)).place(0), None)
    assert alone == nothing, "alone outside U it has nothing to open"
    world, view = dropped_world()
    more = replace(view, included=tuple(i for i in view.included if i != 4))
    message = reveal_of(show(world, more, MemberId(3)))
    assert message.own_b is None and [dealer for dealer, _ in message.a_shares] == [4]


@pytest.mark.parametrize("phase", [Phase.REVEAL, Phase.REVEAL2], ids=lambda phase: phase.name)
def test_never_both_secrets_of_one_member(phase: Phase) -> None:
    """Whatever a later view claims, a member that helped to open an a does not help to open that b."""
    world, view = dropped_world()
    assert reveal_of(show(world, view)).a_shares
    other = replace(view, phase=phase, phase_no=view.phase_no + 1, posted=(), included=view.qualified,
                    silent_b=(MemberId(3),))
    assert not submitted(show(world, other)) and is_silent(world)


def test_shares_of_b_are_opened_for_members_of_u_only() -> None:
    world, view = dropped_world()
    show(world, view)
    second = replace(view, phase=Phase.REVEAL2, phase_no=view.phase_no + 1, posted=(),
                     silent_b=(MemberId(3), MemberId(5)))
    message = reveal_of(show(world, second))
    assert message.own_b is None and message.a_shares == ()
    assert [dealer for dealer, _ in message.b_shares] == [5]


def test_nothing_is_opened_before_the_unmasking() -> None:
    world, view = dropped_world()
    assert not submitted(show(world, replace(view, is_unmasked=False)))


@pytest.mark.parametrize("included", [(2, 4, 5, 6), (1, 2), (2,), (2, 2, 4, 5, 6), (1, 2, 4, 5, 9)])
@pytest.mark.parametrize("phase", [Phase.REVEAL, Phase.REVEAL2, Phase.DIGEST], ids=lambda phase: phase.name)
def test_a_set_below_the_minimum_is_neither_summed_nor_opened(included: tuple[int, ...], phase: Phase) -> None:
    """N - f = 5 of 7: with fewer, one owner could pick a victim."""
    world, view = dropped_world()
    small = replace(view, phase=phase, included=tuple(map(MemberId, included)), silent_b=(MemberId(4),), posted=(),
                    phase_no=view.phase_no + 1)
    assert not submitted(show(world, small)) and is_silent(world)


def test_a_second_unmasking_in_a_round_is_refused() -> None:
    world, view = dropped_world()
    assert reveal_of(show(world, view))
    retry = next_attempt(view, 1, view.phase_no + 5)
    assert not submitted(show(world, retry)) and is_silent(world)
    again = restored(world)
    assert not submitted(settle(again, again.handle(m.ViewChanged(retry)))) and again.silent_reason is not None


@pytest.mark.parametrize(("pinned", "opens"), [
    ((1, 2, 4, 5, 6, 7), True), ((1, 2, 4, 5, 6), False), ((1, 2, 3, 4, 5, 6, 7), False),
])
def test_only_the_pinned_set_is_opened(pinned: tuple[int, ...], opens: bool) -> None:
    """After a round that failed past its unmasking, and for a round whose vectors do not change."""
    world, view = dropped_world()
    effects = show(world, replace(view, pinned=tuple(map(MemberId, pinned))))
    assert bool(submitted(effects)) == opens


def test_openings_survive_a_restart_and_do_not_change() -> None:
    world, view = dropped_world()
    first = reveal_of(show(world, view))
    again = restored(world)
    assert not submitted(settle(again, again.handle(m.ViewChanged(view))))
    assert reveal_of(settle(again, again.handle(late(view)))) == first


def test_wrong_openings_give_no_sum() -> None:
    """Cannot happen, because the ledger checks every share; if it did, there is no sum rather than a wrong one."""
    world = World(4).run(until=lambda w: w.ledger.view().phase is Phase.RESULT)
    view = world.ledger.view()
    wrong = replace(view, own_b=tuple({**dict(view.own_b), MemberId(3): scalar_bytes(5)}.items()))
    effects = show(world, wrong)
    assert [type(e) for e in effects if isinstance(e, m.SumOpened | m.SumFailed)] == [m.SumFailed]


def test_an_opened_b_is_held_against_its_key_point() -> None:
    """On its own: the sketch of the sum would show a wrong b as well, but not whose it is."""
    view = World(4).run(until=lambda w: w.ledger.view().phase is Phase.RESULT).ledger.view()
    points, own_b = view.keys[MemberId(3)].b_points, dict(view.own_b)
    assert open_secret(OpenedSecret(MemberId(3), points, own_b[MemberId(3)], ())) is not None
    assert open_secret(OpenedSecret(MemberId(3), points, own_b[MemberId(2)], ())) is None


def test_a_digest_of_a_sum_is_checked_before_it_is_acknowledged() -> None:
    world, view = reach(Phase.SUMACK)
    fresh = restored(world)
    settle(fresh, fresh.handle(m.ViewChanged(view)))
    refs = {e.ref: e for _, e in world.trace.wire if e.ref.lane == m.Lane.SUM}
    masked = {e.ref: e for _, e in world.trace.wire if e.ref.lane == m.Lane.MASKED and e.to == ME}
    effects: list[m.Effect] = []
    for ref, effect in [*refs.items(), *masked.items()]:
        sender = MemberId(ref.dealer) if ref.dealer else view.owners[ref.chunk]
        bad = bytes(len(effect.data)) if ref.chunk == 3 else bytes(effect.data)
        effects += settle(fresh, fresh.handle(m.ChunkArrived(sender, ref, effect.proof, bad)))
    assert not submitted(effects) and any("not what the ledger says" in getattr(e, "text", "") for e in effects)
    good = refs[m.ChunkRef(0, m.Lane.SUM, 0, 3)]
    effects = settle(fresh, fresh.handle(m.ChunkArrived(MemberId(1), good.ref, b"", bytes(good.data))))
    message = submitted(effects)[0]
    assert isinstance(message, bodies.SumAck) and message.list_digest == compute_list_digest(
        world.params(ME).study, world.params(ME).round, 0, tuple(chunk.digest or b"" for chunk in view.chunks)
    )


def test_chunk_names_travel_as_records() -> None:
    world, _view = reach(Phase.REVEAL)
    refs = {effect.ref for _, effect in world.trace.wire}
    assert {ref.lane for ref in refs} == {1, 2, 3}
    assert all(decode(m.ChunkRef, encode(ref), 64) == ref for ref in refs)


def test_a_round_has_f_plus_one_attempts() -> None:
    world, view = reach(Phase.KEYS, 7)
    for attempt in (1, 2, 3):
        fresh = next_attempt(view, attempt, 10 + attempt)
        assert bool(submitted(show(world, fresh))) == (attempt <= 2)
    assert is_silent(world)


def test_late_results_of_a_past_attempt_mean_nothing() -> None:
    world, view = reach(Phase.COMMIT)
    session = world.nodes[ME].session
    effects = session.handle(m.ViewChanged(view))
    job = next(effect for effect in effects if isinstance(effect, Compute))
    retry = next_attempt(view, 1, view.phase_no + 5)
    assert submitted(settle(session, session.handle(m.ViewChanged(retry))))
    assert session.handle(ComputeDone(job.number, job.job.run())) == []
    for timer in (m.SumTimer(m.Timer.WANT, 0, 3), m.SumTimer(m.Timer.RETRY, 7, 99)):
        assert session.handle(TimerFired(timer)) == [], "never started"
    older = session.handle(m.ViewChanged(view))
    assert [type(effect) for effect in older] == [Note]


def test_a_sealed_pair_fits_the_ledger() -> None:
    world, view = reach(Phase.ACK)
    assert {len(box) for keys in view.keys.values() for _, box in keys.sealed} == {151}
    pair = SharePair(share_context(world.params(ME), 0, ME, MemberId(1)), bytes(32), bytes(32))
    assert len(seal(view.seal_keys[ME], encode(pair))) == 151
    with pytest.raises(Rejected):
        unseal(world.nodes[ME].secret, bytes(151))


def test_the_twisted_point_of_these_tests_is_one() -> None:
    honest = base_times(5)
    twisted = point_add(honest, LOW_ORDER)
    assert twisted != honest and not is_point_valid(twisted)
    doubled = [twisted, honest]
    for _ in range(3):
        doubled = [point_add(point, point) for point in doubled]
    assert doubled[0] == doubled[1]


def test_the_model_ledger_takes_a_key_point_once() -> None:
    world = World(4).run(until=lambda w: w.ledger.view().phase is Phase.ACK)
    keys = next(message for _, _, message in world.trace.ledger if isinstance(message, bodies.Keys))
    ledger = world.ledger
    assert isinstance(ledger, ModelLedger)
    ledger._void("test")
    ledger.apply([(MemberId(1), 1, replace(keys, sealed=keys.sealed))])
    assert ledger.refused and ledger.a.number == 1
