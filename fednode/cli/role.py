"""`fednode role`: what keys other than the members' may do, as the ledger has it."""

from __future__ import annotations

import click

from fednode.cli.ask import as_record, ask_for
from fednode.cli.show import cell, print_json, print_pairs, print_table, short, word
from fednode.cli.site import Site, format_option, group, pass_site, site_options
from fednode.cli.stored import ask_or_read
from fednode.desk.questions import ROLE_LIST, ROLE_VOTE
from fednode.json_form import to_json

ROLES = click.Choice(["hospital", "operator", "auditor", "clinician"])


@group("role")
def role() -> None:
    """Roles of keys, decided by votes of members.

    Roles of keys and wallet addresses, decided by q votes of the members.
    """


@role.command("list", example="fednode role list --format json")
@format_option
@site_options
@pass_site
def list_roles(site: Site, as_json: bool) -> None:
    """Show who has which role, and the votes under way."""
    found = ask_or_read(site, ROLE_LIST, lambda node: node.role_list())
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("no roles; 'fednode role grant ROLE KEY' votes for one")
        return
    rows = [
        (
            r.role, short(r.holder), "granted" if r.is_granted else "not granted", str(r.since_height),
            cell("", r.votes_to_change),
        )
        for r in found
    ]
    print_table(["role", "holder", "state", "since height", "votes to change it"], rows)


@role.command("grant", example="fednode role grant auditor 3f0c...64 hexadecimal digits...9a")
@click.argument("name", metavar="ROLE", type=ROLES)
@click.argument("holder", metavar="KEY")
@format_option
@site_options
@pass_site
def grant(site: Site, name: str, holder: str, as_json: bool) -> None:
    """Vote to give a role to a key.

    The holder is an Ed25519 key (64 hexadecimal digits) or a wallet address (40).
    """
    _vote(site, name, holder, "grant", as_json)


@role.command("revoke", example="fednode role revoke auditor 3f0c...64 hexadecimal digits...9a")
@click.argument("name", metavar="ROLE", type=ROLES)
@click.argument("holder", metavar="KEY")
@format_option
@site_options
@pass_site
def revoke(site: Site, name: str, holder: str, as_json: bool) -> None:
    """Vote for taking a role back."""
    _vote(site, name, holder, "revoke", as_json)


def _vote(site: Site, name: str, holder: str, action: str, as_json: bool) -> None:
    done = ask_for(site, ROLE_VOTE, role=name, holder=holder, action=action)
    if as_json:
        print_json(done)
    else:
        print_pairs((word(key), cell(key, value)) for key, value in as_record(to_json(done)).items())
