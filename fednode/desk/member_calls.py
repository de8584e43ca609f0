"""What may be asked about members, candidates and roles, by name and role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from fednode.desk import chain_query, questions, status
from fednode.desk.calls import EVERYBODY, HOSPITAL, Arguments, Offer, build, once
from fednode.desk.health import signing_members
from fednode.desk.naming import candidates, named
from fednode.desk.outcomes import (
    AddressesAnnounced,
    Final,
    MemberInvited,
    MemberVoted,
    RoleVoted,
    VersionVoted,
)
from fednode.desk.outlook import Outlook, compute_outlook
from fednode.desk.read_models import MemberView, OutlookView, ProposalView, RoleView, VersionsView
from fednode.desk.record import extended
from fednode.desk.status import Node
from fednode.desk.views import proposals_view, role_view, roles_view
from fednode.errors import Refused, Rejected, UsageError
from fednode.ids import MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import (
    MemberAddresses,
    MemberApprove,
    MemberPropose,
    MemberRemove,
    MemberRotate,
    Role,
    RoleVote,
    VersionVote,
)
from fednode.ledger.members.identity import IdentityCard, parse_card
from fednode.ledger.members.reading import get_members, get_membership, get_roles, get_versions
from fednode.ledger.members.records import Change, ProposalRecord
from fednode.node.reactor import now_ms

Finalise = Callable[[Body], Awaitable[Final]]


def member_offers(node: Node, final: Finalise) -> Mapping[str, Offer]:
    """Return what can be asked, and who may; `final` brings a body onto the ledger and tells where it stands."""
    calls = _MemberCalls(node, final)
    return {
        questions.MEMBER_LIST.name: once(calls.member_list, EVERYBODY),
        questions.MEMBER_PROPOSALS.name: once(calls.member_proposals, EVERYBODY),
        questions.MEMBER_OUTLOOK.name: once(calls.member_outlook, EVERYBODY),
        questions.MEMBER_INVITE.name: once(calls.member_invite, HOSPITAL, acts=True),
        questions.MEMBER_APPROVE.name: once(calls.member_approve, HOSPITAL, acts=True),
        questions.MEMBER_REVOKE.name: once(calls.member_revoke, HOSPITAL, acts=True),
        questions.MEMBER_ADDRESS.name: once(calls.member_address, HOSPITAL, acts=True),
        questions.KEYS_ROTATE.name: once(calls.keys_rotate, HOSPITAL, acts=True),
        questions.ROLE_LIST.name: once(calls.role_list, EVERYBODY),
        questions.ROLE_VOTE.name: once(calls.role_vote, HOSPITAL, acts=True),
        questions.VERSION_SHOW.name: once(calls.version_show, EVERYBODY),
        questions.VERSION_VOTE.name: once(calls.version_vote, HOSPITAL, acts=True),
    }


class _MemberCalls:
    """One method per name."""

    def __init__(self, node: Node, final: Finalise) -> None:
        self._node = node
        self._final = final

    async def member_list(self, args: Arguments) -> tuple[MemberView, ...]:
        return status.members_view(self._node)

    async def member_proposals(self, args: Arguments) -> tuple[ProposalView, ...]:
        return proposals_view(self._node.state)

    async def member_invite(self, args: Arguments) -> MemberInvited:
        card = _card(args.text("card"))
        done = await self._final(build(MemberPropose, card))
        proposals = get_membership(self._node.state).proposals
        opened = next(p for p in proposals if p.card == card)
        return extended(MemberInvited, done, proposal=opened.number, member=int(opened.member), name=card.name)

    async def member_outlook(self, args: Arguments) -> OutlookView:
        """Tell what a vote for a proposal, or else for removing a member, would lead to."""
        if proposal := args.text("proposal", ""):
            open_ = self._find(proposal)
            return self._outlook(Change(open_.change), open_.member).view()
        return self._outlook(Change.REMOVE, find_member(self._node, args.text("member"))).view()

    async def member_approve(self, args: Arguments) -> MemberVoted:
        open_ = self._find(args.text("proposal"))
        self._check_enough(Change(open_.change), open_.member, args)
        done = await self._final(MemberApprove(open_.number))
        return self._outcome(done, open_)

    async def member_revoke(self, args: Arguments) -> MemberVoted:
        member = find_member(self._node, args.text("member"))
        self._check_enough(Change.REMOVE, member, args)
        for open_ in get_membership(self._node.state).proposals:
            if (open_.change, open_.member) == (Change.REMOVE, member):
                done = await self._final(MemberApprove(open_.number))
                return self._outcome(done, open_)
        done = await self._final(build(MemberRemove, member, args.text("reason", "")))
        proposals = get_membership(self._node.state).proposals
        opened = next((p for p in proposals if (p.change, p.member) == (Change.REMOVE, member)), None)
        if opened is None:
            return extended(MemberVoted, done, proposal=None, member=int(member), is_carried=True, is_member=False)
        return self._outcome(done, opened)

    def _outlook(self, change: Change, member: MemberId) -> Outlook:
        core = self._node.reactor.core
        signing = frozenset(signing_members(core, now_ms()))
        return compute_outlook(self._node.state, change, member, signing, frozenset(core.up))

    def _check_enough(self, change: Change, member: MemberId, args: Arguments) -> None:
        """Refuse a vote that would stop the chain, unless whoever votes says that it is meant."""
        outlook = self._outlook(change, member)
        if not outlook.is_enough and not args.flag("yes"):
            raise Refused(f"{outlook.sentence()}. With --yes the vote is cast all the same")

    async def member_address(self, args: Arguments) -> AddressesAnnounced:
        addresses = tuple(args.text("addresses").split())
        done = await self._final(build(MemberAddresses, addresses))
        return extended(AddressesAnnounced, done, addresses=addresses)

    async def keys_rotate(self, args: Arguments) -> Final:
        card = _card(args.text("card"))
        return await self._final(build(MemberRotate, card, build(bytes.fromhex, args.text("signature"))))

    async def role_list(self, args: Arguments) -> tuple[RoleView, ...]:
        return roles_view(self._node.state)

    async def role_vote(self, args: Arguments) -> RoleVoted:
        roles = {role.name.lower(): role for role in Role}
        role = roles.get(args.text("role"))
        if role is None:
            raise UsageError(f"a role is one of {', '.join(roles)}")
        try:
            vote = RoleVote(role, bytes.fromhex(args.text("holder").removeprefix("0x")), args.text("action") == "grant")
        except ValueError:
            raise UsageError("a role is held by a key of 64 or a wallet address of 40 hexadecimal digits") from None
        done = await self._final(vote)
        found = next(r for r in get_roles(self._node.state) if (r.role, r.holder) == (vote.role, vote.holder))
        members = [record.member for record in get_members(self._node.state)]
        return extended(RoleVoted, role_view(found, members), id=done.id, height=done.height)

    async def version_show(self, args: Arguments) -> VersionsView:
        return self._versions()

    async def version_vote(self, args: Arguments) -> VersionVoted:
        """Propose a version with height and release; approve or withdraw what is proposed or planned, without."""
        versions, action = get_versions(self._node.state), args.text("action")
        if action == "propose":
            plan = (args.number("version"), args.number("height"), args.text("release"))
        elif action == "withdraw":
            if versions.plan is None:
                raise Refused("no version is planned; 'fednode chain version show' shows what is being voted on")
            plan = (versions.current, versions.plan.from_height, "withdrawn")
        else:
            wanted = args.number("version")
            named = sorted({(vote.plan.from_height, vote.plan.release) for vote in versions.open
                            if vote.plan.version == wanted})
            if len(named) != 1:
                what = "no open proposal" if not named else "more than one open proposal"
                raise Refused(
                    f"there is {what} for version {wanted}; 'fednode chain version show' shows them, and "
                    "'fednode chain version propose' with the same height and release votes for one of them"
                )
            plan = (wanted, *named[0])
        done = await self._final(build(VersionVote, *plan))
        return extended(VersionVoted, self._versions(), id=done.id, height=done.height)

    def _versions(self) -> VersionsView:
        return chain_query.versions_view(self._node.state, self._node.reactor.core.chain.height, "daemon")

    def _find(self, text: str) -> ProposalRecord:
        """Return the open proposal of this number, or about the hospital of this name or beginning of one."""
        proposals = get_membership(self._node.state).proposals
        names = {open_.number: open_.card.name for open_ in proposals if open_.card is not None}
        found = [open_.number for open_ in proposals if str(open_.number) == text] or named(names, text)
        if len(found) != 1:
            problem = "there is no open proposal" if not found else f"{len(found)} open proposals are called"
            raise Refused(f"{problem} '{text}'; 'fednode member proposals' shows them")
        return next(open_ for open_ in proposals if open_.number == found[0])

    def _outcome(self, done: Final, open_: ProposalRecord) -> MemberVoted:
        """Tell whether a vote has carried: a removed member is gone then, a candidate may come in."""
        is_member = any(record.member == open_.member for record in get_members(self._node.state))
        now = get_membership(self._node.state).proposal(open_.number)
        is_removed = open_.change == Change.REMOVE and not is_member
        is_approved = open_.change != Change.REMOVE and (is_member or (now is not None and now.approved is not None))
        return extended(
            MemberVoted, done, proposal=open_.number, member=int(open_.member), is_carried=is_removed or is_approved,
            is_member=is_member,
        )


def find_member(node: Node, text: str) -> MemberId:
    """Return the member of this number, or of this name or beginning of one."""
    names = {record.member: record.name for record in get_members(node.state)}
    found = [member for member in names if str(member) == text] or named(names, text)
    if len(found) != 1:
        problem = f"there is no member '{text}'" if not found else f"several members are called '{text}'"
        raise Refused(f"{problem}: {candidates(names, found)}; 'fednode member list' shows them")
    return found[0]


def _card(text: str) -> IdentityCard:
    try:
        return parse_card(text)
    except Rejected as error:
        raise UsageError(f"the identity card breaks a bound ({error.reason}); ask for a new one") from None
