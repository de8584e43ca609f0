"""`fednode init`: a hospital's identity, made on its own machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fednode.cli.card import write_card
from fednode.cli.keys import print_fingerprint
from fednode.cli.passphrase import new_passphrase
from fednode.cli.show import warn
from fednode.cli.site import Site, command, pass_site, passphrase_option
from fednode.dialling import as_multiaddr, port_of, problem_of, why_undialable
from fednode.documents import Unreadable, read_toml
from fednode.errors import KeystoreError, UsageError

if TYPE_CHECKING:
    from fednode.home.files import Home

DEFAULT_LISTEN = "/ip4/0.0.0.0/tcp/7700"


@command(
    "init",
    example='fednode init --name "St. Anna" --advertise fednode.anna.example:7700 --data patients.csv\n'
    "fednode init --home /srv/fednode --name Berta --passphrase-file /run/secrets/fednode",
)
@click.option("--name", metavar="TEXT", help="Name of the hospital, as the others will see it.")
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, metavar="ADDR",
              help="Address to listen on, as host:port or multiaddr.")
@click.option("--advertise", multiple=True, metavar="ADDR",
              help="Address the others dial, as host:port or multiaddr; may be repeated.")
@click.option("--data", type=click.Path(path_type=Path), metavar="CSV", help="The hospital's table.")
@passphrase_option
@pass_site
def init(
    site: Site, name: str | None, listen: str, advertise: tuple[str, ...], data: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Make this hospital's keys, settings and card.

    The keys never leave this machine. Give the identity card to whoever makes the genesis file, and read the
    fingerprint to them over the phone.
    """
    from fednode.home.config import config_template, load_config
    from fednode.home.files import HomeLock, write_atomic
    from fednode.home.keystore import SystemEntropy, check_new_passphrase, create_keystore, find_passphrase
    from fednode.ledger.members.identity import why_no_name

    if site.config_option is not None:
        raise UsageError("init writes the configuration into the home; give --home DIR instead of --config")
    home = site.home
    if home.keystore.exists():
        text = f"{home.root} already holds a hospital's keys"
        raise KeystoreError(f"{text}; choose another --home, or write its card anew with 'fednode keys card'")
    name = name or _ask_name()
    listen, advertise = as_multiaddr(listen), tuple(map(as_multiaddr, advertise))
    if reason := why_undialable(listen, to_listen=True):
        raise UsageError(f"'{listen}' cannot be listened on: {reason}")
    addresses = advertise or (_reachable(listen),)
    if problem := problem_of(addresses):
        raise UsageError(f"{problem} ({'correct --advertise' if advertise else 'add --advertise ADDR'})")
    if problem := why_no_name(name):
        raise UsageError(f"{problem}; give another --name")
    table = str(data.expanduser().absolute()) if data is not None else None
    text = config_template(name, (listen,), addresses, table)
    _check_existing(home, text)
    source = new_passphrase if sys.stdin.isatty() else None
    passphrase = find_passphrase(passphrase_file, os.environ, None, source)
    check_new_passphrase(passphrase)
    home.create()
    lock = HomeLock.acquire(home)
    try:
        if not home.config.exists() or _is_by_init(home.config):
            write_atomic(home.config, text.encode())
        values = load_config(home.config, {}, home.root).values
        made = create_keystore(home.keystore, passphrase, SystemEntropy())
        write_card(home.card, values, made)
    finally:
        lock.release()
    click.echo(f"configuration  {home.config}\nkeystore       {home.keystore}  (keep a copy)")
    click.echo(f"identity card  {home.card}  (give it to the other hospitals)")
    print_fingerprint(made.public)
    ports = [port_of(address) for address in addresses]
    if port_of(listen) not in ports:
        warn(f"the others dial port {', '.join(ports)}, this daemon listens on {port_of(listen)}: right only where a "
             "router or firewall hands the one on to the other")
    if not advertise:
        click.echo(f"\nThe others will dial {addresses[0]}; if that is wrong, correct [network] advertise and run")
        click.echo(f"  fednode --home {home.root} keys card")
    click.echo("\nNext: send the card to whoever founds the federation, and read them the fingerprint by phone.\n"
               f"Then put the genesis file that comes back at {home.genesis} and run\n"
               f"  fednode --home {home.root} doctor")


def _check_existing(home: Home, text: str) -> None:
    """Refuse options that a configuration which people wrote or changed contradicts; one that init left is replaced."""
    if not home.config.exists() or _is_by_init(home.config):
        return
    try:
        wanted, found = (_given_keys(part) for part in (text, home.config.read_bytes()))
    except Unreadable as error:
        raise UsageError(f"{home.config} is there already and cannot be read: {error}; move it away") from None
    differing = sorted(key for key, value in wanted.items() if found.get(key, value) != value)
    if differing:
        text = f"{home.config} is there already, was not written by init alone, and says otherwise about"
        raise UsageError(f"{text} {', '.join(differing)}; correct it there, or move the file away")


def _given_keys(text: str | bytes) -> dict[str, object]:
    """Return the keys that a configuration sets, without its home."""
    found: dict[str, object] = {}
    for section, table in read_toml(text).items():
        if isinstance(table, dict):
            found |= {f"[{section}] {key}": value for key, value in table.items() if key != "home"}
    return found


def _is_by_init(path: Path) -> bool:
    """Whether a configuration is as some init wrote it, so that nothing a person did is lost with it."""
    from fednode.home.config import config_template

    try:
        text = path.read_text(encoding="utf-8")
        found = read_toml(text)
        network, table = found["network"], found.get("data", {}).get("default")
        again = config_template(found["node"]["name"], tuple(network["listen"]), tuple(network["advertise"]), table)
    except (OSError, ValueError, Unreadable, KeyError, TypeError, AttributeError):
        return False
    return again == text


def _ask_name() -> str:
    if not sys.stdin.isatty():
        raise UsageError("the hospital needs a name; add --name TEXT")
    return str(click.prompt("Name of the hospital", value_proc=_usable_name))


def _usable_name(text: str) -> str:
    """Return a name that was typed; a slip is told, and click asks again."""
    from fednode.ledger.members.identity import why_no_name

    if problem := why_no_name(text):
        raise click.BadParameter(problem)
    return text


def _reachable(listen: str) -> str:
    """Return what others can dial: the address itself, or this machine's name where it is 'all interfaces'."""
    from fednode.p2p.addresses import parse_multiaddr

    address = parse_multiaddr(listen)
    if address.host not in ("0.0.0.0", "::"):
        return listen
    return f"/dns4/{socket.gethostname()}/tcp/{address.port}"
