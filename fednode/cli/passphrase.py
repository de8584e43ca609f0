"""Asking for passphrases, and unlocking this hospital's keys with one. What is typed is never shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fednode.cli.site import Site

if TYPE_CHECKING:
    from fednode.crypto import Secret
    from fednode.home.keystore import Keys


def unlock(site: Site, passphrase_file: Path | None) -> Keys:
    """Unlock the site's keystore with the passphrase from the nearest source."""
    from fednode.home.keystore import unlock_keystore

    passphrase = ask_passphrase(site, passphrase_file)
    return unlock_keystore(site.load().values.home.keystore, passphrase)


def ask_passphrase(site: Site, passphrase_file: Path | None) -> Secret[bytes]:
    """Return the passphrase of the site's keystore from the nearest source."""
    from fednode.home.keystore import find_passphrase, read_public_keys

    values = site.load().values
    read_public_keys(values.home.keystore)  # a missing or damaged one is told before anybody types a passphrase

    def prompt() -> str:
        return str(click.prompt("Passphrase of the keystore", hide_input=True, err=True))

    source = prompt if sys.stdin.isatty() else None
    return find_passphrase(passphrase_file, os.environ, values.keys.passphrase_file, source)


def ask_backup_passphrase(option: Path | None, *, is_new: bool) -> Secret[bytes]:
    """Return the passphrase of a backup from the nearest source; a new one is asked for twice."""
    from fednode.home.keystore import find_backup_passphrase

    def prompt() -> str:
        return str(click.prompt("Passphrase of the backup", hide_input=True, confirmation_prompt=is_new, err=True))

    return find_backup_passphrase(option, os.environ, prompt if sys.stdin.isatty() else None)


def new_passphrase() -> str:
    """Say what a passphrase must be, and ask for one twice; after a slip, again."""
    from fednode.home.keystore import MIN_PASSPHRASE_CHARACTERS

    click.echo(
        f"The passphrase protects the keys on this disk. It has at least {MIN_PASSPHRASE_CHARACTERS} characters; "
        "several words are best. Nobody can bring it back.", err=True,
    )
    return str(click.prompt(
        "Passphrase for the keystore", hide_input=True, confirmation_prompt=True, err=True, value_proc=_long_enough
    ))


def _long_enough(text: str) -> str:
    """Return a passphrase that was typed; one that is too short is told, and click asks again."""
    from fednode.crypto import Secret
    from fednode.errors import KeystoreError
    from fednode.home.keystore import check_new_passphrase

    try:
        check_new_passphrase(Secret(text.encode()))
    except KeystoreError as error:
        click.echo(error, err=True)  # click tells no reasons about what is typed unseen
        raise click.BadParameter(str(error)) from None
    return text
