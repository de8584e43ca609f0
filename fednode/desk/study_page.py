"""A study as the page a person votes on: what it is for, what it takes, who sees what."""

from __future__ import annotations

from fednode.chain.state import State
from fednode.core.taking_part import member_names
from fednode.desk.read_models import ShownStudy, StudySummary
from fednode.desk.record import extended
from fednode.errors import Rejected
from fednode.ids import MemberId, StudyId, quorum
from fednode.json_form import to_json
from fednode.ledger.members.reading import get_members
from fednode.ledger.studies.bodies import StudyTerms, Weights
from fednode.ledger.studies.records import get_spec, get_study


def page_of(state: State, study: StudyId, summary: StudySummary, me: MemberId) -> ShownStudy:
    """Return a study with its terms and, as a file to read, its specification."""
    record = get_study(state, study)
    assert record is not None, "found among the ledger's studies"
    terms = to_json(record.terms)
    assert isinstance(terms, dict)
    return extended(
        ShownStudy, summary, terms=terms, toml=_file_of(state, study),
        limits=(*node_limits(len(get_members(state))), *shown_limits(record.terms)),
        names={str(number): name for number, name in member_names(state).items()}, me=int(me),
    )


def _file_of(state: State, study: StudyId) -> str | None:
    """Return a study as a file, or None if this program cannot read it."""
    from fednode.learn.form import to_toml  # small, but only this call needs it
    from fednode.learn.study import decode_study

    try:
        return to_toml(decode_study(get_spec(state, study) or b""))
    except Rejected:
        return None


def shown_limits(terms: StudyTerms) -> list[str]:
    """Return what everybody who gets a copy of the chain sees of a study, for those who approve it."""
    shown = ["the chain shows who took part in each round, and measures of the model over all hospitals"]
    if terms.weights == Weights.PUBLIC:
        shown.append(
            "the weights of this study are public: in every round the chain shows how many rows each hospital trains "
            f"on, up to {terms.weight_bound}"
        )
    return shown


def node_limits(members: int) -> list[str]:
    """Return what a sum of so few says about one hospital, for those who approve a study."""
    limits = ["every sum shows its average to all members; the averages of few hospitals say much of each"]
    if members <= 4:
        limits.append(
            f"with {members} members, one that is curious learns from a sum of {max(3, quorum(members))} what the "
            f"other {max(3, quorum(members)) - 1} have in common"
        )
    return limits
