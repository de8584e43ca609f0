"""`fednode doctor --egress`: what leaves this site, to whom, in which messages; with and without a running daemon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from fednode.cli.ask import as_record, as_records, ask
from fednode.cli.show import print_json, print_pairs, print_table
from fednode.cli.site import Site
from fednode.desk.control_client import NotRunning
from fednode.documents import Json
from fednode.errors import FednodeError, StorageError

if TYPE_CHECKING:
    from fednode.ledger.genesis import Genesis
    from fednode.ledger.members.identity import IdentityCard
    from fednode.ledger.members.records import MemberRecord

PEER_KEYS = ("id", "name", "peer_id", "addresses", "is_connected", "address")


def show_egress(site: Site, as_json: bool) -> None:
    """Print what can leave this site."""
    from fednode.desk.egress import egress_view
    from fednode.home.keystore import read_public_keys

    values = site.load().values
    own = read_public_keys(values.home.keystore).peer_id
    peers, source = find_peers(site)
    found = egress_view(values, [peer for peer in peers if peer.get("peer_id") != own], source)
    if as_json:
        print_json(found)
    else:
        _print(found)


def find_peers(site: Site) -> tuple[list[Mapping[str, Json]], str]:
    """Return every hospital this daemon speaks with, and who says so: the daemon, its store, or the genesis."""
    try:
        members = as_records(ask(site, "member_list"))
        return [{name: member.get(name) for name in PEER_KEYS} for member in members], "daemon"
    except NotRunning:
        pass
    from fednode.chain.leveldb import open_store
    from fednode.cli.reading import read_genesis
    from fednode.ledger.members.reading import get_members

    values = site.load().values
    try:
        genesis = read_genesis(values.genesis_path)
    except FednodeError as error:
        return [], f"nobody: {error}"
    if not values.home.chain.exists():
        return _founders(genesis), "genesis file"
    try:
        store = open_store(values.home.chain, genesis)
    except StorageError as error:
        return _founders(genesis), f"genesis file ({error})"
    try:
        return [_peer(int(record.member), record) for record in get_members(store.load_state())], "store"
    finally:
        store.close()


def _founders(genesis: Genesis) -> list[Mapping[str, Json]]:
    return [_peer(number, card) for number, card in genesis.numbered]


def _peer(number: int, known: IdentityCard | MemberRecord) -> Mapping[str, Json]:
    from fednode.p2p.addresses import peer_id_of

    values = (number, known.name, str(peer_id_of(known.network_key)), list(known.addresses), False, None)
    return dict(zip(PEER_KEYS, values, strict=True))


def _print(found: Mapping[str, Json]) -> None:
    click.echo(f"To these hospitals and to nobody else (as the {found['source']} says):")
    print_table(
        ["member", "name", "addresses", "connected", "peer id"],
        [
            (str(p.get("id")), str(p.get("name")), _joined(p.get("addresses")),
             f"yes, {p.get('address')}" if p.get("is_connected") else "no", str(p.get("peer_id")))
            for p in as_records(found["peers"])
        ],
    )
    print_pairs([
        ("listens on", _joined(found["listens"])),
        ("asks the name service for", _joined(found["name_lookups"]) or "nothing"),
        ("tables, which never leave", _joined(found["tables"]) or "none configured"),
    ])
    click.echo("\nIn these messages, encrypted for the receiving hospital (--format json names every field):")
    rows = [
        (str(kind.get("channel")), str(kind.get("kind")), str(kind.get("words")), str(kind.get("from")))
        for kind in map(as_record, _items(found["messages"]))
    ]
    print_table(["channel", "message", "what it is", "made from"], rows)
    click.echo("\nNever:")
    for line in _items(found["never"]):
        click.echo(f"  - {line}")


def _items(value: Json) -> Iterable[Json]:
    return value if isinstance(value, (list, tuple)) else ()


def _joined(value: Json) -> str:
    return ", ".join(map(str, _items(value)))
