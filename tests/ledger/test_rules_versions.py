"""Protocol versions by vote: proposed, approved, replaced and taken back; what each switches, and who must stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.audit.verify import Level, entries_of, verify_chain
from fednode.chain.block import BlockContext, Execution, advance, assemble, compute_params_hash
from fednode.chain.state import Draft
from fednode.codec import Size, decode, encode, pack, tagged
from fednode.errors import Rejected
from fednode.ids import MemberId
from fednode.ledger import rules
from fednode.ledger.bodies import Memo
from fednode.ledger.members.bodies import MemberApprove, MemberPropose, MemberRemove, VersionVote
from fednode.ledger.members.reading import get_candidates, get_versions, version_at
from fednode.ledger.members.records import VersionPlan, VersionSpan
from fednode.ledger.members.version_rules import NOTICE_BLOCKS
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.rules import apply_block
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.transactions import decode_transaction
from fednode.ledger.versions import VERSIONS
from tests.contract.test_store import ChainMaker, MemoryStore
from tests.ledger.sum_world import World
from tests.support.cards import make_card

TWO = {**VERSIONS, 2: replace(VERSIONS[1], summary="candidates wait longer", proposal_lapse_blocks=2000)}


def vote(world: World, member: int, version: int = 2, ahead: int = 20, release: str = "0.6.0") -> VersionVote:
    body = VersionVote(version, world.at.height + ahead, release)
    assert world.post(member, body).ok
    return body


def carry(world: World, body: VersionVote, *members: int) -> None:
    for member in members:
        assert world.post(member, body).ok


def test_a_version_is_decided_by_a_quorum_of_equal_votes() -> None:
    world = World(4)
    first = get_versions(world.state)
    assert (first.current, first.plan, version_at(world.state, 10**6)) == (1, None, 1)
    body = vote(world, 1)
    carry(world, body, 2)
    assert get_versions(world.state).plan is None
    assert world.refused(2, body) == "already-voted"
    carry(world, body, 4)
    record = get_versions(world.state)
    assert (record.plan, record.open) == (VersionPlan(2, body.from_height, "0.6.0"), ())
    assert (version_at(world.state, body.from_height - 1), version_at(world.state, body.from_height)) == (1, 2)
    assert world.refused(3, body) == "nothing-changes"


def test_other_heights_and_releases_are_other_proposals_and_a_member_has_one_vote() -> None:
    world = World(4)
    body = vote(world, 1)
    other, third = replace(body, from_height=body.from_height + 1), replace(body, release="0.7.0")
    carry(world, other, 2, 1)
    carry(world, third, 3)
    open_ = {proposal.plan.from_height: proposal.voters for proposal in get_versions(world.state).open}
    assert open_ == {other.from_height: (1, 2), third.from_height: (3,)}, "the first lost its only vote"
    carry(world, other, 3)
    assert get_versions(world.state).plan == VersionPlan(2, other.from_height, "0.6.0")


def test_notice_is_given_and_what_comes_too_late_lapses() -> None:
    world = World(4)
    late = VersionVote(2, world.at.height + NOTICE_BLOCKS, "0.6.0")  # the next block is one later already
    assert world.refused(1, replace(late, from_height=late.from_height - 1)) == "version-too-soon"
    body = VersionVote(2, world.at.height + NOTICE_BLOCKS + 3, "0.6.0")
    carry(world, body, 1, 2)
    for _ in range(3):
        world.post(1, Memo("time passes"))
    assert world.refused(3, body) == "version-too-soon"
    world.post(1, Memo("and settles"))
    assert get_versions(world.state).open == ()


def test_a_plan_is_replaced_or_taken_back_until_its_height() -> None:
    world = World(4)
    body = vote(world, 1)
    carry(world, body, 2, 3)
    later = replace(body, from_height=body.from_height + 30)
    carry(world, later, 1, 2, 3)
    assert get_versions(world.state).plan == VersionPlan(2, later.from_height, "0.6.0")
    assert world.refused(1, VersionVote(1, body.from_height, "x")) == "nothing-changes"
    carry(world, VersionVote(1, later.from_height, "withdrawn"), 1, 2, 4)
    assert get_versions(world.state).plan is None and version_at(world.state, 10**6) == 1


def test_a_version_comes_into_force_and_never_goes_back() -> None:
    world = World(4)
    body = vote(world, 1)
    carry(world, body, 2, 3)
    world.at = replace(world.at, height=body.from_height)
    state = apply_block(world.state, world.at, [world.sign(1, Memo("the first"))], (), TWO).state
    record = get_versions(state)
    assert (record.spans, record.plan) == ((VersionSpan(1, 1), VersionSpan(2, body.from_height)), None)
    assert (version_at(state, body.from_height - 1), version_at(state, body.from_height)) == (1, 2)
    back = world.sign(1, VersionVote(1, body.from_height + 50, "0.5.0"))
    at = replace(world.at, height=world.at.height + 1)
    assert apply_block(state, at, [back], (), TWO).receipts[0].reason == "version-not-newer"


def test_a_program_without_the_version_refuses_its_blocks() -> None:
    world = World(4)
    body = vote(world, 1)
    carry(world, body, 2, 3)
    memo = world.sign(1, Memo("x"))
    before = replace(world.at, height=body.from_height - 1)
    roots = [apply_block(world.state, before, [memo], (), known).state.root for known in (VERSIONS, TWO)]
    assert roots[0] == roots[1]
    with pytest.raises(Rejected, match="protocol version 2 is not known"):
        apply_block(world.state, replace(world.at, height=body.from_height), [memo])


@pytest.mark.parametrize(("version", "is_open"), [(1, False), (2, True)])
def test_the_table_says_what_a_version_switches(version: int, is_open: bool) -> None:
    world = World(4)
    if version == 2:
        body = vote(world, 1)
        carry(world, body, 2, 3)
    assert world.post(1, MemberPropose(make_card("fifth"))).ok
    world.at = replace(world.at, height=world.at.height + 1500)
    state = apply_block(world.state, world.at, [world.sign(1, Memo("long after"))], (), TWO).state
    assert bool(get_candidates(state)) == is_open


@tagged(201)
@dataclass(frozen=True, slots=True)
class MemoAbout:
    """A memo with a field more than that of version 1: what it is about."""

    text: Annotated[str, Size(1, 256)]
    about: Annotated[str, Size(1, 40)]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is kept of the new field."""

    about: str


def note_subject(draft: Draft, at: BlockTime, sender: MemberId, body: MemoAbout) -> None:
    draft.write(b"subject/" + sender.to_bytes(2, "big"), Subject(body.about))


@pytest.fixture
def with_field() -> Iterator[None]:
    rules.add_kind(MemoAbout, note_subject, {b"subject": (201, Subject)}, since=2)
    yield
    del rules.RULES[MemoAbout], rules.SINCE[MemoAbout], RECORD_TABLE.rows[b"subject"]


def test_a_field_is_added_by_a_version_with_a_height(with_field: None) -> None:
    """The kind with the field is another kind: older bytes stay, and no block before the height may hold it."""
    world = World(4)
    body = vote(world, 1)
    carry(world, body, 2, 3)
    old, new = world.sign(1, Memo("as before")), world.sign(1, MemoAbout("as from now on", "the table"))
    before = replace(world.at, height=body.from_height - 1)
    with pytest.raises(Rejected, match="MemoAbout is a transaction of protocol version 2"):
        apply_block(world.state, before, [new], (), TWO)
    roots = [apply_block(world.state, before, [old], (), known).state.root for known in (VERSIONS, TWO)]
    assert roots[0] == roots[1]
    at = replace(world.at, height=body.from_height)
    for transaction, kept in ((old, None), (new, Subject("the table"))):
        assert decode_transaction(transaction.data) == transaction
        applied = apply_block(world.state, at, [transaction], (), TWO)
        assert applied.receipts[0].ok and applied.state.read(b"subject/\x00\x01", Subject) == kept


def test_votes_of_removed_members_do_not_count() -> None:
    world = World(5)
    body = vote(world, 5)
    carry(world, body, 1, 2)  # 4 of 5 are needed
    assert world.post(1, MemberRemove(5)).ok
    for member in (2, 3, 4):
        world.post(member, MemberApprove(1))
    assert get_versions(world.state).plan is None, "2 of the 4 that are left voted, 3 are needed"
    carry(world, body, 3)
    assert get_versions(world.state).plan is not None


def test_bounds() -> None:
    for fields in ((0, 5, "x"), (256, 5, "x"), (2, -1, "x"), (2, 5, ""), (2, 5, "x" * 41)):
        with pytest.raises(Rejected):
            decode(VersionVote, pack(fields), 1000)
    with pytest.raises(ValueError, match="printable"):
        VersionVote(2, 5, "0.6\n0")


# --- whole chains ------------------------------------------------------------------------------------------------

def upgraded_chain(past: int) -> tuple[ChainMaker, MemoryStore, int]:
    """Return a chain that decided version 2, and has so many blocks of it."""
    maker = ChainMaker(4)
    maker.versions = TWO
    store = MemoryStore(maker.genesis)
    body = VersionVote(2, 14, "0.6.0")

    def block(*bodies: tuple[int, object]) -> None:
        store.append(maker.decide(*(maker.transaction(member, body) for member, body in bodies)))

    block((1, body), (2, body), (3, body))
    while store.tip.height < 13 + past:
        block((1, Memo(f"block {store.tip.height}")))
    return maker, store, 14


@pytest.mark.parametrize("level", list(Level))
def test_a_check_follows_the_version_or_says_what_to_install(level: Level) -> None:
    maker, store, first = upgraded_chain(3)
    assert store.get_block(13).header.params_hash == compute_params_hash(2) != store.get_block(12).header.params_hash
    assert [store.get_block(height).header.version for height in (13, 14, 16)] == [1, 2, 2]
    assert verify_chain(entries_of(store), maker.genesis, level, TWO).is_whole
    report = verify_chain(entries_of(store), maker.genesis, level)
    assert report.is_whole == (level is Level.STORAGE)
    if not report.is_whole:
        assert report.height == first - 1 and "this program knows 1: install fednode" in report.problem


def test_a_block_of_another_version_than_the_one_before_names_is_refused() -> None:
    maker, store, _ = upgraded_chain(0)
    entries = list(entries_of(store))
    tip = store.tip
    done = Execution((), bytes(32), maker.state.root, compute_params_hash(1), tip.members, 1)
    context = BlockContext(tip.chain_id, tip.height + 1, tip.time_ms + 1, tip.proposer(0), ())
    block = assemble(tip, context, done, store.get_certificate(tip.height))
    assert advance(tip, block, tip.members).height == 14
    entry = replace(entries[0], block=block.encoded, certificate=encode(maker.certify(block)), receipts=())
    for known in (VERSIONS, TWO):
        report = verify_chain([*entries, entry], maker.genesis, Level.LINKS, known)
        assert "version 1 is not the protocol version that the block before names" in report.problem


# --- whatever members vote -----------------------------------------------------------------------------------------

ALL = dict.fromkeys(range(1, 7), VERSIONS[1])
CAMPAIGNS = st.lists(
    st.tuples(
        st.integers(1, 3), st.integers(0, 1), st.sampled_from(["a", "a", "b"]),
        st.lists(st.integers(1, 4), min_size=1, max_size=4, unique=True),
    ),
    min_size=4, max_size=16,
)
"""Somebody proposes a version, a height and a release, and some vote for it."""


@pytest.mark.slow
@settings(max_examples=60)
@given(CAMPAIGNS)
def test_versions_only_go_up_and_only_by_a_quorum_that_agrees(
    campaigns: list[tuple[int, int, str, list[int]]]
) -> None:
    """An independent count of the latest vote of each member explains every plan; heights and versions only grow."""
    world = World(4)
    latest: dict[int, VersionPlan] = {}
    votes = [(member, *what) for *what, members in campaigns for member in members]
    for member, version, ahead, release in votes:
        world.at = world.next_time()
        before = get_versions(world.state)
        in_force = version_at(world.state, world.at.height)
        # heights in a few fixed places, so that votes meet
        body = VersionVote(version, (world.at.height // 20) * 20 + 20 + ahead, release)
        applied = apply_block(world.state, world.at, [world.sign(member, body)], (), ALL)
        world.state, after = applied.state, get_versions(applied.state)
        plan = VersionPlan(version, body.from_height, release)
        if applied.receipts[0].ok:
            latest[member] = plan
        spans = [(span.version, span.from_height) for span in after.spans]
        assert spans == sorted(set(spans)) and len({number for number, _ in spans}) == len(spans)
        assert after.current == in_force == version_at(world.state, world.at.height)
        if after.plan is not None:
            assert after.plan.version > after.current and after.plan.from_height > world.at.height
        if after.plan not in (None, before.plan):
            assert sum(vote == after.plan for vote in latest.values()) >= 3, "nobody's plan"
            assert after.plan.from_height >= world.at.height + NOTICE_BLOCKS
        voters = [voter for vote in after.open for voter in vote.voters]
        assert len(voters) == len(set(voters)), "one vote a member"
