"""What waits for a person of this hospital, with the command that does it: the end of `status`.

Security assumption: none; it only tells people what stands on the ledger and in the home.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from fednode.chain.state import State
from fednode.core.taking_part import member_names
from fednode.ids import MemberId, StudyId
from fednode.ledger.members.reading import get_membership, get_versions
from fednode.ledger.members.records import Change
from fednode.ledger.studies.records import StudyStatus, get_studies, get_study

BACKED_UP = "keys-backed-up"
"""File in var/ of the home: the public sign key of the last backup, in hexadecimal digits."""


def todo_of(state: State, me: MemberId, name_of: Callable[[StudyId], str]) -> Iterator[str]:
    """Yield the votes that this member has not cast; a candidate and one voted out have none."""
    names = member_names(state)
    if int(me) not in names:
        return
    yield from _studies(state, me, name_of)
    for open_ in get_membership(state).proposals:
        is_due = open_.change == Change.REMOVE or (open_.report is not None and open_.approved is None)
        if is_due and me not in open_.approvals and open_.member != me:
            about = open_.card.name if open_.card is not None else names.get(int(open_.member), f"{open_.member}")
            what = "is to be removed" if open_.change == Change.REMOVE else "wants to join; compare its fingerprint"
            yield f"your vote is wanted: {about} {what}: fednode member approve {open_.number}"
    for vote in get_versions(state).open:
        if me not in vote.voters:
            version = vote.plan.version
            yield f"your vote is wanted on protocol version {version}: fednode chain version approve {version}"


def _studies(state: State, me: MemberId, name_of: Callable[[StudyId], str]) -> Iterator[str]:
    for study in get_studies(state):
        record = get_study(state, study)
        if record is None:
            continue
        name = shlex.quote(name_of(study) or study.hex()[:12])
        if record.status == StudyStatus.CREATED and me not in (*record.approvals, *record.rejects):
            yield f"your vote is wanted on a study: fednode study show {name}"
        elif record.status == StudyStatus.PAUSED and me not in record.resume_votes:
            yield f"study {name} is paused; your vote to go on: fednode study resume {name}"


def backup_wanted(var: Path, sign_key: bytes) -> list[str]:
    """Return what to do where these keys were never backed up."""
    path = var / BACKED_UP
    try:
        known = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        known = ""
    return [] if known == sign_key.hex() else ["the keys were never backed up: fednode keys backup FILE"]
