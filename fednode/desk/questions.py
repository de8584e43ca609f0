"""What can be asked of a daemon and what it answers: names and forms, for whoever answers and for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

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
CHAIN_STATUS = Question("chain_status", shown.ChainView)
MEMBER_LIST = Question("member_list", tuple[shown.MemberView, ...])
SUBMIT_MEMO = Question("submit_memo", shown.MemoDone)
SUBMIT_MEMOS = Question("submit_memos", tuple[shown.Final, ...])
STUDY_LIST = Question("study_list", tuple[shown.StudySummary, ...])
STUDY_SHOW = Question("study_show", shown.ShownStudy)
STUDY_CREATE = Question("study_create", shown.StudyCreated)
STUDY_VOTE = Question("study_vote", shown.StudyVoted)
STUDY_PAUSE = Question("study_pause", shown.StudyVoted)
STUDY_BEGIN = Question("study_begin", shown.StudyBegun)
STUDY_ALLOW_STATISTICS = Question("study_allow_statistics", shown.StatisticsAllowed)
ROUND_LIST = Question("round_list", tuple[shown.ReportView, ...])
ROUND_SHOW = Question("round_show", shown.ReportView)
