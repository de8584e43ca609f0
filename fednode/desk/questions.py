"""What can be asked of a daemon and what it answers: names and forms, for whoever answers and for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from fednode.desk import outcomes
from fednode.desk import read_models as shown

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """A call by name, and the form of its answer."""

    name: str
    form: type[T]


STATUS = Question("status", shown.StatusView)
FOLLOW = Question("follow", shown.StatusView)
"""Says the status now and after every block."""
MEMORY = Question("memory", shown.MemoryView)
STOP = Question("stop", outcomes.Stopping)
CHAIN_STATUS = Question("chain_status", shown.ChainView)
CHAIN_SHOW = Question("chain_show", tuple[shown.BlockView, ...])
CHAIN_BLOCKS = Question("chain_blocks", tuple[shown.WholeBlock, ...])
CHAIN_TX = Question("chain_tx", shown.TransactionView)
CHAIN_STEPS = Question("chain_steps", tuple[str, ...])
"""Light blocks in their canonical encoding, as base64."""
CHAIN_MEMBERS = Question("chain_members", shown.MembersAt)
CHAIN_STATE = Question("chain_state", shown.StatePage)
"""Says page after page, at least one; the answer is a page without records."""
CHAIN_WAIT = Question("chain_wait", shown.Happened)
VERSION_SHOW = Question("version_show", shown.VersionsView)
VERSION_VOTE = Question("version_vote", outcomes.VersionVoted)
MEMBER_PROPOSALS = Question("member_proposals", tuple[shown.ProposalView, ...])
MEMBER_OUTLOOK = Question("member_outlook", shown.OutlookView)
MEMBER_INVITE = Question("member_invite", outcomes.MemberInvited)
MEMBER_APPROVE = Question("member_approve", outcomes.MemberVoted)
MEMBER_REVOKE = Question("member_revoke", outcomes.MemberVoted)
KEYS_ROTATE = Question("keys_rotate", outcomes.Final)
MEMBER_ADDRESS = Question("member_address", outcomes.AddressesAnnounced)
ROLE_LIST = Question("role_list", tuple[shown.RoleView, ...])
ROLE_VOTE = Question("role_vote", outcomes.RoleVoted)
MEMBER_LIST = Question("member_list", tuple[shown.MemberView, ...])
SUBMIT_MEMO = Question("submit_memo", outcomes.MemoDone)
SUBMIT_MEMOS = Question("submit_memos", tuple[outcomes.Final, ...])
STUDY_LIST = Question("study_list", tuple[shown.StudySummary, ...])
STUDY_SHOW = Question("study_show", shown.ShownStudy)
STUDY_CREATE = Question("study_create", outcomes.StudyCreated)
STUDY_VOTE = Question("study_vote", outcomes.StudyVoted)
STUDY_PAUSE = Question("study_pause", outcomes.StudyVoted)
STUDY_BEGIN = Question("study_begin", outcomes.StudyBegun)
STUDY_ALLOW_STATISTICS = Question("study_allow_statistics", outcomes.StatisticsAllowed)
ROUND_LIST = Question("round_list", tuple[shown.ReportView, ...])
ROUND_SHOW = Question("round_show", shown.ReportView)
MODEL_LIST = Question("model_list", tuple[shown.ModelView, ...])
MODEL_SHOW = Question("model_show", shown.ModelShown)
MODEL_EXPORT = Question("model_export", outcomes.ModelExported)
