"""`fednode doctor --egress`: what leaves this site, to whom, in which messages; with and without a running daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fednode.cli.ask import ask_for
from fednode.cli.show import print_json, print_pairs, print_table, print_text
from fednode.cli.site import Site
from fednode.desk.control_client import NotRunning
from fednode.desk.questions import MEMBER_LIST
from fednode.errors import FednodeError, StorageError

if TYPE_CHECKING:
    from fednode.desk.egress import EgressView, Peer
    from fednode.desk.read_models import KnownMember


def show_egress(site: Site, shows_all: bool, as_json: bool) -> None:
    """Print what can leave this site: in ten lines, or every message."""
    from fednode.desk.egress import egress_view
    from fednode.home.keystore import read_public_keys

    values = site.load().values
    own = read_public_keys(values.home.keystore).peer_id
    peers, source = find_peers(site)
    found = egress_view(values, [peer for peer in peers if peer.peer_id != own], source)
    if as_json:
        print_json(found)
    elif shows_all:
        _print(found)
    else:
        _print_summary(found)


def find_peers(site: Site) -> tuple[list[Peer], str]:
    """Return every hospital this daemon speaks with, and who says so: the daemon, its store, or the genesis."""
    try:
        return [_peer(m, bool(m.is_connected), m.address) for m in ask_for(site, MEMBER_LIST)], "daemon"
    except NotRunning:
        pass
    from fednode.chain.leveldb import open_store
    from fednode.cli.reading import read_genesis
    from fednode.desk.chain_query import founders, stored_members

    values = site.load().values
    try:
        genesis = read_genesis(values.genesis_path)
    except FednodeError as error:
        return [], f"nobody: {error}"
    if not values.home.chain.exists():
        return list(map(_peer, founders(genesis))), "genesis file"
    try:
        store = open_store(values.home.chain, genesis)
    except StorageError as error:
        return list(map(_peer, founders(genesis))), f"genesis file ({error})"
    try:
        return list(map(_peer, stored_members(store.load_state()))), "store"
    finally:
        store.close()


def _peer(known: KnownMember, is_connected: bool = False, address: str | None = None) -> Peer:
    from fednode.desk.egress import Peer

    return Peer(
        id=known.id, name=known.name, peer_id=known.peer_id, addresses=known.addresses, is_connected=is_connected,
        address=address,
    )


def _print_summary(found: EgressView) -> None:
    """Print ten lines for whoever is responsible for data protection."""
    names = ", ".join(peer.name for peer in found.peers) or "nobody yet"
    print_pairs([
        ("goes to", f"{names} (as the {found.source} says), and to nobody else"),
        ("what goes", "masked numbers of model updates, votes, blocks and models"),
        ("how", "encrypted for the receiving hospital, over connections between the hospitals' own daemons"),
        ("comes in at", ", ".join(found.listens)),
        ("name service", f"is asked for {', '.join(found.name_lookups) or 'nothing'}"),
        ("never leave", f"tables: {', '.join(found.tables) or 'none configured'}"),
        *(("never leaves", line) for line in found.never),
    ])
    print_text(f"'fednode doctor --egress --all' lists every one of the {len(found.messages)} messages")


def _print(found: EgressView) -> None:
    click.echo(f"To these hospitals and to nobody else (as the {found.source} says):")
    print_table(
        ["member", "name", "addresses", "connected", "peer id"],
        [
            (str(p.id), p.name, ", ".join(p.addresses), f"yes, {p.address}" if p.is_connected else "no", p.peer_id)
            for p in found.peers
        ],
    )
    print_pairs([
        ("listens on", ", ".join(found.listens)),
        ("asks the name service for", ", ".join(found.name_lookups) or "nothing"),
        ("tables, which never leave", ", ".join(found.tables) or "none configured"),
    ])
    click.echo("\nIn these messages, encrypted for the receiving hospital (--format json names every field):")
    rows = [(kind.channel, kind.kind, kind.words, kind.made_from) for kind in found.messages]
    print_table(["channel", "message", "what it is", "made from"], rows)
    click.echo("\nNever:")
    for line in found.never:
        click.echo(f"  - {line}")
