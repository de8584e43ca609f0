"""What f members can compute from everything they see and store, over void, failed and repeated rounds.

The adversary is given more than it could get: every chunk of every member's masked vector, everything that was ever
sent to the ledger, accepted or not, and the disks and seal keys of f members at all times. Two questions are asked:

1. Which scalars does it know? Own ones, opened ones, and those of which it holds T shares.
2. Which integer combinations of the honest vectors can it isolate? Each masked vector is one equation: the vector plus
   streams, of which those under unknown keys are unknowns. Gaussian elimination removes the unknowns in every
   possible way; what is left must be the sums over U and nothing else. Unmasking twice, a reused key, differences of
   sums and both openings of one member would all show here as further equations.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from fednode.codec import decode
from fednode.crypto import Secret, unseal
from fednode.errors import Rejected
from fednode.ids import MemberId
from fednode.smpc import jobs, masks
from fednode.smpc import messages as m
from fednode.smpc.dealing import SHARE_PAIR_BYTES, SharePair
from fednode.smpc.record import AttemptRecord, restore_state
from fednode.smpc.vectors import Layout, merkle_root
from fednode.sums import bodies
from fednode.sums.attempt import SumContext
from fednode.sums.phase import Phase
from fednode.sums.shares import reconstruct
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.streams import apply_streams
from tests.smpc.sim.world import CHAIN, STUDY, Absence, World
from tests.support.seeds import Stream

pytestmark = pytest.mark.slow

PRIME = 2**61 - 1
Scalars = dict[tuple[int, MemberId, str], int]  # (attempt, member, "a" or "b")
Row = dict[object, int]


def context_of(world: World, attempt: int) -> SumContext:
    return SumContext(CHAIN, STUDY, world.round_number, attempt)


def attempts_of(world: World) -> dict[int, m.SumView]:
    """The last view of each attempt."""
    return {view.number: view for view in world.trace.views}


def own_records(world: World, member: MemberId) -> dict[int, AttemptRecord]:
    """Every attempt a member ever had on disk."""
    found = {}
    for owner, part, data in world.trace.disks:
        if owner == member and part is m.RecordPart.STATE:
            record = restore_state(world.params(member), {part: data})
            found[record.attempt] = record
    return found


# --- what the adversary knows -----------------------------------------------------------------------------------

def collect_shares(world: World, colluders: set[MemberId]) -> dict[tuple[int, MemberId, str], dict[int, int]]:
    """Every share the adversary has seen: published ones, and what the colluders' boxes hold."""
    shares: dict[tuple[int, MemberId, str], dict[int, int]] = {}

    def add(attempt: int, dealer: MemberId, which: str, holder: int, share: bytes) -> None:
        shares.setdefault((attempt, dealer, which), {})[holder] = int.from_bytes(share, "little")

    for sender, attempt, message in world.trace.ledger:
        if isinstance(message, bodies.Answer):
            for holder, a_share, b_share in message.shares:
                add(attempt, sender, "a", holder, a_share)
                add(attempt, sender, "b", holder, b_share)
        if isinstance(message, bodies.Reveal):
            for dealer, share in message.a_shares:
                add(attempt, dealer, "a", sender, share)
            for dealer, share in message.b_shares:
                add(attempt, dealer, "b", sender, share)
        if isinstance(message, bodies.Keys):
            for holder, box in message.sealed:
                if holder in colluders:
                    try:
                        pair = decode(SharePair, unseal(world.nodes[holder].secret, box), SHARE_PAIR_BYTES)
                    except Rejected:
                        continue
                    add(attempt, sender, "a", holder, pair.a_share)
                    add(attempt, sender, "b", holder, pair.b_share)
    return shares


def known_scalars(world: World, colluders: set[MemberId]) -> Scalars:
    known: Scalars = {}
    for colluder in colluders:
        for attempt, record in own_records(world, colluder).items():
            known |= {(attempt, colluder, "a"): record.a_scalar, (attempt, colluder, "b"): record.b_scalar}
    for sender, attempt, message in world.trace.ledger:
        if isinstance(message, bodies.Reveal) and message.own_b is not None:
            known[attempt, sender, "b"] = int.from_bytes(message.own_b, "little")
    for (attempt, dealer, which), shares in collect_shares(world, colluders).items():
        keys = attempts_of(world)[attempt].keys.get(dealer)
        if keys is not None:
            secret = reconstruct(keys.a_points if which == "a" else keys.b_points, shares)
            if secret is not None:
                known[attempt, dealer, which] = secret
    return known


# --- what it can isolate ----------------------------------------------------------------------------------------

@dataclass
class Equations:
    """Masked vectors of honest members as equations in vectors ("x", ...) and streams of unknown keys."""

    rows: list[Row] = field(default_factory=list)
    allowed: list[Row] = field(default_factory=list)

    def add(self, world: World, colluders: set[MemberId], known: Scalars) -> None:
        for attempt, view in attempts_of(world).items():
            honest = [i for i in view.committers if i not in colluders]
            for member in honest:
                self.rows.append(self._equation(world, view, member, known))
            if view.is_unmasked:
                total: Counter[object] = Counter(variable(world, i) for i in view.included if i in honest)
                self.allowed.append(dict(total))
            assert attempt == view.number

    def _equation(self, world: World, view: m.SumView, member: MemberId, known: Scalars) -> Row:
        record, context = own_records(world, member)[view.number], context_of(world, view.number)
        points = {int(i): view.keys[i].a_points[0] for i in view.qualified}
        check_is_what_was_sent(world, view, member, record)
        row: Row = {variable(world, member): 1}
        self_key = masks.self_key(context, record.b_scalar, member)
        if (view.number, member, "b") not in known:
            row[self_key] = row.get(self_key, 0) + 1
        for other in view.qualified:
            if other != member:
                key = masks.pair_key(context, record.a_scalar, points[other], member, other)
                if not {(view.number, member, "a"), (view.number, other, "a")} & known.keys():
                    row[key] = row.get(key, 0) + (1 if other > member else -1)
        return row


def check_is_what_was_sent(world: World, view: m.SumView, member: MemberId, record: AttemptRecord) -> None:
    """The equation describes the bytes that left: their root is the committed one."""
    points = tuple((i, view.keys[i].a_points[0]) for i in view.qualified)
    values = world.input_of(member).view(np.uint32)
    job = jobs.MaskInput(context_of(world, view.number), member, values, record.a_scalar, record.b_scalar, points)
    masked = job.run()
    assert isinstance(masked, jobs.MaskedInput) and merkle_root(masked.leaves) == view.root_of(member)
    sent = {e.ref.chunk: bytes(e.data) for sender, e in world.trace.wire
            if sender == e.ref.dealer == member and e.ref.lane == m.Lane.MASKED and e.ref.attempt == view.number}
    assert all(bytes(masked.data).find(data) >= 0 for data in sent.values())


def variable(world: World, member: MemberId) -> object:
    return ("x", member, hashlib.sha256(world.input_of(member).tobytes()).hexdigest())


def eliminate(rows: list[Row], is_pivot: object) -> list[Row]:
    """Remove, modulo a prime, every column that `is_pivot` accepts; return the rows that are left without any."""
    rest, done = [dict(row) for row in rows], []
    while rest:
        row = {column: value % PRIME for column, value in rest.pop().items() if value % PRIME}
        pivot = next((column for column in row if is_pivot(column)), None)  # type: ignore[operator]
        if pivot is None:
            if row:
                done.append(row)
            continue
        scale = pow(row[pivot], -1, PRIME)
        for other in rest:
            factor = other.get(pivot, 0) * scale
            if factor % PRIME:
                for column, value in row.items():
                    other[column] = (other.get(column, 0) - factor * value) % PRIME
    return done


def isolated(equations: Equations) -> list[Row]:
    """Independent combinations of vectors that are free of unknown streams."""
    return eliminate(equations.rows, lambda column: isinstance(column, bytes))


def rank(rows: list[Row]) -> int:
    rest, found = [dict(row) for row in rows], 0
    while rest:
        row = {column: value % PRIME for column, value in rest.pop().items() if value % PRIME}
        if row:
            found += 1
            pivot, scale = next(iter(row)), pow(next(iter(row.values())), -1, PRIME)
            for other in rest:
                factor = other.get(pivot, 0) * scale
                for column, value in row.items():
                    other[column] = (other.get(column, 0) - factor * value) % PRIME
    return found


def leaks(equations: Equations) -> bool:
    """Whether anything beyond the allowed sums can be isolated."""
    return rank(isolated(equations) + equations.allowed) > rank(equations.allowed)


def study(worlds: list[World], colluders: set[int], given: Scalars | None = None) -> Equations:
    """The adversary's equations over several rounds; every known recovery is also tried by name."""
    gang, equations = {MemberId(i) for i in colluders}, Equations()
    for world in worlds:
        known = known_scalars(world, gang) | (given or {})
        equations.add(world, gang, known)
        if given is None:
            try_both_openings(world, gang, known)
            try_stripping(world, gang, known)
    if given is None:
        try_reused_keys(equations)
    return equations


def try_both_openings(world: World, gang: set[MemberId], known: Scalars) -> None:
    """Fails because of every honest member at most one secret reaches T shares; in a void attempt none does."""
    shares = collect_shares(world, gang)
    threshold = len(world.members) - (len(world.members) - 1) // 3
    for attempt, view in attempts_of(world).items():
        for member in set(view.keys) - gang:
            opened = {which for which in "ab" if (attempt, member, which) in known}
            assert opened != {"a", "b"}
            assert view.is_unmasked or not opened
            for which in {"a", "b"} - opened:
                assert len(shares.get((attempt, member, which), {})) < threshold
            if "a" in opened:
                assert member not in view.included
            if "b" in opened:
                assert member in view.included


def try_stripping(world: World, gang: set[MemberId], known: Scalars) -> None:
    """Take every known mask off every honest vector: what remains is not the vector, nor one seen before."""
    seen = set()
    for attempt, view in attempts_of(world).items():
        points = {int(i): view.keys[i].a_points[0] for i in view.qualified}
        for member in set(view.committers) - gang:
            record, context = own_records(world, member)[attempt], context_of(world, attempt)
            job = jobs.MaskInput(context, member, world.input_of(member).view(np.uint32), record.a_scalar,
                                 record.b_scalar, tuple((MemberId(i), p) for i, p in points.items()))
            masked = job.run()
            assert isinstance(masked, jobs.MaskedInput)
            layout = Layout(world.length, len(view.qualified))
            left = np.frombuffer(b"".join(layout.bodies(layout.all_of(masked.data))), np.uint32).copy()
            streams = masks.own_streams(context, member, record.a_scalar, record.b_scalar, points)
            order = [("b", member), *[("a", other) for other in sorted(points) if other != member]]
            for stream, (which, other) in zip(streams, order, strict=True):
                if (attempt, other, which) in known or (which == "a" and (attempt, member, "a") in known):
                    apply_streams(left, [type(stream)(stream.key, not stream.is_added)])
            assert (left != world.input_of(member).view(np.uint32)).mean() > 0.9
            assert left.tobytes() not in seen
            seen.add(left.tobytes())


def try_reused_keys(equations: Equations) -> None:
    """An unknown key masks at most the two ends of one pair, with opposite signs."""
    uses: dict[bytes, list[int]] = {}
    for row in equations.rows:
        for column, sign in row.items():
            if isinstance(column, bytes):
                uses.setdefault(column, []).append(sign)
    assert all(sorted(signs) in ([1], [-1], [-1, 1]) for signs in uses.values())


# --- scenarios --------------------------------------------------------------------------------------------------

GANGS = [(4, {1}), (4, {3}), (7, {1, 2}), (7, {4, 7})]
LEDGERS = [ModelLedger, RealLedger]


@pytest.mark.parametrize(("count", "gang"), GANGS)
@pytest.mark.parametrize("ledger", LEDGERS)
def test_a_void_attempt_and_the_next_show_one_sum(count: int, gang: set[int], ledger: type) -> None:
    """An owner commits, takes everybody's chunks and vanishes: everything is masked again under new keys."""
    gone = max(set(range(1, count + 1)) - gang)
    world = World(count, seed=count, absences=(Absence(gone, Phase.DIGEST),), ledger=ledger).run()
    assert len(world.ledger.voids) == 1 and world.ledger.outcome is not None and world.ledger.outcome[0] == "ok"
    equations = study([world], gang)
    assert len(equations.allowed) == 1 and rank(isolated(equations)) == 1 and not leaks(equations)


@pytest.mark.parametrize(("count", "gang"), GANGS)
def test_a_dropped_member_stays_hidden_although_its_pair_masks_are_opened(count: int, gang: set[int]) -> None:
    gone = MemberId(max(set(range(1, count + 1)) - gang))
    world = World(count, seed=count)
    world.nodes[gone].tamper = lambda effect: (
        [] if isinstance(effect, m.SendChunk) and effect.ref.lane == m.Lane.MASKED else [effect]
    )
    world.run()
    view = world.check()
    assert gone in view.committers and gone not in view.included
    known = known_scalars(world, {MemberId(i) for i in gang})
    assert (0, gone, "a") in known and (0, gone, "b") not in known
    equations = study([world], gang)
    assert rank(isolated(equations)) == 1 and not leaks(equations)


@pytest.mark.parametrize(("count", "gang"), GANGS)
def test_silent_and_complaining_liars_learn_nothing_more(count: int, gang: set[int]) -> None:
    """f liars complain about everybody, take the published shares, and withhold their own openings."""
    honest = tuple(MemberId(i) for i in range(1, count + 1) if i not in gang)

    def tamper(effect: m.Effect) -> list[m.Effect]:
        if isinstance(effect, m.Submit) and isinstance(effect.message, bodies.Acknowledge):
            return [replace(effect, message=replace(effect.message, wrong=honest))]
        if isinstance(effect, m.Submit) and isinstance(effect.message, bodies.Reveal):
            return []
        return [effect]

    world = World(count, seed=5)
    for liar in gang:
        world.nodes[MemberId(liar)].tamper = tamper
    world.run()
    view = world.check()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok" and set(honest) <= set(view.included)
    shares = collect_shares(world, {MemberId(i) for i in gang})
    assert all(len(shares[0, i, "a"]) == len(gang) for i in honest), "what was published they had already"
    assert not leaks(study([world], gang))


def repeated(
    count: int, gang: set[int], *, same_vectors: bool, is_pinned: bool, gone: int | None = None
) -> list[World]:
    """A round that fails past its unmasking because a member masked wrongly, and its repetition."""
    secrets = {MemberId(i): Secret(Stream("term", i).random_bytes(32)) for i in range(1, count + 1)}
    vectors = None
    if same_vectors:
        values = np.random.default_rng(1).integers(0, 2**17, (count, 37), np.uint32)
        vectors = {MemberId(i): values[i - 1] for i in range(1, count + 1)}
    first = World(count, seed=1, round_number=0 if same_vectors else 4, vectors=vectors, secrets=secrets)
    liar = MemberId(min(gang))

    def work(job: object) -> object:
        return (replace(job, b_scalar=job.b_scalar + 1) if isinstance(job, jobs.MaskInput) else job).run()  # type: ignore[arg-type]

    first.nodes[liar].work = work
    first.run()
    unmasked = first.trace.views[-1]
    assert unmasked.is_unmasked and first.ledger.outcome == ("failed", "voted failed")
    pinned = unmasked.included if is_pinned else None
    absences = () if gone is None else (Absence(gone, Phase.COMMIT),)
    second = World(
        count, seed=2, round_number=first.round_number + 1, vectors=vectors, secrets=secrets, pinned=pinned,
        absences=absences,
    )
    return [first, second.run()]


@pytest.mark.parametrize(("count", "gang"), GANGS)
def test_a_failed_round_and_its_repetition_show_one_sum_each(count: int, gang: set[int]) -> None:
    """Training again draws new batches: two sums of different vectors over the same members."""
    worlds = repeated(count, gang, same_vectors=False, is_pinned=True)
    assert worlds[1].check().included == worlds[0].trace.views[-1].included
    equations = study(worlds, gang)
    assert len(equations.allowed) == 2 and rank(isolated(equations)) == 2 and not leaks(equations)


@pytest.mark.parametrize(("count", "gang"), GANGS)
def test_a_repeated_round_of_statistics_shows_the_same_sum_again(count: int, gang: set[int]) -> None:
    worlds = repeated(count, gang, same_vectors=True, is_pinned=True)
    equations = study(worlds, gang)
    assert len(equations.allowed) == 2 and rank(equations.allowed) == 1
    assert rank(isolated(equations)) == 1 and not leaks(equations)


@pytest.mark.parametrize(("count", "gang"), GANGS)
def test_a_pinned_round_that_cannot_be_met_opens_nothing(count: int, gang: set[int]) -> None:
    gone = max(set(range(1, count + 1)) - gang)
    worlds = repeated(count, gang, same_vectors=True, is_pinned=True, gone=gone)
    assert worlds[1].ledger.outcome is not None and worlds[1].ledger.outcome[0] == "failed"
    assert not any(view.is_unmasked for view in worlds[1].trace.views)
    equations = study(worlds, gang)
    assert rank(isolated(equations)) == 1 and not leaks(equations)


# --- the analysis can see -----------------------------------------------------------------------------------------

def test_it_sees_the_difference_of_two_sums_over_different_sets() -> None:
    worlds = repeated(4, {1}, same_vectors=True, is_pinned=False, gone=4)
    view = worlds[1].check()
    assert view.included == (1, 2, 3)
    equations = study(worlds, {1})
    found = isolated(equations)
    assert rank(found) == 2
    alone = {variable(worlds[0], MemberId(4)): 1}
    assert rank([*found, alone]) == rank(found), "the vector of member 4 is the difference"


@pytest.mark.parametrize("which", ["a", "b"])
def test_it_sees_both_openings_of_one_member(which: str) -> None:
    """One of the secrets is given away; with a dropped member whose a is open, its b shows the vector."""
    world = World(4, seed=4)
    world.nodes[MemberId(4)].tamper = lambda effect: (
        [] if isinstance(effect, m.SendChunk) and effect.ref.lane == m.Lane.MASKED else [effect]
    )
    world.run()
    member = MemberId(4) if which == "b" else MemberId(2)
    record = own_records(world, member)[0]
    given: Scalars = {(0, member, which): record.b_scalar if which == "b" else record.a_scalar}
    equations = study([world], {1}, given)
    assert leaks(equations)
    assert rank([*isolated(equations), {variable(world, member): 1}]) == rank(isolated(equations))


def test_it_sees_a_key_that_is_used_twice() -> None:
    world = World(4, seed=4, absences=(Absence(4, Phase.DIGEST),)).run()
    equations = study([world], {1})
    by_attempt = [row for row in equations.rows if ("x", MemberId(2)) == next(iter(row))[:2]]  # type: ignore[index]
    first, second = by_attempt
    key = next(column for column in first if isinstance(column, bytes))
    second[key] = 1
    with pytest.raises(AssertionError):
        try_reused_keys(equations)


def test_it_sees_more_than_f_colluders_only_through_t_shares() -> None:
    """With T of four working together every secret is theirs: the threshold is what protects, so it is shown to."""
    world = World(4, seed=4).run()
    known = known_scalars(world, {MemberId(1), MemberId(2), MemberId(3)})
    assert (0, MemberId(4), "a") in known and (0, MemberId(4), "b") in known
