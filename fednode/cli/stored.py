"""Asking the daemon, and the store of a home on which none runs: the same answers, and who gave them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from fednode.cli.ask import ask_for
from fednode.cli.site import Site
from fednode.desk.control_client import NotRunning
from fednode.desk.questions import Question
from fednode.documents import Json
from fednode.errors import FednodeError

if TYPE_CHECKING:
    from fednode.desk.stored import StoredNode

T = TypeVar("T")


def ask_or_read(site: Site, question: Question[T], from_store: Callable[[StoredNode], T], **args: Json) -> T:
    """Ask the daemon; where none runs, read the home's store, or before the first start the genesis file, and say so.

    Raises what the daemon answers with, or what is wrong with the store.
    """
    try:
        return ask_for(site, question, **args)
    except NotRunning as error:
        return read_stored(site, from_store, error)


def read_stored(site: Site, from_store: Callable[[StoredNode], T], error: NotRunning, *, is_quiet: bool = False) -> T:
    """Read the home's store; raise `error` where there is no home to read from. Says on stderr what was read."""
    from fednode.cli.chain_source import open_stopped
    from fednode.cli.reading import read_genesis
    from fednode.desk.stored import StoredNode
    from fednode.home.blobs import ModelStore
    from fednode.home.keystore import read_public_keys

    if not site.config_path.is_file():
        raise error
    values = site.load().values
    models = ModelStore(values.home.blobs)
    try:
        sign_key = read_public_keys(values.home.keystore).sign
    except FednodeError:
        sign_key = b""  # nothing that is read depends on it but who "this hospital" is
    if not values.home.chain.is_dir():
        if not values.genesis_path.is_file():
            raise error
        found = from_store(StoredNode(read_genesis(values.genesis_path).first_state(), models, sign_key))
        source = "the genesis file"
    else:
        with open_stopped(site) as (store, _):
            found = from_store(StoredNode(store.load_state(), models, sign_key))
            source = f"the stored chain up to block {store.tip.height}"
    if not is_quiet:
        click.echo(f"from {source}; no daemon runs on this home", err=True)
    return found
