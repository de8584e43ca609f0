"""Random scripts as in `test_rules_property`, in a study with proofs: whatever f members post, an honest one is never
faulty, nothing that is not proven is opened, and what is opened is the true sum."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.ids import MemberId, fault_bound
from fednode.ledger.bodies import Body
from fednode.ledger.studies.bodies import StudyAction, StudyVote
from fednode.ledger.studies.records import StudyStatus
from fednode.ledger.sums.checks import Verdict, confirm_shares, judge, open_sums
from fednode.ledger.sums.records import RoundRecord, VoidAttempt
from fednode.sums import bodies
from fednode.sums import field as f
from fednode.sums.bounds import FEW, OUTPUTS
from fednode.sums.phase import Phase
from fednode.sums.redeal import hide_held
from fednode.sums.shares import sharing_degree
from tests.ledger.sum_world import OPENED, World, chain_of, shares_of
from tests.ledger.test_rules_property import Script, people
from tests.ledger.world import TERMS, WORDS
from tests.support.seeds import seed_of


@dataclass
class ProvenScript(Script):
    """`is_bounded`: no more than f members are faulty, so everything that is promised must hold."""

    is_bounded: bool = True
    coin_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    dealt_lies: set[int] = field(default_factory=set)

    def make_world(self, changes: dict[str, Any]) -> World:
        world = World(size=self.size, terms=replace(TERMS, **changes))
        for liar in self.liars:
            if self.random.random() < 0.5:
                world.liars.add(liar)
            for other in world.members:
                if self.random.random() < 0.4:
                    world.garbled.add((int(other), liar))  # what it answers to others' proofs
                if self.random.random() < 0.3:
                    world.cut_off.add((liar, int(other)))  # whom its boxes do not reach
                if self.random.random() < 0.3:
                    world.cut_off.add((int(other), liar))
                if self.random.random() < 0.5:
                    world.unsure.add((int(other), liar))
                if self.random.random() < 0.3:
                    self.random.choice([world.off, world.unreadable, world.kept]).add((liar, int(other)))
            if self.random.random() < 0.5:
                world.silent_witness.add(liar)
            if self.random.random() < 0.5:
                world.bad_openings.add(liar)
            if self.random.random() < 0.5:
                world.sum_check[liar] = self.random.randrange(3)
            if self.random.random() < 0.4:
                self.random.choice([world.spoilers, world.sketchers]).add(liar)
                world.kept_back |= {(liar, int(m)) for m in world.members if self.random.random() < 0.4}
        return world

    def lie(self, member: int) -> Body | None:
        world, draw = self.world, self.random
        assert isinstance(world, World)
        if not world.is_round_open or draw.random() < 0.3:
            return None
        place = world.place()
        match Phase(world.phase.kind):
            case Phase.COIN:
                chain = chain_of(draw.choice([member, draw.randint(1, self.size)]))
                return bodies.Coin(*place, chain.link(max(1, world.attempt.coin_index + draw.randint(-1, 1))))
            case Phase.SHARE:
                return bodies.ShareRoot(*place, draw.randbytes(1024), draw.randbytes(32), draw.randbytes(32))
            case Phase.PROOF:
                count = len(world.round.attempt.included) + draw.choice([0, 0, 0, 1])
                kinds = [b"\xff" * FEW.answer_bytes, draw.randbytes(FEW.answer_bytes), bytes(FEW.answer_bytes)]
                data = b"".join(draw.choice(kinds) for _ in range(count))
                return bodies.Proof(*place, draw.choice([0, 0, 0, 1]), draw.randrange(3), data)
            case Phase.RECHECK:
                return self.accuse(world)
            case Phase.REDEAL | Phase.CONFIRM | Phase.EXPOSE:
                return self.dispute(world, member)
            case Phase.REVEAL:
                honest = world.owed(member)
                if isinstance(honest, bodies.Reveal) and draw.random() < 0.7:
                    opening = draw.choice([None, bytes(8 * OPENED), draw.randbytes(8 * OPENED), honest.opening])
                    return replace(honest, opening=opening)
                return super().lie(member)
            case _:
                return super().lie(member)

    def dispute(self, world: World, member: int) -> Body:
        """Boxes, answers and openings of every kind, in their phase or another."""
        draw, place, other = self.random, world.place(), MemberId(self.random.randint(1, self.size))
        pairs = [*world.attempt.disputes, (MemberId(member), other)]
        dealer, holder = draw.choice(pairs)
        count = len({dealer for dealer, _ in world.attempt.disputes}) + draw.choice([0, 0, 0, 1])
        match draw.choice([world.phase.kind, *(Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE)]):
            case Phase.REDEAL:
                self.dealt_lies.add(member)
                held = f.expand(draw.randbytes(16), FEW.held_bytes(WORDS) // 8)
                box = hide_held(held, world.shared_point(member, holder), world.context, member, holder)
                box = draw.choice([box, draw.randbytes(FEW.held_bytes(WORDS)), bytes(8)])
                return bodies.Redeal(*place, holder, box)
            case Phase.CONFIRM:
                kinds = [b"\xff" * FEW.confirm_bytes, f.to_bytes(f.expand(draw.randbytes(16), FEW.repetitions))]
                return bodies.Confirm(*place, b"".join(draw.choice(kinds) for _ in range(max(1, count))))
            case _:
                body = world.expose(dealer, member)
                shared = draw.choice([body.shared, body.shared, world.shared_point(dealer, other)])
                return replace(body, shared=shared)

    def accuse(self, world: World) -> bodies.Recheck:
        """All liars find the same, which is not so, or accuse whom they like."""
        attempt, draw = world.round.attempt, self.random
        victims = draw.sample(world.members, draw.randint(0, max(1, world.round.fault_bound)))
        chunks = tuple((n, seed_of("lie", n)) for n, chunk in enumerate(attempt.chunks) if chunk.owner in victims)
        sketches = tuple((m, seed_of("lie", m)) for m in sorted(victims) if draw.random() < 0.5)
        withheld = tuple(sorted(victims)) if draw.random() < 0.5 else ()
        return bodies.Recheck(*world.place(), chunks, sketches, withheld)

    def is_explained(self, void: VoidAttempt) -> bool:
        """In RECHECK, too, somebody is lost, as long as nobody lies but f."""
        late = (Phase.RECHECK, Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE)
        return bool(void.dropped) or void.phase == Phase.PROOF or (void.phase in late and not self.is_bounded)

    def rejoin(self, member: int) -> Body | None:
        """Where more are kept out than there may be liars, people must let them back in."""
        life = self.world.life
        kept_out = life.kept_out if life.status == StudyStatus.WAITING and not self.is_bounded else None
        if kept_out is not None and member not in kept_out.readmit_votes:
            return StudyVote(self.world.study, StudyAction.READMIT)
        return super().rejoin(member)

    def check_faulty(self, faulty: tuple[int, ...]) -> None:
        if self.is_bounded:
            assert isinstance(self.world, World)
            liars = self.world.liars | self.world.spoilers | self.world.sketchers | self.dealt_lies
            liars |= {dealer for dealer, _ in self.world.off | self.world.unreadable}
            assert liars <= self.liars
            assert set(faulty) <= liars, "an honest member is faulty"

    def check_round(self, record: RoundRecord) -> None:
        super().check_round(record)
        assert not set(self.world.life.faulty_members).intersection(record.attempt.holders), "faulty, and still in"
        world, attempt = self.world, record.attempt
        assert isinstance(world, World)
        if record.is_unmasked:
            assert attempt.coin is not None and attempt.query_seed is not None
            if self.is_bounded:
                assert not world.liars.intersection(record.attempt.included), "what was not proven was unmasked"
                assert len(attempt.openers) >= record.threshold
            if self.is_bounded and not self.slow:
                assert set(record.attempt.present) - self.liars <= set(attempt.openers), "an honest member cannot open"
        if not attempt.is_frozen:
            assert record.phase.kind in range(Phase.SUMACK + 1)
            return
        assert record.is_unmasked or not attempt.openings, "a sketch was opened before the Unmask"
        assert (attempt.coin is None) == (record.phase.kind == Phase.COIN)
        assert record.coins is not None and attempt.coin_index == record.coins.opened
        place = (record.number, record.attempt.number)
        assert self.coin_of.setdefault(attempt.coin_index, place) == place, "a link served two coins"
        if attempt.sum_opened is not None and self.is_bounded:
            assert attempt.sum_opened == f.to_bytes(world.sums())

    def honest_out(self) -> set[int]:
        return {member for member in self.was_absent if member not in self.liars | self.slow}


@dataclass
class DisputeScript(ProvenScript):
    """Liars behave until the proofs, so that every attempt comes to what they deal, dispute, confirm and expose."""

    def __post_init__(self) -> None:
        super().__post_init__()
        world = self.world
        assert isinstance(world, World)
        scripts = (world.wrong_shares, world.kept_chunks, world.kept_sums, world.liars, world.spoilers, world.sketchers)
        for script in (*scripts, world.kept_back, world.sum_check, world.cut_off, world.garbled):
            script.clear()
        for liar in self.liars:
            for other in self.random.sample(world.members, fault_bound(self.size)):
                self.random.choice([world.cut_off, world.garbled]).add((liar, int(other)))
            for other in self.random.sample(world.members, self.random.randint(0, fault_bound(self.size))):
                world.garbled.add((int(other), liar))

    def lie(self, member: int) -> Body | None:
        late = (Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE, Phase.REVEAL)
        if self.world.is_round_open and self.world.phase.kind in late:
            return super().lie(member)
        return self.world.owed(member)


@st.composite
def scripts(draw: st.DrawFn, is_bounded: bool, kind: type[ProvenScript] = ProvenScript) -> ProvenScript:
    size = draw(st.sampled_from([3, 4, 4, 5, 6, 7]))
    most = fault_bound(size) if is_bounded else size
    liars = draw(people(size, most))
    slow = draw(people(size, most - len(liars)))
    seed, rounds = draw(st.integers(0, 2**32)), draw(st.integers(1, 2))
    return kind(seed, size, liars, slow - liars, rounds, is_bounded=is_bounded)


def run_bounded(script: ProvenScript) -> None:
    script.play()
    assert not script.honest_out(), "a prompt honest member was recorded absent"


@given(scripts(is_bounded=True))
@settings(max_examples=6)
def test_an_honest_member_is_never_faulty(script: ProvenScript) -> None:
    run_bounded(script)


@given(scripts(is_bounded=True, kind=DisputeScript))
@settings(max_examples=6)
def test_who_dealt_rightly_is_never_exposed_and_all_honest_open(script: ProvenScript) -> None:
    run_bounded(script)


@given(scripts(is_bounded=False))
@settings(max_examples=4)
def test_whatever_members_do_no_rule_is_broken(script: ProvenScript) -> None:
    script.play()


@pytest.mark.slow
@given(scripts(is_bounded=True))
@settings(max_examples=120)
def test_an_honest_member_is_never_faulty_at_length(script: ProvenScript) -> None:
    run_bounded(script)


@pytest.mark.slow
@given(scripts(is_bounded=True, kind=DisputeScript))
@settings(max_examples=120)
def test_who_dealt_rightly_is_never_exposed_and_all_honest_open_at_length(script: ProvenScript) -> None:
    run_bounded(script)


@pytest.mark.slow
@given(scripts(is_bounded=False, kind=DisputeScript))
@settings(max_examples=60)
def test_whatever_members_do_in_disputes_no_rule_is_broken_at_length(script: ProvenScript) -> None:
    script.play()


@pytest.mark.slow
@given(scripts(is_bounded=False))
@settings(max_examples=60)
def test_whatever_members_do_no_rule_is_broken_at_length(script: ProvenScript) -> None:
    script.play()


# --- one verdict -------------------------------------------------------------------------------------------------

@st.composite
def told(draw: st.DrawFn) -> tuple[int, tuple[tuple[int, bytes], ...], int]:
    """(N, answers about an honest dealer, how many honest holders did not get its boxes): up to f holders lie."""
    size = draw(st.sampled_from([3, 4, 5, 6, 7, 10]))
    liars = draw(people(size, fault_bound(size)))
    late = draw(people(size, size)) - liars
    true = f.from_integers([0] * (FEW.answer_bytes // 8))
    answers = []
    for holder in range(1, size + 1):
        data = f.to_bytes(shares_of(true, sharing_degree(size), holder, draw(st.just("dealer"))))
        if holder in liars:
            lie = draw(st.sampled_from(["nothing", "random", "one word", "the truth", "another dealing"]))
            if lie == "nothing":
                data = b"\xff" * FEW.answer_bytes
            elif lie == "random":
                data = f.to_bytes(f.expand(holder.to_bytes(16, "big"), FEW.answer_bytes // 8))
            elif lie == "one word":
                at = 8 * draw(st.integers(0, FEW.answer_bytes // 8 - 1))
                data = data[:at] + bytes(8) + data[at + 8 :]
            elif lie == "another dealing":
                false = f.from_integers([0] * (FEW.answer_bytes // 8 - 2) + [1, 0])
                data = f.to_bytes(shares_of(false, sharing_degree(size), holder, "dealer"))
        elif holder in late:
            data = b"\xff" * FEW.answer_bytes
        answers.append((holder, data))
    return size, tuple(answers), len(late)


@given(told())
@settings(max_examples=150)
def test_f_lying_holders_never_get_an_honest_dealer_out(case: tuple[int, tuple[tuple[int, bytes], ...], int]) -> None:
    size, answers, late = case
    judged = judge(answers, size)  # type: ignore[arg-type]
    assert judged.verdict is not Verdict.FALSE
    if not late:
        assert judged.verdict is Verdict.PROVEN and len(judged.holders) >= size - fault_bound(size)


@given(st.sampled_from([3, 4, 7, 10]), st.data())
@settings(max_examples=60)
def test_f_lying_holders_never_change_or_block_an_opening(size: int, data: st.DataObject) -> None:
    liars = data.draw(people(size, fault_bound(size)))
    values = f.from_integers([(-1) ** k * k for k in range(OUTPUTS)] + [77, 5, 0, 2**63 - 1])
    openings = []
    for holder in range(1, size + 1):
        if holder in liars and data.draw(st.booleans()):
            continue
        share = shares_of(values, sharing_degree(size), holder, "sums")
        share = f.expand(bytes([holder]) * 16, OPENED) if holder in liars else share
        openings.append((holder, f.to_bytes(share)))
    opened = open_sums(tuple(openings), WORDS, size)  # type: ignore[arg-type]
    assert opened == f.to_bytes(values)


@given(st.sampled_from([4, 5, 7, 10]), st.data())
@settings(max_examples=30)
def test_f_lying_members_never_change_or_block_what_an_honest_dealer_is_held_against(
    size: int, data: st.DataObject
) -> None:
    """Whatever they answer, the polynomial at every place is that of the shares it dealt: it is never exposed."""
    liars = data.draw(people(size, fault_bound(size)))
    degree, secret = sharing_degree(size), f.expand(bytes(16), FEW.repetitions)
    other = f.expand(b"1" * 16, FEW.repetitions)
    told = []
    for member in range(1, size + 1):
        answer = f.to_bytes(shares_of(secret, degree, member, "confirm"))
        if member in liars:
            lies = [b"\xff" * FEW.confirm_bytes, answer, f.to_bytes(shares_of(other, degree, member, "bent"))]
            noise = st.binary(min_size=FEW.confirm_bytes, max_size=FEW.confirm_bytes)
            answer = data.draw(st.sampled_from([*lies, None]) | noise)
        if answer is not None:
            told.append((MemberId(member), answer))
    places = tuple(MemberId(member) for member in range(1, size + 1))
    answers = confirm_shares(tuple(told), places, size)
    assert answers == tuple(f.to_bytes(shares_of(secret, degree, member, "confirm")) for member in places)
