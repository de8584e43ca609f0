"""`fednode genesis`: the file that founds a federation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.reading import read_card, read_genesis, read_study
from fednode.cli.show import print_json, print_pairs, print_table, utc, warn
from fednode.cli.site import Site, confirm, format_option, group, pass_site, site_options, yes_option
from fednode.dialling import find_shared, place_of, warning_about
from fednode.errors import GenesisError

if TYPE_CHECKING:
    from fednode.desk.read_models import KnownMember
    from fednode.ledger.genesis import Genesis, GenesisStudy


@group("genesis")
def genesis() -> None:
    """Found a federation: create, show."""


@genesis.command(
    "create",
    example="fednode genesis create --member anna.toml --member berta.toml --member clara.toml --member dora.toml "
    "\\\n    --study genesis/breast_cancer.toml -o genesis.toml\n"
    "fednode genesis create --network genesis/heart_network.toml --member cleveland.toml --member budapest.toml "
    "\\\n    --member zurich.toml --member long-beach.toml -o genesis.toml",
)
@click.option("--member", "cards", multiple=True, required=True, type=click.Path(path_type=Path), metavar="CARD",
              help="Identity card of a hospital; once for each.")
@click.option("--study", "studies", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Study that all agree on from the start; may be repeated.")
@click.option("--network", "network_path", type=click.Path(path_type=Path), metavar="FILE",
              help="Network definition: name, hospitals and studies agreed beforehand.")
@click.option("--name", help="Name of the federation.  [default: that of --network, or fednode]")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write.")
@yes_option
@format_option
@site_options
def create(
    cards: tuple[Path, ...], studies: tuple[Path, ...], network_path: Path | None, name: str | None, output: Path,
    yes: bool, as_json: bool,
) -> None:
    """Make the genesis file from all identity cards.

    Every hospital must start with the same file: compare the chain id, or the fingerprints it shows, by voice.
    With a network definition the cards must be exactly those of the hospitals it names.
    """
    from fednode.cli.network_file import read_network
    from fednode.home.files import PUBLIC_FILE, write_atomic
    from fednode.ledger.genesis import genesis_to_toml, make_genesis

    if output.exists():
        confirm(f"{output} exists; replace it?", yes)
    members = [read_card(path) for path in cards]
    if network_path is not None:
        network = read_network(network_path)
        network.check_cards([card.name for card in members], network_path)
        name, studies = name or network.name, (*network.studies, *studies)
    agreed = [_genesis_study(path, len(cards)) for path in studies]
    made = make_genesis(name or "fednode", members, agreed, time.time_ns() // 1_000_000)
    if shared := find_shared([card.addresses for card in members]):
        names = ", ".join(f"'{card.name}'" for card in members if place_of(shared) in map(place_of, card.addresses))
        raise GenesisError(f"two members say that {shared} leads to them ({names}); ask for cards with own addresses")
    write_atomic(output, genesis_to_toml(made).encode(), PUBLIC_FILE)
    for sentence in (*warnings_of(len(cards)), warning_about([text for card in members for text in card.addresses])):
        warn(sentence)
    _print_genesis(made, as_json)
    if not as_json:
        click.echo(f"written to {output}; give the same file to every member")


@genesis.command("show", example="fednode genesis show genesis.toml\nfednode genesis show --format json")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@format_option
@site_options
@pass_site
def show(site: Site, file: Path | None, as_json: bool) -> None:
    """Show a genesis file and what it means.

    Show chain id, members, fault bound and quorum, and what they mean. Without FILE: that of this home."""
    _print_genesis(read_genesis(file if file is not None else site.load().values.genesis_path), as_json)


def warnings_of(count: int) -> list[str]:
    """Return what a small federation gives up."""
    if count >= 4:
        return []
    text = f"with {count} member{'s' * (count != 1)} nobody may fail; from 4 on one may be away, broken or hostile"
    return [text] if count != 3 else [text, "with 3 members every loss voids the round"]


def _genesis_study(path: Path, member_count: int) -> GenesisStudy:
    from fednode.learn.form import check_members
    from fednode.learn.study import study_bytes
    from fednode.ledger.genesis import GenesisStudy
    from fednode.rounds.terms import terms_from_spec

    spec = read_study(path)
    check_members(member_count)
    return GenesisStudy(terms_from_spec(spec), study_bytes(spec))


def _print_genesis(made: Genesis, as_json: bool) -> None:
    from fednode.desk.chain_query import founders
    from fednode.ids import fault_bound, quorum
    from fednode.ledger.genesis import describe_members

    count, origin = len(made.members), made.origin
    words = describe_members(count)
    if as_json:
        print_json({
            "name": made.name, "chain_id": made.chain_id.hex(), "protocol_version": made.protocol_version,
            "time_ms": made.time_ms, "n": count, "f": fault_bound(count), "quorum": quorum(count),
            "succeeds": None if origin is None else {"chain_id": origin.chain_id.hex(), "height": int(origin.height)},
            "meaning": list(words), "members": founders(made), "studies": _studies(made),
        })
        return
    print_pairs([
        ("federation", made.name), ("chain id", made.chain_id.hex()), ("made", utc(made.time_ms)),
        ("protocol", str(made.protocol_version)),
        *([] if origin is None else [("succeeds", f"chain {origin.chain_id.hex()} after block {origin.height}")]),
        ("members", f"n = {count}, f = {fault_bound(count)}, quorum = {quorum(count)}"),
    ])
    for sentence in words:
        click.echo(f"  {sentence}")
    print_known(founders(made))
    if made.studies:
        rows_of = [(str(s["name"]), str(s["id"])[:12], str(s["rounds"])) for s in _studies(made)]
        print_table(["study", "id", "rounds"], rows_of)


def print_known(found: Sequence[KnownMember]) -> None:
    """Print a line for each hospital with what people compare before they trust it."""
    rows = [(str(m.id), m.name, m.fingerprint, "\n".join(m.addresses)) for m in found]
    print_table(["member", "name", "fingerprint", "addresses"], rows)


def _studies(made: Genesis) -> list[dict[str, Any]]:
    from fednode.learn.study import decode_study

    return [
        {"id": study.study.hex(), "name": decode_study(study.spec).name, "rounds": study.terms.rounds}
        for study in made.studies
    ]
