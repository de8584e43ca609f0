"""Asking the daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from fednode.cli.site import Site
from fednode.desk.control_client import ODD_ANSWER, call_daemon, read_answer
from fednode.desk.questions import Question
from fednode.documents import Json
from fednode.errors import Unavailable

T = TypeVar("T")


def ask_for(site: Site, question: Question[T], **args: Json) -> T:
    """Ask the daemon of the site's home and read its answer; raise what it answers with, or say that none runs."""
    return read_answer(question.form, call_daemon(site.home, question.name, args))


def as_record(value: Json) -> Mapping[str, Json]:
    """Return a JSON object as it is; raise `Unavailable` for anything else."""
    if not isinstance(value, Mapping):
        raise Unavailable(ODD_ANSWER)
    return value


def as_records(value: Json) -> list[Mapping[str, Json]]:
    """Return the objects of a JSON list; raise `Unavailable` for anything else."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Unavailable(ODD_ANSWER)
    return [as_record(item) for item in value]
