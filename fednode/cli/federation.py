"""`fednode federation succeed`: a new chain for a federation whose old one cannot go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.show import print_json, print_pairs, print_table, short
from fednode.cli.site import Site, confirm, format_option, group, pass_site, passphrase_option, site_options, yes_option
from fednode.errors import GenesisError, Refused

if TYPE_CHECKING:
    from fednode.chain.leveldb import LevelDbStore
    from fednode.ledger.genesis import Genesis
    from fednode.ledger.succession import Consent

CONSENT_FORMAT = 1


@group("federation")
def federation() -> None:
    """Let a new chain succeed one that cannot go on."""


@group("succeed")
def succeed() -> None:
    """Found the successor of a chain that has stopped.

    Found the successor of a chain on which too many members can no longer sign.

    Stop the daemon first. Every hospital that still has its keys and wants to go on signs ('sign', once, for good) and
    hands its file to one of them, which makes the new genesis from those it got ('assemble'); each of them then joins
    with it ('join') and starts. Nobody is waited for: who did not sign is not a member, and can be invited later.
    """


federation.add_command(succeed)


@succeed.command("sign", example="fednode stop\nfednode federation succeed sign -o anna-goes-on.toml")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write.")
@passphrase_option
@yes_option
@format_option
@site_options
@pass_site
def sign(site: Site, output: Path, passphrase_file: Path | None, yes: bool, as_json: bool) -> None:
    """Sign that this hospital joins a successor.

    Sign that this hospital goes on in a successor of its chain, and nothing more on the chain from then on.
    """
    from fednode.cli.card import make_card
    from fednode.cli.passphrase import unlock
    from fednode.home.files import PUBLIC_FILE, write_atomic
    from fednode.home.keystore import SystemEntropy
    from fednode.home.succession import load_consent, sign_consent

    with _held(site) as (genesis, store):
        values, kept = site.load().values, load_consent(site.home, genesis.chain_id)
        if kept is None and not yes:
            print_pairs([
                ("chain", f"{genesis.name}, {genesis.chain_id.hex()}"), ("ends here at block", str(store.tip.height)),
            ])
            click.echo(
                "After this the hospital never votes on this chain again, whether the successor begins or not. Do not "
                "sign if its keys come from a backup made before it signed once already."
            )
        confirm("Sign?", yes or kept is not None)
        unlocked = unlock(site, passphrase_file)
        consent = sign_consent(site.home, unlocked, genesis, store, make_card(values, unlocked), SystemEntropy())
    write_atomic(output, consent_to_toml(consent).encode(), PUBLIC_FILE)
    found = _consent_view(consent)
    if as_json:
        print_json({**found, "file": str(output), "is_new": kept is None})
        return
    print_pairs([(key.replace("_", " "), str(value)) for key, value in found.items()])
    click.echo(f"hand {output} to whoever assembles the successor; 'fednode start' lets the others fetch blocks")


@succeed.command(
    "assemble", example="fednode federation succeed assemble anna-goes-on.toml berta-goes-on.toml -o successor.toml"
)
@click.argument("consents", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="Name of the federation.  [default: as before]")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write.")
@format_option
@site_options
@pass_site
def assemble(site: Site, consents: tuple[Path, ...], name: str | None, output: Path, as_json: bool) -> None:
    """Make the successor's genesis file.

    Make the successor's genesis from the files of all that signed. This home must hold the highest of their ends."""
    from fednode.home.files import PUBLIC_FILE, write_atomic
    from fednode.ledger.genesis import genesis_to_toml, make_successor
    from fednode.ledger.succession import make_origin

    found = [read_consent(path) for path in consents]
    with _held(site) as (genesis, store):
        certificate = store.get_certificate(store.tip.height) if store.tip.height else None
        origin = make_origin(found, store.tip, certificate, store.load_state(), store.get_members)
        successor = make_successor(name or genesis.name, origin, time.time_ns() // 1_000_000)
    write_atomic(output, genesis_to_toml(successor).encode(), PUBLIC_FILE)
    _tell(successor, output, as_json)


@succeed.command("show", example="fednode federation succeed show successor.toml --format json")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@format_option
@site_options
def show(file: Path, as_json: bool) -> None:
    """Show a successor's genesis or a signed consent."""
    from fednode.cli.reading import read_genesis

    try:
        consent = read_consent(file)
    except GenesisError:
        _tell(read_genesis(file), None, as_json)
        return
    view = _consent_view(consent)
    print_json(view) if as_json else print_pairs([(key.replace("_", " "), str(value)) for key, value in view.items()])


@succeed.command("join", example="fednode federation succeed join successor.toml\nfednode start --background")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--unchecked", is_flag=True, help="This home does not hold the old chain to its end: trust the chain id, "
              "compared by voice. What it holds is checked where it goes that far.")
@passphrase_option
@yes_option
@format_option
@site_options
@pass_site
def join(
    site: Site, file: Path, unchecked: bool, passphrase_file: Path | None, yes: bool, as_json: bool
) -> None:
    """Go on with the successor.

    Go on with the successor: check it against the old chain, keep that aside, and put the new genesis in place.

    A hospital joins one successor. All of them must join the same: compare the chain id by voice.
    """
    from fednode.cli.passphrase import unlock
    from fednode.cli.reading import read_genesis
    from fednode.home.succession import check_may_join, check_time, has_joined, join_successor

    successor = read_genesis(file)
    check_may_join(site.home, successor)
    with _locked(site) as old:  # to the end: no daemon fetches a later block after the check
        if old.chain_id != successor.chain_id and not has_joined(site.home, successor):
            check_time(successor, time.time_ns() // 1_000_000)
            _check_end(site, old, successor, unchecked)
        if not yes:
            _tell(successor, None, False)
        confirm("Do all of them read the same chain id?", yes)
        unlocked = unlock(site, passphrase_file)
        join_successor(site.home, site.load().values.genesis_path, old, successor, unlocked)
    _tell(successor, None, as_json)
    if not as_json:
        click.echo("'fednode start' goes on with it")


# --- files and views -----------------------------------------------------------------------------------------------

@contextlib.contextmanager
def _locked(site: Site) -> Iterator[Genesis]:
    """Hold the home: no daemon runs meanwhile. Gives the genesis that is in place."""
    from fednode.cli.reading import read_genesis
    from fednode.home.files import HomeLock

    values = site.load().values
    genesis = read_genesis(values.genesis_path)
    values.home.create()
    lock = HomeLock.acquire(values.home)
    try:
        yield genesis
    finally:
        lock.release()


@contextlib.contextmanager
def _held(site: Site) -> Iterator[tuple[Genesis, LevelDbStore]]:
    """Hold the home and open its store."""
    from fednode.chain.leveldb import open_store
    from fednode.home.succession import check_not_joined

    with _locked(site) as genesis:
        check_not_joined(site.home, genesis)
        store = open_store(site.home.chain, genesis)
        try:
            yield genesis, store
        finally:
            store.close()


def _check_end(site: Site, old: Genesis, successor: Genesis, unchecked: bool) -> None:
    """Raise unless the successor follows from what this home holds of the old chain.

    Unchecked, it may hold less than the successor rests on, and never as much or more.
    """
    from fednode.chain.leveldb import open_store
    from fednode.ledger.succession import check_against

    store = open_store(site.home.chain, old)
    try:
        origin, tip = successor.origin, store.tip
        is_short = origin is not None and origin.chain_id == tip.chain_id and tip.height < origin.height
        if not (unchecked and is_short):
            check_against(successor.origin, tip, store.load_state(), store.get_members)
    finally:
        store.close()


def consent_to_toml(consent: Consent) -> str:
    """Return the text of a consent's file."""
    from fednode.codec import encode

    lines = [
        f"# '{consent.card.name}' (member {consent.member}) goes on in a successor of chain {consent.chain_id.hex()},",
        f"# which it holds up to block {consent.height}. For 'fednode federation succeed assemble'.",
        f"format = {CONSENT_FORMAT}", f'consent = "{encode(consent).hex()}"',
    ]
    return "\n".join([*lines, ""])


def read_consent(path: Path) -> Consent:
    """Read and check the file of a consent; raise `GenesisError`."""
    from fednode.codec import decode
    from fednode.documents import toml_of
    from fednode.errors import Rejected
    from fednode.home.files import read_bounded
    from fednode.ledger.genesis import MAX_CONSENT_BYTES
    from fednode.ledger.succession import Consent, check_consent

    fix = "get it again from the hospital that signed"
    table = toml_of(read_bounded(path, 4 * MAX_CONSENT_BYTES, "consent", GenesisError), str(path), GenesisError, fix)
    text = table.get("consent")
    if set(table) != {"format", "consent"} or table["format"] != CONSENT_FORMAT or not isinstance(text, str):
        raise GenesisError(f"{path}: this is no consent to a succession; {fix}")
    try:
        consent = decode(Consent, bytes.fromhex(text), MAX_CONSENT_BYTES)
    except (ValueError, Rejected):
        raise GenesisError(f"{path}: the consent cannot be read; {fix}") from None
    check_consent(consent)
    return consent


def _consent_view(consent: Consent) -> dict[str, Any]:
    return {
        "name": consent.card.name, "member": int(consent.member), "old_chain": consent.chain_id.hex(),
        "holds_block": int(consent.height), "block_hash": consent.block_hash.hex(),
    }


def _tell(successor: Genesis, output: Path | None, as_json: bool) -> None:
    from fednode.ids import fault_bound, quorum

    origin = successor.origin
    if origin is None:
        raise Refused("this genesis founds a chain of its own; 'fednode genesis show' shows it")
    count = len(successor.members)
    if as_json:
        print_json({
            "chain_id": successor.chain_id.hex(), "name": successor.name,
            "file": None if output is None else str(output),
            "old_chain": origin.chain_id.hex(), "old_height": int(origin.height), "old_hash": origin.block_hash.hex(),
            "n": count, "f": fault_bound(count), "quorum": quorum(count), "carried_records": len(origin.carried),
            "members": [_consent_view(consent) for consent in origin.consents],
        })
        return
    print_pairs([
        ("federation", successor.name), ("chain id", successor.chain_id.hex()),
        ("succeeds", f"chain {short(origin.chain_id.hex())} after block {origin.height}"),
        ("members", f"n = {count}, f = {fault_bound(count)}, q = {quorum(count)}"),
        ("carried over", f"{len(origin.carried)} records of members, roles, studies and rounds"),
    ])
    rows = [(str(c.member), c.card.name, str(c.height)) for c in origin.consents]
    print_table(["member", "name", "held block"], rows)
    if output is not None:
        click.echo(f"written to {output}: hand it to all of them, and compare the chain id by voice")
