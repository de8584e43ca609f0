"""Members by vote: invited, observed, approved; removed; keys and addresses; roles; flags."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fednode.chain.state import State
from fednode.chain.vote import NO_VIEW, PREVOTE, Vote, make_evidence
from fednode.crypto import Domain, Ed25519Signer, Secret
from fednode.errors import Rejected
from fednode.ids import Height, MemberId, View
from fednode.ledger.members.bodies import (
    MemberAddresses,
    MemberApprove,
    MemberPropose,
    MemberRemove,
    MemberReport,
    MemberRotate,
    Role,
    RoleVote,
)
from fednode.ledger.members.identity import IdentityCard
from fednode.ledger.members.reading import (
    find_member,
    get_candidates,
    get_flag,
    get_members,
    get_membership,
    has_role,
    is_key_used,
)
from fednode.ledger.members.records import ProposalRecord
from fednode.ledger.members.rules import ENTRY_BLOCKS, ENTRY_MS, rotation_message
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.rules import apply_block
from fednode.ledger.studies.bodies import Expire, StudyAction, StudyPause, StudyVote
from fednode.ledger.studies.records import StudyStatus
from fednode.ledger.versions import VERSIONS
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, started
from tests.support.cards import make_card
from tests.support.seeds import seed_of


def numbers(world: World) -> list[int]:
    return [record.member for record in get_members(world.state)]


def signer_of(name: str) -> Ed25519Signer:
    return Ed25519Signer(Secret(seed_of(name, "sign")))


def invite(world: World, name: str, sender: int = 1) -> tuple[MemberId, int, IdentityCard]:
    """Propose a new hospital; return its number and that of the proposal."""
    card = make_card(name)
    receipt = world.post(sender, MemberPropose(card))
    assert receipt.ok, receipt.reason
    found = next(c for c in get_candidates(world.state) if c.card == card)
    world.signers[found.member] = signer_of(name)
    return found.member, found.proposal.number, card


def report(world: World, card: IdentityCard) -> MemberReport:
    return MemberReport(card.sign_key, world.at.height, world.state.root)


def admit(world: World, name: str) -> MemberId:
    member, proposal, card = invite(world, name)
    assert world.post(member, report(world, card)).ok
    needed = 2 * len(numbers(world)) // 3 + 1
    for voter in numbers(world)[:needed]:
        assert world.post(voter, MemberApprove(proposal)).ok
    assert world.post(member, report(world, card)).ok
    world.members = [MemberId(m) for m in numbers(world)]
    world.size = len(world.members)
    return member


def approve(world: World, proposal: int, *voters: int) -> None:
    """Vote, all in one block."""
    assert all(receipt.ok for receipt in world.block(*((voter, MemberApprove(proposal)) for voter in voters)))


def observed(world: World, name: str) -> tuple[MemberId, int, IdentityCard]:
    """Return a candidate that has reported."""
    member, proposal, card = invite(world, name)
    assert world.post(member, report(world, card)).ok
    return member, proposal, card


def record_of(world: World, proposal: int) -> ProposalRecord:
    found = get_membership(world.state).proposal(proposal)
    assert found is not None
    return found


def remove(world: World, target: int, *voters: int) -> None:
    assert world.post(voters[0], MemberRemove(MemberId(target))).ok
    number = get_membership(world.state).proposals[-1].number
    for voter in voters[1:]:
        assert world.post(voter, MemberApprove(number)).ok


def test_a_fifth_hospital_is_invited_observed_and_approved() -> None:
    world = World(4)
    member, proposal, card = invite(world, "fifth")
    assert (member, numbers(world), find_member(world.state, card.sign_key)) == (5, [1, 2, 3, 4], 5)
    assert world.refused(1, MemberApprove(proposal)) == "not-observed"
    assert world.post(member, report(world, card)).ok
    assert world.post(1, MemberApprove(proposal)).ok
    assert world.refused(1, MemberApprove(proposal)) == "already-voted"
    assert world.post(2, MemberApprove(proposal)).ok
    assert numbers(world) == [1, 2, 3, 4]
    assert world.post(4, MemberApprove(proposal)).ok
    assert numbers(world) == [1, 2, 3, 4], "no vote alone makes a member"
    assert world.post(member, report(world, card)).ok
    assert numbers(world) == [1, 2, 3, 4, 5]
    assert get_membership(world.state).proposals == ()
    assert world.post(5, StudyVote(world.study, StudyAction.STOP)).ok


def test_the_change_holds_from_the_next_block_on() -> None:
    world = World(4)
    member, proposal, card = invite(world, "fifth")
    world.post(member, report(world, card))
    approve(world, proposal, 1, 2, 3)
    here = world.sign(member, report(world, card))
    early = world.sign(member, StudyVote(world.study, StudyAction.STOP))
    with pytest.raises(Rejected, match="stranger"):
        apply_block(world.state, world.next_time(), [here, early])
    applied = apply_block(world.state, world.next_time(), [here])
    assert len(get_members(applied.state)) == 5
    assert not any(open_.is_here for open_ in get_membership(applied.state).proposals)


def test_a_candidate_may_only_report_and_only_what_it_computed() -> None:
    world = World(4)
    member, _, card = invite(world, "fifth")
    for body in (MemberApprove(1), StudyPause(world.study), MemberReport(make_card("x").sign_key, 1, bytes(32))):
        with pytest.raises(Rejected, match="stranger"):
            apply_block(world.state, world.next_time(), [world.sign(member, body)])
    right = report(world, card)
    assert world.refused(member, replace(right, state_root=bytes(32))) == "wrong-root"
    assert world.refused(member, replace(right, height=right.height + 1)) == "wrong-root"
    assert world.post(member, right).ok
    assert world.refused(member, right) == "already-posted"


def test_an_old_root_is_no_report() -> None:
    world = World(4)
    member, _, card = invite(world, "fifth")
    old = report(world, card)
    for number in range(64):
        world.post(1, StudyVote(world.study, 3 + number % 2))
    assert world.refused(member, old) == "wrong-root"


def test_cards_without_proof_and_used_keys_are_refused() -> None:
    world = World(4)
    good = make_card("fifth")
    assert world.refused(1, MemberPropose(replace(good, addresses=("/ip4/6.6.6.6/tcp/1",)))) == "bad-card"
    assert world.refused(1, MemberPropose(replace(good, network_proof=bytes(64)))) == "bad-card"
    assert world.refused(1, MemberPropose(world.genesis.members[2])) == "key-used"
    invite(world, "fifth")
    assert world.refused(2, MemberPropose(good)) == "key-used"


def test_numbers_and_keys_are_never_reused() -> None:
    world = World(4)
    member = admit(world, "fifth")
    remove(world, member, 1, 2, 3, 4)
    assert numbers(world) == [1, 2, 3, 4]
    assert world.refused(1, MemberPropose(make_card("fifth"))) == "key-used"
    assert admit(world, "sixth") == 6
    with pytest.raises(Rejected, match="stranger"):
        apply_block(world.state, world.next_time(), [world.sign(5, StudyPause(world.study))])


def test_never_below_four_and_the_target_counts() -> None:
    world = World(4)
    assert world.refused(1, MemberRemove(MemberId(2))) == "few-members-left"
    admit(world, "fifth")
    assert world.refused(1, MemberRemove(MemberId(9))) == "not-a-member"
    remove(world, 5, 1, 2, 3)
    assert len(numbers(world)) == 5, "3 of 5 are no quorum: the target stays in the count"
    assert world.refused(4, MemberRemove(MemberId(5))) == "nothing-changes"
    assert world.post(4, MemberApprove(get_membership(world.state).proposals[-1].number)).ok
    assert numbers(world) == [1, 2, 3, 4]


def test_a_word_from_before_the_approval_admits_nobody() -> None:
    world = World(4)
    member, proposal, card = observed(world, "fifth")
    invite(world, "sixth")  # owes a report, so the ledger keeps roots meanwhile
    old = report(world, card)
    approve(world, proposal, 1, 2)
    assert world.refused(member, report(world, card)) == "already-posted"
    approve(world, proposal, 3)
    assert world.refused(member, old) == "before-approval"
    assert world.refused(member, replace(report(world, card), state_root=bytes(32))) == "wrong-root"
    first = record_of(world, proposal).approved
    assert first is not None and first.height == world.at.height - 2
    approve(world, proposal, 4)
    assert record_of(world, proposal).approved == first, "a vote too many does not give it more time"
    assert world.post(member, report(world, card)).ok
    assert numbers(world) == [1, 2, 3, 4, 5]


def test_the_word_names_the_state_after_the_vote_and_never_waits_in_its_block() -> None:
    world = World(4)
    member, proposal, card = observed(world, "fifth")
    receipts = world.block(*((voter, MemberApprove(proposal)) for voter in (1, 2, 3)), (member, report(world, card)))
    assert [receipt.reason for receipt in receipts] == ["", "", "", "already-posted"]
    assert world.post(member, report(world, card)).ok
    assert numbers(world) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("blocks", "ms", "is_in"), [
    (ENTRY_BLOCKS, ENTRY_MS, True), (ENTRY_BLOCKS + 1, ENTRY_MS, False), (ENTRY_BLOCKS, ENTRY_MS + 1, False),
])
def test_approvals_lapse_with_blocks_and_with_time(blocks: int, ms: int, is_in: bool) -> None:
    world = World(4)
    member, proposal, card = observed(world, "fifth")
    approve(world, proposal, 1, 2, 3)
    approved = world.at
    world.at = replace(approved, height=approved.height + blocks - 2, time_ms=approved.time_ms + ms // 2)
    world.post(1, StudyVote(world.study, StudyAction.STOP))
    word = report(world, card)
    step = world.next_time().time_ms - world.at.time_ms
    world.at = replace(world.at, time_ms=approved.time_ms + ms - step)
    assert world.post(member, word).ok
    assert (world.at.height, world.at.time_ms) == (approved.height + blocks, approved.time_ms + ms)
    assert (5 in numbers(world)) == is_in
    if not is_in:  # the word shows that it follows, and everybody may vote anew
        assert world.refused(member, report(world, card)) == "already-posted"
        found = record_of(world, proposal)
        assert (found.approvals, found.approved) == ((), None) and found.report is not None
        approve(world, proposal, 1, 2, 3)
        assert numbers(world) == [1, 2, 3, 4]
        assert world.post(member, report(world, card)).ok
        assert 5 in numbers(world)


def test_who_does_not_come_must_show_itself_before_it_is_approved_again() -> None:
    world = World(4)
    member, proposal, card = observed(world, "fifth")
    approve(world, proposal, 1, 2, 3)
    world.at = replace(world.at, height=world.at.height + ENTRY_BLOCKS)
    world.post(1, StudyVote(world.study, StudyAction.STOP))
    assert record_of(world, proposal).report is None
    assert world.refused(1, MemberApprove(proposal)) == "not-observed"
    assert world.post(member, report(world, card)).ok
    approve(world, proposal, 1, 2, 4)
    assert world.post(member, report(world, card)).ok
    assert 5 in numbers(world)


def test_an_approved_candidate_outlives_its_invitation_for_as_long_as_it_may_come() -> None:
    world = World(4)
    member, proposal, card = observed(world, "fifth")
    lapse = VERSIONS[1].proposal_lapse_blocks
    world.at = replace(world.at, height=record_of(world, proposal).height + lapse - 2)
    approve(world, proposal, 1, 2, 3)
    world.at = replace(world.at, height=world.at.height + 50)
    world.post(1, StudyVote(world.study, StudyAction.STOP))
    assert world.post(member, report(world, card)).ok
    assert 5 in numbers(world)


def test_approved_candidates_that_are_gone_change_nothing() -> None:
    world = World(4)
    for name in ("fifth", "sixth"):
        approve(world, observed(world, name)[1], 1, 2, 3, 4)
    assert numbers(world) == [1, 2, 3, 4]
    assert world.post(1, StudyVote(world.study, StudyAction.STOP)).ok
    world.at = replace(world.at, height=world.at.height + 2 * VERSIONS[1].proposal_lapse_blocks)
    world.post(2, StudyVote(world.study, StudyAction.STOP))  # the approvals lapse, then the invitations
    assert (numbers(world), get_candidates(world.state)) == ([1, 2, 3, 4], ())


def test_at_most_one_change_per_block_and_the_second_counts_again() -> None:
    world = World(4)
    fifth, sixth = observed(world, "fifth"), observed(world, "sixth")
    world.block(*((voter, MemberApprove(p)) for p in (fifth[1], sixth[1]) for voter in (1, 2, 3)))
    receipts = world.block((6, report(world, sixth[2])), (5, report(world, fifth[2])))
    assert [receipt.reason for receipt in receipts] == ["", "members-change-due"]
    assert numbers(world) == [1, 2, 3, 4, 6]
    assert world.refused(5, report(world, fifth[2])) == "not-approved", "three of five are no quorum"
    assert world.post(6, MemberApprove(fifth[1])).ok
    assert world.refused(5, replace(report(world, fifth[2]), height=world.at.height - 1)) == "wrong-root"
    assert world.post(5, report(world, fifth[2])).ok
    assert numbers(world) == [1, 2, 3, 4, 5, 6], "four of five"


def test_the_approvals_are_counted_by_the_set_of_the_block_of_the_word() -> None:
    world = World(4)
    fifth, sixth = observed(world, "fifth"), observed(world, "sixth")
    world.block(*((voter, MemberApprove(p)) for p in (fifth[1], sixth[1]) for voter in (1, 2, 3)))
    assert world.post(5, report(world, fifth[2])).ok
    assert record_of(world, sixth[1]).approved is not None, "three of four, when it was counted"
    assert world.refused(6, report(world, sixth[2])) == "not-approved"
    assert record_of(world, sixth[1]).approved is None
    assert world.post(5, MemberApprove(sixth[1])).ok
    assert world.post(6, report(world, sixth[2])).ok
    assert numbers(world) == [1, 2, 3, 4, 5, 6]


def test_a_removal_waits_for_who_comes_in() -> None:
    world = World(4)
    admit(world, "fifth")
    member, proposal, card = observed(world, "sixth")
    approve(world, proposal, 1, 2, 3, 5)
    assert world.post(1, MemberRemove(MemberId(4))).ok
    number = get_membership(world.state).proposals[-1].number
    votes = [(voter, MemberApprove(number)) for voter in (2, 3, 5)]
    assert all(r.ok for r in world.block(*votes, (member, report(world, card))))
    assert numbers(world) == [1, 2, 3, 4, 5, 6]
    assert world.post(6, MemberApprove(number)).ok
    assert numbers(world) == [1, 2, 3, 5, 6]


def test_who_comes_in_waits_for_a_rotation() -> None:
    world = World(4)
    member, proposal, card = observed(world, "fifth")
    approve(world, proposal, 1, 2, 3)
    name = get_members(world.state)[0].name
    receipts = world.block((1, rotation(world, 1, name, "new-1")), (member, report(world, card)))
    assert [receipt.reason for receipt in receipts] == ["", "members-change-due"]
    name = get_members(world.state)[1].name
    receipts = world.block((member, report(world, card)), (2, rotation(world, 2, name, "new-2")))
    assert [receipt.reason for receipt in receipts] == ["", "members-change-due"]
    assert numbers(world) == [1, 2, 3, 4, 5]


def test_votes_of_a_removed_member_do_not_count() -> None:
    world = World(4)
    admit(world, "fifth")
    member, proposal, card = invite(world, "sixth")
    world.post(member, report(world, card))
    for voter in (5, 1, 2):
        assert world.post(voter, MemberApprove(proposal)).ok
    remove(world, 5, 1, 2, 3, 4)
    world.post(4, StudyPause(world.study))
    assert record_of(world, proposal).approved is None, "two of four votes are left"
    assert world.post(3, MemberApprove(proposal)).ok
    assert world.post(member, report(world, card)).ok
    assert numbers(world) == [1, 2, 3, 4, 6]


def test_an_approval_ends_when_those_who_gave_it_leave() -> None:
    world = World(7)
    member, proposal, card = observed(world, "eighth")
    approve(world, proposal, 1, 2, 3, 4, 7)
    assert record_of(world, proposal).approved is not None
    remove(world, 7, 1, 2, 3, 4, 5)
    assert world.refused(member, report(world, card)) == "not-approved", "four of six"
    assert record_of(world, proposal).approved is None
    approve(world, proposal, 5)
    again = record_of(world, proposal).approved
    assert again is not None and again.height == world.at.height
    assert world.post(member, report(world, card)).ok
    assert numbers(world) == [1, 2, 3, 4, 5, 6, 8]


def test_proposals_lapse_and_are_bounded() -> None:
    world = World(4)
    for number in range(4):
        invite(world, f"candidate-{number}")
    assert world.refused(1, MemberPropose(make_card("candidate-4"))) == "too-many-proposals"
    world.at = replace(world.at, height=world.at.height + VERSIONS[1].proposal_lapse_blocks)
    assert get_candidates(world.state)
    world.post(2, StudyPause(world.study))
    assert get_candidates(world.state) == ()
    assert invite(world, "later")[0] == 9


def test_a_new_member_joins_the_next_round_and_the_open_one_keeps_its_numbers() -> None:
    world = started(4)
    assert (world.phase.kind, world.round.members) == (Phase.KEYS, (1, 2, 3, 4))
    admit(world, "fifth")
    assert world.round.members == (1, 2, 3, 4)
    assert world.round.threshold == 3
    assert world.post(5, world.ready(5)).ok
    assert world.round.expected == (1, 2, 3, 4)
    number = world.phase.number
    place = Expire(*world.place(), number)
    assert world.refused(5, place) == "not-in-phase"
    assert [entry.member for entry in world.life.ready] == [1, 2, 3, 4, 5]


def test_a_removed_member_is_not_expected_any_more() -> None:
    world = World(4)
    admit(world, "fifth")
    world.ready_all(1, 2, 3, 5)
    assert world.life.status == StudyStatus.WAITING
    remove(world, 5, 1, 2, 3, 4)
    assert world.life.ready_members == (1, 2, 3)


def test_a_removed_member_is_not_waited_for_and_its_votes_go() -> None:
    world = World(6)
    world.ready_all(1, 2, 3, 4)
    world.begin_without(5, voters=(1, 2, 3, 6))
    assert not world.is_round_open
    remove(world, 6, 1, 2, 3, 4, 5)
    assert world.life.hospitals == (1, 2, 3, 4, 5)
    assert world.life.beginning is not None and world.life.beginning.voters(5) == (1, 2, 3)
    assert not world.is_round_open, "three of five are no quorum"
    world.begin_without(5, voters=(4,))
    assert world.round.expected == (1, 2, 3, 4)


def test_a_removal_lets_a_study_begin_that_waited_for_that_member_alone() -> None:
    world = World(5)
    world.ready_all(1, 2, 3, 4)
    remove(world, 5, 1, 2, 3, 4)
    assert world.round.expected == (1, 2, 3, 4)


def rotation(world: World, member: int, old: str, new: str) -> MemberRotate:
    card = replace_name(new, next(c for c in world.genesis.members if c.name == old).name)
    message = rotation_message(world.chain_id, MemberId(member), card)
    return MemberRotate(card, signer_of(new).sign(Domain.IDENTITY_CARD, message))


def replace_name(seed: str, name: str) -> IdentityCard:
    """A card named `name` with the keys of `seed`."""
    from fednode.ledger.members.identity import make_identity_card

    return make_identity_card(
        name, ("/ip4/127.0.0.1/tcp/4001",), signer_of(seed), Ed25519Signer(Secret(seed_of(seed, "network")))
    )


def test_keys_rotate_with_old_and_new_key() -> None:
    world = World(4)
    name = get_members(world.state)[1].name
    body = rotation(world, 2, name, "renewed")
    old_key = get_members(world.state)[1].sign_key
    assert world.refused(3, body) == "name-alike"
    assert world.refused(2, replace(body, new_signature=bytes(64))) == "bad-card"
    assert world.post(2, body).ok
    assert get_members(world.state)[1].sign_key == body.card.sign_key
    assert is_key_used(world.state, old_key)
    assert world.refused(1, MemberPropose(make_card(name))) == "key-used"


def test_two_rotations_wait_for_each_other() -> None:
    world = World(4)
    names = [record.name for record in get_members(world.state)]
    receipts = world.block(
        (1, rotation(world, 1, names[0], "new-1")), (2, rotation(world, 2, names[1], "new-2"))
    )
    assert [receipt.reason for receipt in receipts] == ["", "members-change-due"]


def test_addresses_are_announced_by_the_member() -> None:
    world = World(4)
    assert world.post(3, MemberAddresses(("/dns4/new.example/tcp/7700",))).ok
    assert get_members(world.state)[2].addresses == ("/dns4/new.example/tcp/7700",)
    assert world.refused(3, MemberAddresses(("/dns4/new.example/tcp/7700",))) == "nothing-changes"
    assert world.refused(3, MemberAddresses(("nowhere",))) == "bad-card"


def test_roles_need_q_votes_either_way() -> None:
    world = World(4)
    key = signer_of("auditor").public_key
    grant, revoke = RoleVote(Role.AUDITOR, key, True), RoleVote(Role.AUDITOR, key, False)
    assert world.refused(1, revoke) == "nothing-changes"
    for voter in (1, 2):
        assert world.post(voter, grant).ok
    assert world.refused(2, grant) == "already-voted"
    assert not has_role(world.state, key, Role.AUDITOR)
    assert world.post(3, grant).ok
    assert has_role(world.state, key, Role.AUDITOR)
    assert not has_role(world.state, key, Role.OPERATOR)
    for voter in (2, 3, 4):
        assert has_role(world.state, key, Role.AUDITOR)
        assert world.post(voter, revoke).ok
    assert not has_role(world.state, key, Role.AUDITOR)
    assert has_role(world.state, get_members(world.state)[0].sign_key, Role.HOSPITAL)
    with pytest.raises(ValueError, match="role"):
        RoleVote(9, key, True)
    with pytest.raises(ValueError, match="wallet"):
        RoleVote(1, bytes(21), True)


def test_evidence_flags_the_member() -> None:
    world = World(4)
    votes = [
        Vote(PREVOTE, Height(1), View(0), NO_VIEW, bytes([value]) * 32, MemberId(3), bytes(64)) for value in (1, 2)
    ]
    applied = apply_block(world.state, world.next_time(), [], [make_evidence(*votes)])
    flag = get_flag(applied.state, 3)
    assert (flag.count, flag.offences[0].height, flag.offences[0].recorded_height) == (1, 1, 1)
    assert get_flag(applied.state, 2) is None
    assert len(get_members(applied.state)) == 4


STEPS = st.lists(
    st.tuples(
        st.integers(1, 7), st.sampled_from(["invite", "report", "approve", "approve", "remove", "rotate"]),
        st.integers(0, 7),
    ),
    min_size=10, max_size=40,
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@example([  # the second candidate is admitted before the first
    (1, "invite", 0), (1, "invite", 1), (1, "report", 0), (1, "report", 1), (1, "approve", 1), (1, "approve", 0),
    (1, "report", 1), (1, "approve", 0), (1, "report", 0),
])
@given(STEPS)
def test_whatever_is_voted_neighbouring_sets_differ_by_one(steps: list[tuple[int, str, int]]) -> None:
    world = World(4)
    seen: dict[int, int] = {}
    for turn, (sender, kind, number) in enumerate(steps):
        before = {record.member: record.sign_key for record in get_members(world.state)}
        candidates = {c.member: c.card for c in get_candidates(world.state)}
        if kind == "report":
            if not candidates:
                continue
            number = sorted(candidates)[number % len(candidates)]
            world.signers[MemberId(number)] = signer_of(candidates[MemberId(number)].name)
            world.post(number, report(world, candidates[MemberId(number)]))
        elif sender not in before or world.signers[MemberId(sender)].public_key != before[MemberId(sender)]:
            continue
        elif kind == "rotate":
            if world.post(sender, rotation_of(world, sender, f"new-{turn}")).ok:
                world.signers[MemberId(sender)] = signer_of(f"new-{turn}")
        elif kind == "invite":
            world.post(sender, MemberPropose(make_card(f"hospital-{10 + number}")))
        else:
            open_ = get_membership(world.state).proposals
            chosen = MemberApprove(open_[number % len(open_)].number if open_ else 1)
            body = MemberRemove(MemberId(number or 1)) if kind == "remove" else chosen
            world.block(*((voter, body) for voter in (before if kind == "approve" else [sender])))
        after = {record.member: record.sign_key for record in get_members(world.state)}
        assert len(after) >= 4
        changed = {m for m in {*before, *after} if before.get(m) != after.get(m)}
        assert len(changed) <= 1
        assert list(after) == sorted(after)
        assert all(seen.get(member, 0) == 0 for member in after.keys() - before.keys()), "a number came back"
        seen.update(dict.fromkeys(before, 1))
        assert State.load(RECORD_TABLE, world.state.items()).root == world.state.root


def rotation_of(world: World, member: int, seed: str) -> MemberRotate:
    name = next(record.name for record in get_members(world.state) if record.member == member)
    card = replace_name(seed, name)
    message = rotation_message(world.chain_id, MemberId(member), card)
    return MemberRotate(card, signer_of(seed).sign(Domain.IDENTITY_CARD, message))
