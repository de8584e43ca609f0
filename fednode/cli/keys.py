"""`fednode keys`: the public side of this hospital's keys. Secrets are never printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fednode.cli.show import print_json, print_pairs
from fednode.cli.site import (
    Site,
    confirm,
    format_option,
    group,
    pass_site,
    passphrase_option,
    site_options,
    yes_option,
)

if TYPE_CHECKING:
    from fednode.crypto import Secret
    from fednode.node.config import HospitalConfig
    from fednode.node.keystore import Keys, PublicKeys


@group("keys")
def keys() -> None:
    """This hospital's public keys and identity card, and their replacement."""


@keys.command("show", example="fednode keys show")
@format_option
@site_options
@pass_site
def show(site: Site, as_json: bool) -> None:
    """Show the three public keys, the peer id and the fingerprint to read over the phone. Needs no passphrase."""
    from fednode.node.keystore import read_public_keys

    public = read_public_keys(site.home.keystore)
    values = {
        "sign": public.sign.hex(),
        "network": public.network.hex(),
        "seal": public.seal.hex(),
        "peer_id": public.peer_id,
        "fingerprint": public.fingerprint,
    }
    if as_json:
        print_json(values)
    else:
        print_pairs((name.replace("_", " "), value) for name, value in values.items() if name != "fingerprint")
        print_fingerprint(public)


@keys.command("card", example="fednode keys card\nfednode keys card --output /tmp/anna-card.toml")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.")
@passphrase_option
@site_options
@pass_site
def card(site: Site, output: Path | None, passphrase_file: Path | None) -> None:
    """Write the identity card anew, after name or addresses have changed in the configuration."""
    values = site.load().values
    unlocked = unlock(site, passphrase_file)
    path = output or values.home.card
    write_card(path, values, unlocked)
    click.echo(f"identity card: {path}")
    print_fingerprint(unlocked.public)


@keys.command("rotate", example="fednode keys rotate --yes\nfednode start")
@yes_option
@passphrase_option
@format_option
@site_options
@pass_site
def rotate(site: Site, yes: bool, passphrase_file: Path | None, as_json: bool) -> None:
    """Replace sign and network key: announced on the ledger, signed by the old and by the new key.

    The daemon must run; it is stopped once the ledger holds the new keys, and is started again with them. The old
    keystore and sign-state are kept beside the new ones. A command that was cut short is simply given again.
    """
    from fednode.cli.rotate import rotate_keys

    confirm("Replace the keys of this hospital? Back up the new keystore afterwards.", yes)
    done = rotate_keys(site, ask_passphrase(site, passphrase_file))
    if as_json:
        print_json(done)
    else:
        print_pairs((name.replace("_", " "), str(value)) for name, value in done.items())
        click.echo("the daemon has stopped; start it again with 'fednode start'")


def print_fingerprint(public: PublicKeys) -> None:
    """Print the fingerprint in two lines of six groups."""
    groups = public.fingerprint.split(" ")
    half = len(groups) // 2
    print_pairs([("fingerprint", " ".join(groups[:half])), ("", " ".join(groups[half:]))])


def unlock(site: Site, passphrase_file: Path | None) -> Keys:
    """Unlock the site's keystore with the passphrase from the nearest source."""
    from fednode.node.keystore import unlock_keystore

    passphrase = ask_passphrase(site, passphrase_file)
    return unlock_keystore(site.load().values.home.keystore, passphrase)


def ask_passphrase(site: Site, passphrase_file: Path | None) -> Secret[bytes]:
    """Return the passphrase of the site's keystore from the nearest source."""
    from fednode.node.keystore import find_passphrase, read_public_keys

    values = site.load().values
    read_public_keys(values.home.keystore)  # a missing or damaged one is told before anybody types a passphrase

    def prompt() -> str:
        return str(click.prompt("Passphrase of the keystore", hide_input=True, err=True))

    source = prompt if sys.stdin.isatty() else None
    return find_passphrase(passphrase_file, os.environ, values.keys.passphrase_file, source)


def write_card(path: Path, values: HospitalConfig, unlocked: Keys) -> None:
    """Write the identity card of these keys with the configured name and addresses."""
    from fednode.ledger.identity import card_to_toml, make_identity_card
    from fednode.node.files import PUBLIC_FILE, write_atomic
    from fednode.node.keystore import SystemEntropy

    card_made = make_identity_card(
        values.node.name, values.network.advertise or values.network.listen, unlocked.sign,
        unlocked.network_signer, unlocked.seal_key, SystemEntropy(),
    )
    write_atomic(path, card_to_toml(card_made).encode(), PUBLIC_FILE)
