"""What f members can compute under the second rule, from everything they see and store, void attempts included.

On top of what `test_privacy` asks of masked vectors, sketches are equations too. Of an honest dealer's sketch u in one
attempt the adversary holds: the public sketch of the masked vector (linear in what it has anyway), the shares in its
boxes (u plus multiples of the dealer's unknown polynomial), openings of honest holders (sums of shares over U), and
answers, which are blinded: that is a rank computed on the real proof. Unknown polynomials are eliminated in every
possible way; what is left must be the sketches of the sums over U and nothing else. Sharing twice under one seed, an
opening in a void attempt, openings over two sets: all would show as further equations. What was dealt again is a share
of whoever can open the box: its holder, and everybody once the holder has shown it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fednode.crypto import Secret, point_times, unseal
from fednode.ids import MemberId
from fednode.smpc import jobs
from fednode.smpc import messages as m
from fednode.smpc.dealing import dispute_scalar
from fednode.smpc.proving import ProveUpdate, box_sizes
from fednode.smpc.vectors import digest_chunk
from fednode.sums import bodies, norm
from fednode.sums import field as f
from fednode.sums.norm import ANSWER, PAIRS, REPETITIONS, Statement, statement_of
from fednode.sums.phase import Phase
from fednode.sums.redeal import show_held
from fednode.sums.shares import open_box
from tests.smpc.sim import dealers
from tests.smpc.sim.dealers import mask_wrongly
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import HELD, Absence, World
from tests.smpc.test_disputes import chain, keep_back, noise_about, redeal
from tests.smpc.test_liars import on_message
from tests.smpc.test_privacy import (
    Equations,
    Row,
    attempts_of,
    eliminate,
    isolated,
    known_scalars,
    leaks,
    own_records,
    rank,
    study,
    variable,
)
from tests.support.seeds import Stream

GANGS = [(4, {1}), (4, {3}), (7, {1, 2})]
pytestmark = pytest.mark.slow


# --- sketches as equations -----------------------------------------------------------------------------------------

def sketch_variable(world: World, view: m.SumView, member: MemberId) -> object:
    return ("u", view.coin, variable(world, member))


def coefficients(world: World, view: m.SumView, member: MemberId, at: int) -> Row:
    """The dealer's unknown polynomial of one attempt at a holder's point, degree g."""
    degree = max(1, (len(world.members) - 1) // 3)
    return {f"{world.round_number}/{view.number}/{member}/{k}".encode(): pow(at, k, 2**61 - 1)
            for k in range(1, degree + 1)}


def add_up(*rows: Row) -> Row:
    total: Counter[object] = Counter()
    for row in rows:
        total.update(row)
    return dict(total)


def share_rows(worlds: list[World], gang: set[int]) -> Equations:
    """One equation for each share a colluder was sent and for each opening anybody ever tried to post."""
    equations = Equations()
    for world in worlds:
        views = attempts_of(world)
        for dealer, effect in world.trace.wire:
            if effect.ref.lane == m.Lane.SHARES and effect.to in gang and dealer not in gang:
                view = views[effect.ref.attempt]
                check_opens(world, view, effect)
                unknown = coefficients(world, view, dealer, effect.to)
                equations.rows.append(add_up({sketch_variable(world, view, dealer): 1}, unknown))
        for holder, attempt, message in world.trace.ledger:
            if isinstance(message, bodies.Reveal) and message.opening is not None and holder not in gang:
                equations.rows.append(opening_row(world, views[attempt], holder, gang))
        for attempt, dealer, holder in redealt_seen(world, gang):
            unknown = coefficients(world, views[attempt], dealer, holder)
            equations.rows.append(add_up({sketch_variable(world, views[attempt], dealer): 1}, unknown))
        for view in views.values():
            if view.is_unmasked:
                honest = [i for i in view.included if i not in gang]
                equations.allowed.append({sketch_variable(world, view, i): 1 for i in honest})
    return equations


def redealt_seen(world: World, gang: set[int]) -> set[tuple[int, MemberId, MemberId]]:
    """Whose shares the colluders can read on the ledger: (attempt, honest dealer, holder)."""
    said = world.trace.ledger
    shown = {(attempt, msg.dealer, holder) for holder, attempt, msg in said if isinstance(msg, bodies.Expose)}
    found = set()
    for dealer, attempt, message in said:
        if isinstance(message, bodies.Redeal) and dealer not in gang:
            place = (attempt, dealer, message.holder)
            if message.holder in gang:
                check_dealt_again(world, attempt, dealer, message)
            if message.holder in gang or place in shown:
                found.add(place)
    return found


def check_dealt_again(world: World, attempt: int, dealer: MemberId, message: bodies.Redeal) -> None:
    """The colluder opens the box with its key and finds what it was dealt before, and nothing else."""
    params, own = world.params(message.holder), own_records(world, message.holder)[attempt]
    view = attempts_of(world)[attempt]
    assert own.sharing is not None and params.statement is not None
    point = view.keys[dealer].c_point
    assert point is not None
    shared = point_times(dispute_scalar(params, attempt, own.sharing.seed), point)
    held = show_held(message.box, shared, params.context(attempt), dealer, message.holder, HELD)
    statement = params.statement(view.weight_of(dealer))
    bits, proof = contents_of(world, next(
        e for sender, e in world.trace.wire if sender == dealer and e.to == message.holder
        and e.ref.lane == m.Lane.SHARES and e.ref.attempt == attempt
    ), dealer)
    opened = [open_box(data, size, len(data) == 16)
              for data, size in ((bits, statement.length), (proof, statement.proof_length))]
    assert opened[0] is not None and opened[1] is not None and held is not None
    assert held.tolist() == norm.held_of(statement, opened[0], opened[1]).tolist()


def opening_row(
    world: World, view: m.SumView, holder: int, gang: set[int], included: tuple[int, ...] | None = None
) -> Row:
    honest = [MemberId(i) for i in included or view.included if i not in gang]
    return add_up(*(
        add_up({sketch_variable(world, view, i): 1}, coefficients(world, view, i, holder)) for i in honest
    ))


def check_opens(world: World, view: m.SumView, effect: m.SendChunk) -> None:
    """The colluder really has this share: its box opens with its key, under the roots on the ledger."""
    assert world.params(effect.to).statement is not None
    statement = world.params(effect.to).statement(view.weight_of(MemberId(effect.ref.dealer)))  # type: ignore[misc]
    is_key = view.present.index(effect.to) < max(1, (len(world.members) - 1) // 3)
    size = box_sizes(statement, is_key)[0]
    content = unseal(world.nodes[effect.to].secret, bytes(effect.data[:size]))[32:]
    assert len(content) == (16 if is_key else 8 * statement.length)


def contents_seen(worlds: list[World], gang: set[int]) -> list[bytes]:
    """What the colluders' boxes hold, of every honest dealing."""
    found = {}
    for world in worlds:
        for dealer, effect in world.trace.wire:
            if effect.ref.lane == m.Lane.SHARES and effect.to in gang and dealer not in gang:
                place = (world.round_number, effect.ref.attempt, dealer, effect.to)
                for kind, content in enumerate(contents_of(world, effect, dealer)):
                    assert found.setdefault((*place, kind), content) == content
    return list(found.values())


def contents_of(world: World, effect: m.SendChunk, dealer: MemberId) -> tuple[bytes, bytes]:
    """What both boxes hold that a dealer sent."""
    view = attempts_of(world)[effect.ref.attempt]
    statement = world.params(effect.to).statement(view.weight_of(dealer))  # type: ignore[misc]
    is_key = view.present.index(effect.to) < max(1, (len(world.members) - 1) // 3)
    size = box_sizes(statement, is_key)[0]
    boxes = (bytes(effect.data[:size]), bytes(effect.data[size:]))
    bits, proof = (unseal(world.nodes[effect.to].secret, box)[32:] for box in boxes)
    return bits, proof


def learns_nothing_more(worlds: list[World], gang: set[int], sums: int) -> None:
    """Vectors, sketches and dealings of these rounds show `sums` sums over U and nothing else."""
    vectors = study(worlds, gang)
    assert len(vectors.allowed) == sums and not leaks(vectors)
    assert rank(isolated(vectors)) == rank(vectors.allowed)
    sketches = share_rows(worlds, gang)
    assert len(sketches.allowed) == sums and not leaks(sketches)
    contents = contents_seen(worlds, gang)
    assert contents and len(set(contents)) == len(contents), "a key or share that was dealt twice"
    try_differences(contents)
    try_other_openings(worlds)


def try_differences(contents: list[bytes]) -> None:
    """No two shares of one holder differ by something short: their polynomials are independent."""
    shares = [np.frombuffer(content, f.FIELD) for content in contents if len(content) > 16]
    for at, left in enumerate(shares):
        for right in shares[at + 1 :]:
            if left.size == right.size:
                assert (np.abs(f.centre(f.subtract(left, right)).astype(float)) < 2**40).mean() < 0.01


def try_other_openings(worlds: list[World]) -> None:
    """Nobody opened shares in an attempt that was not unmasked, nor two different ones, nor answered two queries."""
    for world in worlds:
        views = attempts_of(world)
        seen: dict[tuple[int, int, str, int], object] = {}
        for sender, attempt, message in world.trace.ledger:
            if world.nodes[sender].tamper or world.nodes[sender].work or world.nodes[sender].lie:
                continue
            if isinstance(message, bodies.Reveal) and message.opening is not None:
                assert views[attempt].is_unmasked
                assert seen.setdefault((sender, attempt, "opening", 0), message.opening) == message.opening
            if isinstance(message, bodies.Proof):
                assert seen.setdefault((sender, attempt, "answer", message.part), message.data) == message.data
            if isinstance(message, bodies.Confirm):
                assert seen.setdefault((sender, attempt, "confirm", 0), message.data) == message.data
            if isinstance(message, bodies.Redeal):
                assert seen.setdefault((sender, attempt, "redeal", message.holder), message.box) == message.box


# --- scenarios -----------------------------------------------------------------------------------------------------

def run(count: int, **more: object) -> World:
    return World(count, weights="hidden", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "gang"), GANGS)
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@pytest.mark.parametrize("phase", [Phase.COIN, Phase.SHARE])
def test_a_void_attempt_and_the_next_show_one_sum(count: int, gang: set[int], phase: Phase, ledger: type) -> None:
    gone = max(set(range(1, count + 1)) - gang)
    world = run(count, seed=count, absences=(Absence(gone, phase),), ledger=ledger).run()
    assert len(world.ledger.voids) == 1 and world.ledger.outcome is not None  # type: ignore[attr-defined]
    assert world.ledger.outcome[0] == "ok"
    learns_nothing_more([world], gang, 1)


@pytest.mark.parametrize(("count", "gang"), GANGS)
@pytest.mark.parametrize("bits", [dealers.longer(40), dealers.two_for_the_next_bit])
def test_an_attempt_void_after_all_proofs_were_answered_shows_nothing(count: int, gang: set[int], bits: object) -> None:
    """Everything but the openings is on the ledger when a liar's proof fails; honest members share the same x again."""
    world = run(count, seed=3)

    def work(job: object) -> object:
        if isinstance(job, ProveUpdate):
            return dealers.deal_as(job, bits=bits)  # type: ignore[arg-type]
        return job.run()  # type: ignore[arg-type]

    world.nodes[MemberId(min(gang))].work = work
    world.run()
    assert len(world.ledger.voids) == 1 and world.ledger.outcome is not None  # type: ignore[attr-defined]
    assert len([e for _, e in world.trace.wire if e.ref.lane == m.Lane.SHARES and e.ref.attempt == 1]) > 0
    learns_nothing_more([world], gang, 1)


@pytest.mark.parametrize(("count", "gang"), GANGS)
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
def test_an_attempt_in_which_every_masked_vector_is_shown(count: int, gang: set[int], ledger: type) -> None:
    """A liar spoils the sum to see what RECHECK shows: all of y of everybody, void; then the same x again, summed."""
    world = run(count, seed=4, ledger=ledger)
    world.nodes[MemberId(min(gang))].lie = wrong_sum
    world.run()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok"
    views = attempts_of(world)
    assert views[0].phase is Phase.RECHECK and not views[0].is_unmasked and views[1].is_unmasked
    for member in gang:  # one of them has asked for everything, and got it
        assert whole_vectors_seen(world, member, 0) == set(world.members) - {member}
    for member in world.members:  # and nothing of a void attempt in the next one
        assert whole_vectors_seen(world, member, 1) == set()
    learns_nothing_more([world], gang, 1)


@pytest.mark.parametrize(("count", "gang"), GANGS)
@pytest.mark.parametrize("ledger", [ModelLedger, RealLedger])
@pytest.mark.parametrize("how", ["wrong", "right", "unconfirmed"])
def test_an_attempt_in_which_shares_are_dealt_again_and_shown(
    count: int, gang: set[int], ledger: type, how: str
) -> None:
    """The gang disputes f honest dealers and deals f honest members nothing, and then zeros, or what is right.

    Void with everything but the openings on the ledger, and then the same x again; or settled and opened.
    """
    world = run(count, seed=2, ledger=ledger)
    honest = [i for i in world.members if i not in gang]
    dealt_nothing, disputed = honest[: len(gang)], honest[-len(gang) :]
    zeros = redeal(lambda message: replace(message, box=bytes(len(message.box))) if how == "wrong" else message)
    noise = on_message(bodies.Confirm, lambda message: replace(message, data=b"\xff" * len(message.data)))  # type: ignore[attr-defined, type-var]
    tell = keep_back(*dealt_nothing), noise_about(*disputed), zeros, *([noise] if how == "unconfirmed" else [])
    change = chain(*tell)
    for member in gang:
        world.nodes[MemberId(member)].tamper = lambda e: change(e) if world.ledger.view().number == 0 else [e]
    world.run()
    views = attempts_of(world)
    first = views[0]
    assert {(i, j) for i in disputed for j in gang} | {(i, j) for i in gang for j in dealt_nothing} == {*first.disputes}
    assert len(views) == (1 if how == "right" else 2) and first.is_unmasked == (how == "right")
    said = {type(message) for _, attempt, message in world.trace.ledger if attempt == 0}
    assert {bodies.Redeal, bodies.Confirm} <= said and (bodies.Expose in said) == (how == "wrong")
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok"
    learns_nothing_more([world], gang, 1)
    assert redealt_seen(world, gang) == {(0, i, j) for i in disputed for j in gang}


def whole_vectors_seen(world: World, reader: int, attempt: int) -> set[int]:
    """The members of whose masked vector in an attempt a member was sent every chunk."""
    chunks: dict[int, set[int]] = {}
    for _, effect in world.trace.wire:
        if effect.ref.lane == m.Lane.MASKED and effect.to == reader and effect.ref.attempt == attempt:
            chunks.setdefault(effect.ref.dealer, set()).add(effect.ref.chunk)
    everything = set(range(len(attempts_of(world)[attempt].qualified)))
    return {dealer for dealer, known in chunks.items() if known == everything}


def test_it_sees_what_an_unmasking_of_the_shown_attempt_would_give() -> None:
    """Were the void attempt opened too, over a set that is not that of the next, the difference would be one vector."""
    world = run(4, seed=4)
    world.nodes[MemberId(1)].lie = wrong_sum
    world.run()
    known = known_scalars(world, {MemberId(1)})
    void = attempts_of(world)[0]
    assert void.included == (1, 2, 3, 4) and attempts_of(world)[1].included == (2, 3, 4)
    for member in (2, 3, 4):
        known[0, MemberId(member), "b"] = own_records(world, MemberId(member))[0].b_scalar
    equations = Equations()
    equations.add(world, {MemberId(1)}, known)
    assert rank(isolated(equations)) == 1, "a sum of all honest members twice is one sum"
    known[0, MemberId(2), "a"] = own_records(world, MemberId(2))[0].a_scalar
    opened = Equations()
    opened.add(world, {MemberId(1)}, known)
    assert leaks(opened), "both secrets of member 2 in one attempt"


def wrong_sum(result: object) -> object:
    if isinstance(result, tuple) and result and isinstance(result[0], jobs.SummedChunk):
        data = memoryview(np.frombuffer(result[0].data, np.uint32) + np.uint32(9)).cast("B")
        return (jobs.SummedChunk(result[0].chunk, data, digest_chunk(data)),)
    return result


def silent_gang(effect: m.Effect) -> list[m.Effect]:
    """Withhold link, answers and openings, as a gang that wants only to read."""
    kinds = (bodies.Coin, bodies.Proof, bodies.Reveal)
    return [] if isinstance(effect, m.Submit) and isinstance(effect.message, kinds) else [effect]


@pytest.mark.parametrize(("count", "gang"), GANGS)
def test_a_silent_gang_learns_one_sum(count: int, gang: set[int]) -> None:
    world = run(count, seed=6)
    for member in gang:
        world.nodes[MemberId(member)].tamper = silent_gang
    world.run()
    assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok"
    learns_nothing_more([world], gang, 1)


def repeated(
    count: int, gang: set[int], *, same_vectors: bool, pinned: tuple[MemberId, ...] | None | bool = True,
    gone: int | None = None,
) -> list[World]:
    """A round whose opened sum was not bound, and its repetition over the pinned set with further links."""
    secrets = {MemberId(i): Secret(Stream("term", i).random_bytes(32)) for i in range(1, count + 1)}
    vectors = None
    if same_vectors:
        values = np.random.default_rng(1).integers(0, 2**16, (count, 37), np.uint32)
        vectors = {MemberId(i): values[i - 1] for i in range(1, count + 1)}
    more = {"vectors": vectors, "secrets": secrets}
    first = run(count, seed=1, round_number=0 if same_vectors else 4, **more)
    first.nodes[MemberId(min(gang))].lie = mask_wrongly
    first.run()
    view = first.trace.views[-1]
    assert view.is_unmasked and first.ledger.outcome is not None and first.ledger.outcome[0] == "failed"
    second = run(
        count, seed=2, round_number=first.round_number + 1, coins=view.coin_index,
        pinned=view.included if pinned else None, absences=() if gone is None else (Absence(gone, Phase.COMMIT),),
        **more,
    )
    return [first, second.run()]


@pytest.mark.parametrize(("count", "gang"), GANGS)
def test_a_failed_round_and_its_repetition_show_one_sum_each(count: int, gang: set[int]) -> None:
    worlds = repeated(count, gang, same_vectors=False)
    assert worlds[1].check().included == worlds[0].trace.views[-1].included
    learns_nothing_more(worlds, gang, 2)


@pytest.mark.parametrize(("count", "gang"), GANGS[:2])
def test_a_repeated_round_of_statistics_shows_the_same_sum_and_two_sketches_of_it(count: int, gang: set[int]) -> None:
    """The same vectors under two coins: two public sketches, both of the sum that is known anyway."""
    worlds = repeated(count, gang, same_vectors=True)
    coins = [world.trace.views[-1].coin for world in worlds]
    assert coins[0] != coins[1]
    learns_nothing_more(worlds, gang, 2)


def test_the_links_of_two_rounds_differ_and_neither_is_used_twice() -> None:
    worlds = repeated(4, {1}, same_vectors=False)
    links = [link for world in worlds for _, link in world.trace.views[-1].links]
    assert len(set(links)) == len(links) == 8


# --- answers are blinded -------------------------------------------------------------------------------------------

def functionals(statement: Statement, joint: tuple[int, ...], seeds: list[bytes], random: list[int]) -> np.ndarray:
    """How the answers to these queries depend on the random elements of the proof: one column for each of `random`."""
    bits = np.zeros(statement.length, f.FIELD)
    zero = np.zeros(statement.proof_length, f.FIELD)
    columns = []
    for at in random:
        unit = zero.copy()
        unit[at] = 1
        column = []
        for seed in seeds:
            query = norm.draw_query(statement, seed)
            column.append(f.subtract(norm.query(statement, bits, unit, joint, query),
                                     norm.query(statement, bits, zero, joint, query)))
        columns.append(np.concatenate(column))
    return np.stack(columns, axis=1)


def field_rank(matrix: np.ndarray) -> int:
    rows, found = [[int(v) for v in row] for row in matrix], 0
    for at in range(len(rows[0])):
        pivot = next((k for k in range(found, len(rows)) if rows[k][at]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        scale = pow(rows[found][at], -1, f.MODULUS)
        for k in range(found + 1, len(rows)):
            factor = rows[k][at] * scale % f.MODULUS
            if factor:
                rows[k] = [(a - factor * b) % f.MODULUS for a, b in zip(rows[k], rows[found], strict=True)]
        found += 1
    return found


def blinded(seeds: list[bytes]) -> tuple[int, int]:
    """Answered numbers that are not implied by others, and how many of them the randomness of the proof hides.

    Of 67 numbers a repetition 65 say something: 64 wires and the mixed dealing; p is their product, the equation zero.
    """
    statement = statement_of(37, 7, members=4)
    part, wires = statement.part_length, 2 * PAIRS
    random = [r * part + k for r in range(REPETITIONS) for k in (*range(wires), part - 2)]
    matrix = functionals(statement, norm.draw_joint(b"\x01" * 32), seeds, random)
    shown = [q * REPETITIONS * ANSWER + r * ANSWER + k for q in range(len(seeds))
             for r in range(REPETITIONS) for k in (*range(wires), ANSWER - 1)]
    return len(shown), field_rank(matrix[shown])


def test_the_answers_to_one_query_are_hidden_by_the_randomness_of_the_proof() -> None:
    assert blinded([b"\x02" * 32]) == (130, 130)


def test_it_sees_that_a_second_query_would_not_be() -> None:
    shown, hidden = blinded([b"\x02" * 32, b"\x03" * 32])
    assert shown == 260 and hidden == 130


def confirmed(seeds: list[bytes], *, is_blind: bool = True) -> tuple[int, int]:
    """The same with the answers to confirm queries, which all randomness of the proof has to hide together."""
    statement = statement_of(37, 7, members=4)
    part, wires, repetitions = statement.part_length, 2 * PAIRS, statement.repetitions
    blinds = (part - 2, part - 1) if is_blind else (part - 2,)
    random = [r * part + k for r in range(repetitions) for k in (*range(wires), *blinds)]
    first = functionals(statement, norm.draw_joint(b"\x01" * 32), [b"\x02" * 32], random)
    shown = [r * ANSWER + k for r in range(repetitions) for k in (*range(wires), ANSWER - 1)]
    bits = np.zeros(statement.length, f.FIELD)
    columns = []
    for at in random:
        unit, zero = np.zeros((2, statement.proof_length), f.FIELD)
        unit[at] = 1
        told = [[norm.confirm(norm.held_of(statement, bits, proof), norm.draw_confirm(seed)) for seed in seeds]
                for proof in (unit, zero)]
        columns.append(f.subtract(np.concatenate(told[0]), np.concatenate(told[1])))
    matrix = np.concatenate([first[shown], np.stack(columns, axis=1)])
    return len(matrix), field_rank(matrix)


def test_the_answer_to_one_confirm_query_is_hidden_together_with_the_first() -> None:
    assert confirmed([b"\x04" * 32]) == (132, 132)


def test_it_sees_that_a_second_confirm_query_or_one_without_its_blind_would_not_be() -> None:
    shown, hidden = confirmed([b"\x04" * 32, b"\x05" * 32])
    assert shown == 134 and hidden == 132
    shown, hidden = confirmed([b"\x04" * 32], is_blind=False)
    assert shown == 132 and hidden == 130


# --- the analysis can see ------------------------------------------------------------------------------------------

def void_world() -> tuple[World, m.SumView]:
    world = run(4, seed=3)

    def work(job: object) -> object:
        if isinstance(job, ProveUpdate):
            return dealers.deal_as(job, bits=dealers.longer(40))
        return job.run()  # type: ignore[arg-type]

    world.nodes[MemberId(1)].work = work
    world.run()
    return world, attempts_of(world)[0]


def test_it_sees_an_opening_in_a_void_attempt() -> None:
    """u_S of a void attempt over everybody and that of the next over fewer: the liar picks who is missing."""
    world, void = void_world()
    equations = share_rows([world], {1})
    assert not leaks(equations)
    equations.rows += [opening_row(world, void, holder, {1}) for holder in (2, 3, 4)]
    assert leaks(equations)


def test_it_sees_a_box_of_an_honest_dealer_that_an_honest_holder_shows() -> None:
    world = run(4, seed=5)
    world.nodes[MemberId(1)].tamper = noise_about(3)
    world.run()
    view = world.check()
    assert view.disputes == ((3, 1),) and not leaks(share_rows([world], {1}))
    place = world.params(MemberId(3)).place(0)
    world.trace.ledger.append((MemberId(3), 0, bodies.Redeal(*place, MemberId(4), bytes(2072))))
    assert not leaks(share_rows([world], {1})), "nobody can open it"
    world.trace.ledger.append((MemberId(4), 0, bodies.Expose(*place, MemberId(3), bytes(32), bytes(64))))
    assert leaks(share_rows([world], {1}))


def test_it_sees_openings_over_two_sets() -> None:
    world = run(4, seed=5).run()
    view = world.check()
    equations = share_rows([world], {1})
    assert not leaks(equations)
    equations.rows += [opening_row(world, view, holder, {1}, (1, 2, 3)) for holder in (2, 3, 4)]
    assert leaks(equations)
    alone = {sketch_variable(world, view, MemberId(4)): 1}
    found = eliminate(equations.rows, lambda column: isinstance(column, bytes))
    assert rank([*found, alone]) == rank(found), "the sketch of member 4 is the difference"


def test_it_sees_g_plus_one_shares() -> None:
    """Two of four: two shares of degree one give every sketch away."""
    assert leaks(share_rows([run(4, seed=5).run()], {1, 2}))


def test_it_sees_a_seed_that_is_used_for_two_vectors() -> None:
    world = run(4, seed=5).run()
    view = world.check()
    first = add_up({("u", 1): 1}, coefficients(world, view, MemberId(2), 1))
    second = add_up({("u", 2): 1}, coefficients(world, view, MemberId(2), 1))
    assert leaks(Equations([first, second], []))
    with pytest.raises(AssertionError):
        share = np.arange(7000, dtype=np.uint64) * np.uint64(2**40)
        try_differences([share.tobytes(), f.add(share, np.ones(7000, np.uint64)).tobytes()])


def test_it_sees_a_sketch_of_the_same_vector_that_is_opened_twice_over_different_sets() -> None:
    """Why failed rounds are pinned: sums of one round of statistics over two sets differ by one hospital."""
    worlds = repeated(4, {1}, same_vectors=True, pinned=None, gone=4)
    assert worlds[1].check().included == (1, 2, 3)
    found = isolated(study(worlds, {1}))
    alone = {variable(worlds[0], MemberId(4)): 1}
    assert rank(found) == 2 and rank([*found, alone]) == rank(found)

