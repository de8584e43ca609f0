"""A study as the page a person votes on: what it is for, what it reads, who sees what, whose votes are due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.show import print_pairs, print_table, print_text, short
from fednode.desk.read_models import ShownStudy

if TYPE_CHECKING:
    from fednode.learn.study import StudySpec

ABOUT = ("purpose", "legal_basis", "ethics_vote", "data_category", "retention", "office")
ROWS_STAY = "no row leaves a hospital, and no update is seen alone: hospitals add up masked pieces"
VOTES = {
    "created": ("approvals", "approve"), "paused": ("resume_votes", "resume"), "pausing": ("resume_votes", "resume"),
}
"""Which votes a study of a status waits for, and the command that casts one."""


def print_page(found: ShownStudy) -> None:
    """Print the page."""
    spec = _spec_of(found)
    print_text(click.style(found.name or f"study {short(found.id)}", bold=True))
    if spec is None:
        print_text("this version cannot read the study's file; install the release that made it before you vote")
    elif spec.description:
        print_text(spec.description)
    click.echo()
    print_pairs(_head(found, spec))
    if spec is not None:
        _print_columns(spec)
        print_text(click.style("How long", bold=True))
        for line in _duration(spec):
            print_text(line, prefix="- ")
        click.echo()
    print_text(click.style("Who sees what", bold=True))
    for limit in (ROWS_STAY, *found.limits):
        print_text(limit, prefix="- ")
    click.echo()
    print_text(click.style("Votes", bold=True))
    for line in votes_of(found):
        print_text(line)


def _spec_of(found: ShownStudy) -> StudySpec | None:
    from fednode.learn.form import parse_study

    return None if found.toml is None else parse_study(found.toml, f"study {found.name}")


def _head(found: ShownStudy, spec: StudySpec | None) -> Iterable[tuple[str, str]]:
    """Yield what stands first: what people stated, then what the ledger has."""
    for key in ABOUT:
        said = getattr(spec.about, key) if spec is not None else ""
        yield key.replace("_", " "), said or "not stated"
    yield "proposed by", found.names.get(str(found.creator), "the founders, in the genesis file")
    yield "status", found.status + (f": {found.reason}" if found.reason else "")
    yield "rounds", f"{found.rounds_done} of {found.rounds} done"
    if found.taking_part:
        yield "hospitals ready", found.taking_part
    for title, text in (("problem", found.problem), ("this hospital", found.own_part), ("stuck", found.stuck)):
        if text:
            yield title, text
    yield "id", found.id


def _print_columns(spec: StudySpec) -> None:
    """Print what the study reads of each patient, if it reads tables."""
    from fednode.learn.form import study_form

    columns = study_form(spec)["data"].get("columns", ())
    if columns:
        print_table(
            ["column", "kind", "values", "unit"],
            [(str(c["name"]), str(c["kind"]), _values(c), str(c.get("unit") or "-")) for c in columns],
        )


def _values(column: Mapping[str, Any]) -> str:
    if "levels" in column:
        return ", ".join(map(str, column["levels"]))
    if "low" in column or "high" in column:
        return f"{column.get('low', '?')} to {column.get('high', '?')}"
    return "-"


def _duration(spec: StudySpec) -> list[str]:
    """Return how much is trained, and how long others are waited for."""
    epochs = f"{spec.local_epochs} passes over its rows" if spec.local_epochs > 1 else "one pass over its rows"
    return [
        f"{spec.rounds} training rounds, in each {epochs} at every hospital; one round of statistics before, one of "
        "measures after",
        f"a hospital that does not train within {spec.timeouts.train_timeout_s} s, or answer within "
        f"{spec.timeouts.phase_timeout_s} s, is left out of that round",
    ]


def votes_of(found: ShownStudy) -> list[str]:
    """Return how many votes there are, whose are missing, and the command that casts this hospital's."""
    if found.status not in VOTES:
        return [f"none is due: the study is {found.status}"]
    kind, verb = VOTES[found.status]
    cast = getattr(found, kind)
    told = [count_votes(kind, len(cast), found.quorum)]
    if found.rejects and kind == "approvals":
        told.append(f"against it: {_names(found, found.rejects)}")
    missing = [int(n) for n in found.names if int(n) not in {*cast, *(found.rejects if kind == "approvals" else ())}]
    if missing:
        told.append(f"not voted yet: {_names(found, missing)}")
    if found.me in missing:
        name = found.name if found.name and " " not in found.name else found.id[:12]
        told.append(f"your vote: fednode study {verb} {name}" + (
            f", or fednode study reject {name}" if verb == "approve" else ""
        ))
    return told


def count_votes(kind: str, cast: int, needed: int) -> str:
    """Return "2 of 3 approvals", as every vote reports."""
    return f"{cast} of {needed} {kind.replace('_', ' ')}"


def _names(found: ShownStudy, members: Iterable[int]) -> str:
    return ", ".join(found.names.get(str(number), f"member {number}") for number in members)
