"""`fednode chain version`: by which rules the chain goes on, and the votes on new ones."""

from __future__ import annotations

from pathlib import Path

import click

from fednode.cli.ask import ask_for
from fednode.cli.chain_source import ExportSource, export_option, open_stopped
from fednode.cli.show import cell, print_json, print_pairs, print_records
from fednode.cli.site import Site, confirm, format_option, group, pass_site, site_options, yes_option
from fednode.desk.control_client import NotRunning
from fednode.desk.questions import VERSION_SHOW, VERSION_VOTE
from fednode.desk.read_models import VersionsView


@group("version")
def version() -> None:
    """The protocol version, and the votes on it.

    The protocol version: which rules are in force from which block on, decided by q votes of the members.
    """


@version.command("show", example="fednode chain version show\nfednode chain version show --format json")
@export_option
@format_option
@site_options
@pass_site
def show(site: Site, export: Path | None, as_json: bool) -> None:
    """Show the versions in force and planned.

    Show the version in force, the planned one, what this program knows, and the votes under way.
    """
    from fednode.chain.state import State
    from fednode.desk.chain_query import versions_view
    from fednode.ledger.record_table import RECORD_TABLE

    try:
        if export is not None:
            height, _, leaves = ExportSource(export).leaves()
            state = State.load(RECORD_TABLE, ((key, value) for _, key, value in leaves))
            _print(versions_view(state, height, "export"), as_json)
            return
        found = ask_for(site, VERSION_SHOW)
    except NotRunning:
        with open_stopped(site) as (store, _):
            found = versions_view(store.load_state(), store.tip.height, "store")
    _print(found, as_json)


@version.command("propose", example="fednode chain version propose 2 --at 12000 --release 0.6.0")
@click.argument("number", metavar="VERSION", type=click.IntRange(2, 255))
@click.option("--at", "height", type=click.IntRange(2, 2**63 - 1), required=True, metavar="HEIGHT",
              help="First block of the version, at least 10 blocks after the vote is decided.")
@click.option("--release", required=True, metavar="TEXT",
              help="First release of fednode that knows it: what the others have to install before.")
@format_option
@site_options
@pass_site
def propose(site: Site, number: int, height: int, release: str, as_json: bool) -> None:
    """Vote for a version from a height on.

    Vote for a version from a height on; the first such vote proposes it to the others.

    With q equal votes it is decided. A node whose program does not know the version stops before that block and says
    which release to install; it goes on from there once that runs.
    """
    _print(ask_for(site, VERSION_VOTE, action="propose", version=number, height=height, release=release), as_json)


@version.command("approve", example="fednode chain version approve 2")
@click.argument("number", metavar="VERSION", type=click.IntRange(2, 255))
@format_option
@site_options
@pass_site
def approve(site: Site, number: int, as_json: bool) -> None:
    """Vote for a version another member proposed.

    Vote for the version that another member has proposed, with its height and release.
    """
    _print(ask_for(site, VERSION_VOTE, action="approve", version=number), as_json)


@version.command("withdraw", example="fednode chain version withdraw --yes")
@yes_option
@format_option
@site_options
@pass_site
def withdraw(site: Site, yes: bool, as_json: bool) -> None:
    """Vote to cancel the planned version.

    Vote for taking back the planned version before its height comes; q votes carry it.
    """
    confirm("Vote for taking back the planned version?", yes)
    _print(ask_for(site, VERSION_VOTE, action="withdraw"), as_json)


def _print(found: VersionsView, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    planned = found.planned
    knows = "" if planned is None or planned.is_known else " (NOT KNOWN to this program: install that release)"
    told = "nothing" if planned is None else (
        f"version {planned.version} from block {planned.from_height} on, release {planned.release}{knows}"
    )
    known = " ".join(map(str, found.known))
    print_pairs([("in force", str(found.in_force)), ("planned", told), ("this program knows", known)])
    rows = [
        {"version": vote.version, "from_height": vote.from_height, "release": vote.release,
         "voters": f"{cell('', vote.voters)} ({vote.needed} needed)"}
        for vote in found.votes
    ]
    print_records(rows, ["version", "from_height", "release", "voters"], "no votes on a version")
