"""`fednode study`: what is trained, and the votes about it."""

from __future__ import annotations

from pathlib import Path

import click

from fednode.cli.ask import ask_for
from fednode.cli.daemon import print_studies
from fednode.cli.names import complete_members, complete_studies
from fednode.cli.show import print_json, print_pairs, print_text, short
from fednode.cli.site import Site, confirm, format_option, group, pass_site, site_options, yes_option
from fednode.cli.stored import ask_or_read
from fednode.cli.study_page import count_votes, print_page
from fednode.desk import questions
from fednode.desk.outcomes import StudyVoted
from fednode.desk.read_models import ShownStudy
from fednode.errors import Refused


@group("study")
def study() -> None:
    """What is trained: propose, vote, pause, stop."""


@study.command("create", example="fednode study create genesis/heart.toml")
@click.argument("file", type=click.Path(path_type=Path))
@format_option
@site_options
@pass_site
def create(site: Site, file: Path, as_json: bool) -> None:
    """Propose a study on the ledger. It trains once a quorum of hospitals has approved it by its hash."""
    from fednode.cli.reading import read_study
    from fednode.learn.form import to_toml

    spec = read_study(file)
    done = ask_for(site, questions.STUDY_CREATE, toml=to_toml(spec))
    if as_json:
        print_json(done)
        return
    print_pairs([("study", spec.name), ("id", done.study), ("in block", str(done.height))])
    click.echo(f"every hospital reads it with 'fednode study show {short(done.study)}' and approves or rejects")


@study.command("check", example="fednode study check heart.toml")
@click.argument("file", type=click.Path(path_type=Path))
@format_option
@site_options
@pass_site
def check(site: Site, file: Path, as_json: bool) -> None:
    """Check a study file, all its faults at once.

    Says also what a person who votes will look for and does not find: purpose, legal basis, ethics vote, data
    category, retention, and the office responsible, in the table [about]. A person's name does not belong there.
    """
    from fednode.cli.reading import read_study
    from fednode.cli.study_page import ABOUT

    spec = read_study(file)
    missing = [key for key in ABOUT if not getattr(spec.about, key)]
    if as_json:
        print_json({"file": str(file), "ok": True, "name": spec.name, "not_stated": missing})
        return
    click.echo(f"{file} is a study: {spec.name}, {spec.rounds} rounds, {len(spec.data.classes)} classes")
    if missing:
        print_text(f"not stated in [about]: {', '.join(missing)}; those who vote will ask")
    click.echo(f"next: fednode data check --study {file} --input CSV")


@study.command("list", example="fednode study list")
@format_option
@site_options
@pass_site
def list_studies(site: Site, as_json: bool) -> None:
    """Show all studies and where they stand."""
    found = ask_or_read(site, questions.STUDY_LIST, lambda node: node.study_list())
    if as_json:
        print_json(found)
    else:
        print_studies(found)


@study.command("show", example="fednode study show heart\nfednode study show heart --toml > heart.toml")
@click.argument("study", required=False, shell_complete=complete_studies)
@click.option("--toml", is_flag=True, help="Print the study file itself.")
@format_option
@site_options
@pass_site
def show(site: Site, study: str | None, toml: bool, as_json: bool) -> None:
    """Show the page a person votes on.

    Show a study: its terms, its file, who has approved it, who is ready, what a sum of so few gives away.
    """
    found = ask_or_read(site, questions.STUDY_SHOW, lambda node: node.study_show(study), study=study)
    if toml:
        click.echo(found.toml or "# this version cannot read the study's file\n", nl=False)
    elif as_json:
        print_json(found)
    else:
        print_page(found)


def _vote(site: Site, study: str | None, action: str, as_json: bool, says: str) -> None:
    _told(ask_for(site, questions.STUDY_VOTE, study=study, action=action), as_json, says)


def _told(done: StudyVoted, as_json: bool, says: str) -> None:
    if as_json:
        print_json(done)
        return
    votes = f": {count_votes('votes', done.votes, done.needed)}" if done.needed > 1 else ""
    print_text(f"{says} study {short(done.study)}{votes}, in block {done.height}; the study is {done.status}")


@study.command("approve", example="fednode study approve heart")
@click.argument("study", required=False, shell_complete=complete_studies)
@format_option
@site_options
@pass_site
def approve(site: Site, study: str | None, as_json: bool) -> None:
    """Vote for a study.

    Agree to a study; it waits for its hospitals once a quorum agrees. Says what the chain will show of it."""
    for limit in ask_for(site, questions.STUDY_SHOW, study=study).limits:
        click.echo(f"note: {limit}", err=True)
    _vote(site, study, "approve", as_json, "approved")


@study.command("reject", example="fednode study reject heart --yes")
@click.argument("study", required=False, shell_complete=complete_studies)
@yes_option
@format_option
@site_options
@pass_site
def reject(site: Site, study: str | None, yes: bool, as_json: bool) -> None:
    """Vote against a study.

    Refuse a study; it is off for good once a quorum is out of reach.
    """
    confirm(f"Reject {study or 'the study'} for good?", yes)
    _vote(site, study, "reject", as_json, "rejected")


@study.command(
    "start", example="fednode study start heart\nfednode study start heart --without 'St. Dora'",
)
@click.argument("study", required=False, shell_complete=complete_studies)
@click.option(
    "--without", multiple=True, metavar="HOSPITAL", shell_complete=complete_members,
    help="Vote that the study begins without this hospital, by name or number; may be repeated.",
)
@yes_option
@format_option
@site_options
@pass_site
def start(site: Site, study: str | None, without: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Do what this hospital can for a study to run.

    Do what this hospital can for a study to run: approve it, or vote to resume it.

    An approved study begins by itself once every hospital that it is for is ready: all founders for a study of the
    genesis, else all that approved. Until then this shows who is not. It never begins without one of them by itself,
    only by the votes of q members that name it with --without. Its model then does not know that hospital's rows, until
    it is ready and a later round counts them.
    """
    if without:
        _begin_without(site, study, without, yes, as_json)
        return
    found = ask_for(site, questions.STUDY_SHOW, study=study)
    status, name = found.status, found.id
    if status == "created":
        _vote(site, name, "approve", as_json, "approved")
    elif status in ("paused", "pausing"):
        _vote(site, name, "resume", as_json, "voted to resume")
    elif status == "waiting":
        _show_waiting(found, as_json)
    elif status == "running":
        click.echo("the study runs already", err=as_json)
    else:
        raise Refused(f"the study is {status} and cannot be started again; propose a new one: 'fednode study create'")


def _show_waiting(found: ShownStudy, as_json: bool) -> None:
    """Show whom an approved study waits for, and what this hospital lacks."""
    if as_json:
        shown = ("status", "waiting_for", "taking_part", "beginning", "own_part")
        print_json({"study": found.id, **{name: getattr(found, name) for name in shown}})
        return
    click.echo(f"ready: {found.taking_part}")
    if found.own_part:
        click.echo(found.own_part)
    if found.beginning is not None:
        click.echo("the study begins when all are ready; without one of them by votes: --without HOSPITAL")


def _begin_without(site: Site, study: str | None, without: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Vote that a study begins although hospitals are missing."""
    confirm(f"Begin {study or 'the study'} without {', '.join(without)}? Its model will not know their rows", yes)
    done = ask_for(site, questions.STUDY_BEGIN, study=study, without=[*without])
    if as_json:
        print_json(done)
        return
    open_votes = () if done.beginning is None else done.beginning.without
    votes = [f"member {vote.member}: {count_votes('votes', len(vote.voters), done.needed)}" for vote in open_votes]
    click.echo(f"voted in block {done.height}; to begin without {'; '.join(votes)}" if votes else
               f"voted in block {done.height}; the study is {done.status}, {done.taking_part}")


@study.command("allow-statistics", example="fednode study allow-statistics heart-2 --yes")
@click.argument("study", shell_complete=complete_studies)
@yes_option
@format_option
@site_options
@pass_site
def allow_statistics(site: Site, study: str, yes: bool, as_json: bool) -> None:
    """Let this hospital's data enter a second study.

    Let this hospital's data set enter a study's statistics although it entered those of another study.

    Without this the hospital sits such a study out, and 'fednode status' says so. Two sums of statistics over different
    hospitals show the difference: if one has a hospital more, its means, spreads and shares of levels. It is kept in
    this home and changes nothing on the ledger; the hospital says that it is ready with the next block.
    """
    confirm(f"Let the same data set enter the statistics of {study}, too?", yes)
    done = ask_for(site, questions.STUDY_ALLOW_STATISTICS, study=study)
    if as_json:
        print_json(done)
        return
    click.echo("allowed; this hospital says that it is ready with the next block")


@study.command("pause", example='fednode study pause heart --reason "new scanner, values shifted"')
@click.argument("study", required=False, shell_complete=complete_studies)
@click.option("--reason", default="", metavar="TEXT", help="Shown to all members; up to 200 characters.")
@format_option
@site_options
@pass_site
def pause(site: Site, study: str | None, reason: str, as_json: bool) -> None:
    """Pause a study at the end of the running round. Any member may; going on takes a quorum of resume votes."""
    _told(ask_for(site, questions.STUDY_PAUSE, study=study, reason=reason), as_json, "paused")


@study.command("resume", example="fednode study resume heart")
@click.argument("study", required=False, shell_complete=complete_studies)
@format_option
@site_options
@pass_site
def resume(site: Site, study: str | None, as_json: bool) -> None:
    """Vote to go on with a paused study. Members named faulty stay out of it; see 'fednode study readmit'."""
    _vote(site, study, "resume", as_json, "voted to resume")


@study.command("readmit", example="fednode study readmit heart --yes")
@click.argument("study", required=False, shell_complete=complete_studies)
@yes_option
@format_option
@site_options
@pass_site
def readmit(site: Site, study: str | None, yes: bool, as_json: bool) -> None:
    """Vote to let members named faulty back in.

    Vote to let members named faulty take part in a study's rounds again, all that are kept out now.

    A quorum decides; 'fednode study show' names them under "faulty", and who has voted. Find out what happened first:
    a member is named only on evidence, so its program or its machine is broken, or somebody there lies.
    """
    confirm(f"Let members named faulty back into {study or 'the study'}?", yes)
    _vote(site, study, "readmit", as_json, "voted to readmit into")


@study.command("stop", example="fednode study stop heart --yes")
@click.argument("study", required=False, shell_complete=complete_studies)
@yes_option
@format_option
@site_options
@pass_site
def stop(site: Site, study: str | None, yes: bool, as_json: bool) -> None:
    """Vote to end a study for good; its models stay."""
    confirm(f"Vote to stop {study or 'the study'} for good?", yes)
    _vote(site, study, "stop", as_json, "voted to stop")
