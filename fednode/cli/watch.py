"""`fednode watch`: the rounds of a study as they come, in a table that is drawn anew after every block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from fednode.cli.ask import ask_for
from fednode.cli.names import complete_studies
from fednode.cli.screen import Screen
from fednode.cli.show import printable
from fednode.cli.site import Site, command, pass_site
from fednode.desk import questions
from fednode.desk.control_client import read_answer, stream_daemon
from fednode.desk.read_models import MemberView, StatusView
from fednode.errors import Unavailable
from fednode.json_form import to_json

OVER = ("finished", "stopped", "rejected")


@command("watch", example="fednode watch\nfednode watch heart")
@click.argument("study", required=False, shell_complete=complete_studies)
@pass_site
def watch(site: Site, study: str | None) -> None:
    """Watch a study train, round by round.

    A table on a terminal, else a line for each round that closes. Ends with the study, or with Ctrl-C, and changes
    nothing: the study goes on either way.
    """
    wanted = ask_for(site, questions.STUDY_SHOW, study=study).id
    screen, reports, ending = Screen(is_error=False), list[Mapping[str, Any]](), ""
    with screen.rounds():
        for answer in stream_daemon(site.home, questions.FOLLOW.name):
            status = read_answer(questions.FOLLOW.form, answer)
            found = next((s for s in status.studies if s.id == wanted), None)
            if found is None:
                raise Unavailable("the daemon does not show this study any more; see 'fednode study list'")
            if found.next_round != len(reports):
                reports = [_record(report) for report in ask_for(site, questions.ROUND_LIST, study=wanted)]
            screen.update(_record(found), reports, _states(status), names_of(status.members))
            if found.status in OVER:
                ending = found.status + (f": {found.reason}" if found.reason else "")
                break
    screen.line(f"the study is {ending}")
    if ending.startswith("finished"):
        screen.line("next: fednode model export best -o model.safetensors")


def names_of(members: tuple[MemberView, ...]) -> Mapping[int, str]:
    """Return the names of members by number."""
    return {member.id: printable(member.name) for member in members}


def _states(status: StatusView) -> Mapping[int, str]:
    return {m.id: "here" if m.is_me else "reachable" if m.is_connected else "AWAY" for m in status.members}


def _record(view: object) -> Mapping[str, Any]:
    found = to_json(view)
    assert isinstance(found, dict)
    return found
