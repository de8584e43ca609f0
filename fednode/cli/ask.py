"""Asking the daemon, and finding what a person meant by a name or the start of a hash."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from fednode.cli.site import Site
from fednode.desk.control_client import ODD_ANSWER, call_daemon, read_answer
from fednode.desk.questions import Question
from fednode.documents import Json
from fednode.errors import Unavailable, UsageError

SHORTEST_PREFIX = 4
T = TypeVar("T")


def ask_for(site: Site, question: Question[T], **args: Json) -> T:
    """Ask the daemon of the site's home and read its answer; raise what it answers with, or say that none runs."""
    return read_answer(question.form, call_daemon(site.home, question.name, args))


def ask(site: Site, name: str, **args: Json) -> Json:
    """Ask the daemon of the site's home; raise what it answers with, or say that none runs."""
    return call_daemon(site.home, name, args)


def ask_record(site: Site, name: str, **args: Json) -> Mapping[str, Json]:
    """Ask for one record."""
    return as_record(call_daemon(site.home, name, args))


def ask_records(site: Site, name: str, **args: Json) -> list[Mapping[str, Json]]:
    """Ask for a list of records."""
    return as_records(call_daemon(site.home, name, args))


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


def find(records: Sequence[Mapping[str, Json]], key: str, wanted: str, what: str) -> Mapping[str, Json]:
    """Return the record whose `name` is `wanted` or whose hash under `key` starts with it.

    Raises `UsageError` naming the candidates if none or several fit.
    """
    named = [record for record in records if record.get("name") == wanted]
    if named:
        return _only(named, key, wanted, what)
    if not re.fullmatch(f"[0-9a-fA-F]{{{SHORTEST_PREFIX},64}}", wanted):
        known = ", ".join(str(record.get("name", record.get(key))) for record in records) or "none yet"
        raise UsageError(f"there is no {what} called '{wanted}'; known: {known}")
    return _only([r for r in records if str(r.get(key, "")).startswith(wanted.lower())], key, wanted, what)


def _only(found: Sequence[Mapping[str, Json]], key: str, wanted: str, what: str) -> Mapping[str, Json]:
    if not found:
        raise UsageError(f"no {what} starts with '{wanted}'; '{what} list' shows all")
    if len(found) > 1:
        several = ", ".join(str(record.get(key))[:16] for record in found)
        raise UsageError(f"'{wanted}' means several of them ({several}); give more of the hash")
    return found[0]
