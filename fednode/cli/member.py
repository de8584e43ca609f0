"""`fednode member`: the hospitals of the federation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from fednode.cli.ask import as_records, ask
from fednode.cli.daemon import print_members
from fednode.cli.show import print_json, print_table
from fednode.cli.site import Site, format_option, group, pass_site, site_options
from fednode.node.control_client import NotRunning


@group("member")
def member() -> None:
    """The hospitals of the federation."""


@member.command("list", example="fednode member list")
@format_option
@site_options
@pass_site
def list_members(site: Site, as_json: bool) -> None:
    """Show who is a member and, while the daemon runs, who can be reached from here."""
    try:
        found: list[Mapping[str, Any]] = as_records(ask(site, "member_list"))
    except NotRunning:
        _list_founders(site, as_json)
        return
    if as_json:
        print_json(found)
    else:
        print_members(found)


def _list_founders(site: Site, as_json: bool) -> None:
    """Without a daemon: the members of the genesis file."""
    from fednode.cli.genesis import member_records, read_genesis

    found = member_records(read_genesis(site.load().values.genesis_path))
    if as_json:
        print_json(found)
    else:
        rows = [(str(m["id"]), str(m["name"]), str(m["fingerprint"]), "\n".join(m["addresses"])) for m in found]
        print_table(["member", "name", "fingerprint", "addresses"], rows)
        click.echo("from the genesis file; no daemon runs on this home")
