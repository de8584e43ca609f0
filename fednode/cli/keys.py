"""`fednode keys`: the public side of this hospital's keys. Secrets are never printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fednode.cli.card import write_card
from fednode.cli.passphrase import ask_backup_passphrase, ask_passphrase, new_passphrase, unlock
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
from fednode.errors import KeystoreError

if TYPE_CHECKING:
    from fednode.home.keystore import PublicKeys


@group("keys")
def keys() -> None:
    """This hospital's keys: show, replace, back up."""


@keys.command("show", example="fednode keys show")
@format_option
@site_options
@pass_site
def show(site: Site, as_json: bool) -> None:
    """Show public keys and the fingerprint.

    Show both public keys, the peer id and the fingerprint to read over the phone. Needs no passphrase."""
    from fednode.home.keystore import read_public_keys

    public = read_public_keys(site.home.keystore)
    values = {
        "sign": public.sign.hex(),
        "network": public.network.hex(),
        "peer_id": public.peer_id,
        "fingerprint": public.fingerprint,
    }
    if as_json:
        print_json(values)
    else:
        print_pairs((name.replace("_", " "), value) for name, value in values.items() if name != "fingerprint")
        print_fingerprint(public)


@keys.command("card", example="fednode keys card\nfednode keys card --output anna-card.toml --format json")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.")
@passphrase_option
@format_option
@site_options
@pass_site
def card(site: Site, output: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Write the identity card anew.

    Needed after name or addresses have changed in the configuration.
    """
    values = site.load().values
    unlocked = unlock(site, passphrase_file)
    path = output or values.home.card
    write_card(path, values, unlocked)
    if as_json:
        print_json({"card": str(path), "fingerprint": unlocked.public.fingerprint, "sign": unlocked.public.sign.hex()})
        return
    click.echo(f"identity card: {path}")
    print_fingerprint(unlocked.public)


@keys.command(
    "rotate",
    example="fednode keys rotate --yes\nfednode start\n\nfednode keys rotate --sign --yes",
)
@click.option("--sign", is_flag=True, help="Replace the key of votes and transactions.")
@click.option("--network", is_flag=True, help="Replace the key by which the others know this daemon's connections.")
@yes_option
@passphrase_option
@format_option
@site_options
@pass_site
def rotate(site: Site, sign: bool, network: bool, yes: bool, passphrase_file: Path | None, as_json: bool) -> None:
    """Replace keys.

    Replace keys: announced on the ledger, signed by the old and by the new sign key.

    Without --sign or --network both are replaced. The daemon must run; it is stopped once the ledger holds the new
    keys, and is started again with them. The old keystore, and with a new sign key the old sign-state, are kept beside
    the new ones. A command that was cut short is simply given again.
    """
    from fednode.cli.rotate import rotate_keys

    which = {name for name, wanted in (("sign", sign), ("network", network)) if wanted}
    confirm("Replace the keys of this hospital? Back up the new keystore afterwards.", yes)
    done = rotate_keys(site, ask_passphrase(site, passphrase_file), which or {"sign", "network"})
    if as_json:
        print_json(done)
    else:
        print_pairs((name.replace("_", " "), cell_text(value)) for name, value in done.items())
        click.echo("the daemon has stopped; start it again with 'fednode start', and make a new backup of the keys")


backup_passphrase_option = click.option(
    "--backup-passphrase-file", type=click.Path(path_type=Path), metavar="FILE",
    help="File with the backup's passphrase; else FEDNODE_BACKUP_PASSPHRASE_FILE, FEDNODE_BACKUP_PASSPHRASE, a prompt.",
)


@keys.command(
    "backup",
    example="fednode keys backup --to /media/safe/anna-keys.toml\n"
    "fednode keys backup --to keys.toml --backup-passphrase-file /run/secrets/backup --format json",
)
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file.")
@backup_passphrase_option
@passphrase_option
@format_option
@site_options
@pass_site
def backup(
    site: Site, target: Path, backup_passphrase_file: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """Write a copy of the keys, encrypted.

    The copy is a new file, mode 0600, encrypted under a passphrase of its own.

    Keep file and passphrase apart, and away from this machine. 'fednode keys restore' brings the keys back; what was
    signed since is not in the backup, so restored keys sign nothing until the sign key is replaced.
    """
    from fednode.desk.todo import BACKED_UP
    from fednode.home.files import PRIVATE_FOLDER, write_atomic
    from fednode.home.keystore import SystemEntropy, copy_keystore

    home = site.load().values.home
    passphrase = ask_passphrase(site, passphrase_file)
    secret = ask_backup_passphrase(backup_passphrase_file, is_new=True)
    public = copy_keystore(home.keystore, passphrase, target, secret, SystemEntropy())
    home.var.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    write_atomic(home.var / BACKED_UP, public.sign.hex().encode())
    _tell_copy("backup", target, public, as_json)
    if not as_json:
        click.echo("keep it apart from its passphrase; 'fednode keys restore --from FILE' brings the keys back")


@keys.command(
    "restore",
    example="fednode --home /srv/fednode keys restore --from /media/safe/anna-keys.toml\n"
    "fednode --home /srv/fednode start\nfednode --home /srv/fednode keys rotate --sign --yes",
)
@click.option("--from", "source", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The backup.")
@backup_passphrase_option
@passphrase_option
@format_option
@site_options
@pass_site
def restore(
    site: Site, source: Path, backup_passphrase_file: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """Bring keys back from a backup.

    Bring keys back from a backup into a home that has none; the passphrase of the keystore is chosen anew.

    The keys may have signed anything since the backup was made. So the daemon follows the chain with them and signs
    nothing, until 'fednode keys rotate --sign' has replaced the sign key; with the newest var/sign-state of the old
    machine in its place it goes on as before.
    """
    from fednode.daemon.start_checks import restored_mark
    from fednode.home.files import HomeLock, write_atomic
    from fednode.home.keystore import SystemEntropy, copy_keystore, find_passphrase, read_public_keys

    home = site.home
    public = read_public_keys(source)
    if home.keystore.exists():
        text = f"{home.root} already holds a hospital's keys"
        raise KeystoreError(f"{text}; choose another --home, or move {home.keystore} away yourself")
    secret = ask_backup_passphrase(backup_passphrase_file, is_new=False)
    prompt = new_passphrase if sys.stdin.isatty() else None
    passphrase = find_passphrase(passphrase_file, os.environ, None, prompt)
    home.create()
    lock = HomeLock.acquire(home)
    try:
        write_atomic(restored_mark(home, public), b"This key came out of a backup and may have signed since.\n")
        copy_keystore(source, secret, home.keystore, passphrase, SystemEntropy())
    finally:
        lock.release()
    _tell_copy("restored", home.keystore, public, as_json)
    if not as_json:
        click.echo(f"next: put hospital.toml and genesis.toml back into {home.etc}, then start the daemon and give")
        click.echo(f"  fednode --home {home.root} keys rotate --sign")


def _tell_copy(name: str, path: Path, public: PublicKeys, as_json: bool) -> None:
    if as_json:
        print_json({"path": str(path), "fingerprint": public.fingerprint, "sign": public.sign.hex()})
    else:
        print_pairs([(name, str(path))])
        print_fingerprint(public)


def cell_text(value: object) -> str:
    """Return a value for people: lists with commas."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def print_fingerprint(public: PublicKeys) -> None:
    """Print the fingerprint in two lines of six groups."""
    groups = public.fingerprint.split(" ")
    half = len(groups) // 2
    print_pairs([("fingerprint", " ".join(groups[:half])), ("", " ".join(groups[half:]))])
