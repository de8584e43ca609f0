"""The bodies of every kind of transaction: what a member may write on the ledger.

Bodies carry keys, digests and small shares. Vectors travel between members and never on the ledger. A body checks
its own form (sorted, distinct, in range) when it is built; whether the rules accept it is decided in `rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fednode.codec import Size, tagged
from fednode.ledger.members.bodies import MembershipBody
from fednode.ledger.studies.bodies import Expire, Gone, Ready, Result, StudyBegin, StudyCreate, StudyPause, StudyVote
from fednode.sums.bodies import (
    Message,
)
from fednode.texts import check_plain


@tagged(30)
@dataclass(frozen=True, slots=True)
class Memo:
    """A signed line for auditors: it is recorded with its sender, height and time, and changes nothing else."""

    text: Annotated[str, Size(1, 256)]

    def __post_init__(self) -> None:
        check_plain("a memo", self.text)


Body = (
    StudyCreate | StudyVote | StudyPause | StudyBegin | Ready | Message | Result | Expire | Gone | Memo | MembershipBody
)
