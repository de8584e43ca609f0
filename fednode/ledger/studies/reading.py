"""Reading studies, the round each is in, and the reports of closed rounds from the state."""

from __future__ import annotations

from fednode.chain.state import Source
from fednode.ids import StudyId
from fednode.ledger.records import RoundRecord
from fednode.ledger.studies.records import RoundReport, SpecRecord, StudyList, StudyRecord

STUDIES_KEY = b"studies"


def study_key(study: bytes) -> bytes:
    """Key of a study's record."""
    return b"study/" + study


def spec_key(study: bytes) -> bytes:
    """Key of a study's specification."""
    return b"spec/" + study


def round_key(study: bytes) -> bytes:
    """Key of the round a study is in."""
    return b"round/" + study


def report_key(study: bytes, number: int) -> bytes:
    """Key of a closed round's report."""
    return b"report/" + study + number.to_bytes(4, "big")


def get_studies(source: Source) -> tuple[StudyId, ...]:
    """Return the ids of all studies in order of creation."""
    record = source.read(STUDIES_KEY, StudyList)
    return () if record is None else tuple(StudyId(study) for study in record.studies)


def get_study(source: Source, study: bytes) -> StudyRecord | None:
    """Return a study's record."""
    return source.read(study_key(study), StudyRecord)


def get_spec(source: Source, study: bytes) -> bytes | None:
    """Return the bytes of a study's specification."""
    record = source.read(spec_key(study), SpecRecord)
    return None if record is None else record.spec


def get_round(source: Source, study: bytes) -> RoundRecord | None:
    """Return the round a study is in, if one runs."""
    return source.read(round_key(study), RoundRecord)


def get_report(source: Source, study: bytes, number: int) -> RoundReport | None:
    """Return the report of a closed round."""
    return source.read(report_key(study, number), RoundReport)
