"""What the secure sum is told of keys and of disputes about shares."""

from __future__ import annotations

from fednode.ids import MemberId
from fednode.rounds.ledger_view import SnapshotReader, sum_view
from fednode.smpc import messages as sm
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, at


def view_of(world: World, reader: SnapshotReader) -> sm.SumView:
    snapshot = reader.read(world.state)
    assert snapshot is not None and snapshot.round is not None
    return sum_view(snapshot, snapshot.round)


def test_a_dispute_is_seen_as_it_goes_on() -> None:
    pairs = {(6, 1), (6, 2), (7, 3)}
    world = at(Phase.COIN, size=7, garbled=pairs, off={(6, 2)})
    reader = SnapshotReader(world.study)
    assert view_of(world, reader).disputes == ()
    world.go_to(Phase.REDEAL)
    view = view_of(world, reader)
    assert view.phase is Phase.REDEAL and view.disputes == tuple(sorted(pairs))
    assert (view.boxes, view.confirm_seed, view.confirmed, view.unconfirmed, view.exposed) == ({}, None, (), (), ())
    assert world.post(6, world.redeal(6, 2)).ok
    assert view_of(world, reader).boxes == {(6, 2): world.redeal(6, 2).box}
    world.go()
    view = view_of(world, reader)
    assert view.phase is Phase.CONFIRM and view.confirm_seed == world.attempt.confirm_seed is not None
    assert view.boxes == {pair: world.redeal(*pair).box for pair in pairs}
    assert world.post(5, world.confirm(5)).ok and view_of(world, reader).confirmed == (5,)
    world.go()
    view = view_of(world, reader)
    assert view.phase is Phase.EXPOSE and [pair[:2] for pair in view.unconfirmed] == [(6, 2)] and view.exposed == ()
    fresh = SnapshotReader(world.study)
    assert view_of(world, fresh) == view, "a member that was started anew sees the same"
    world.go()
    view = view_of(world, reader)
    assert view.number == 1 and view.disputes == () and view.boxes == {}


def test_keys_are_seen_as_they_were_posted() -> None:
    world = at(Phase.ACK)
    seen = view_of(world, SnapshotReader(world.study)).keys[MemberId(1)]
    assert seen == world.keys(1)
