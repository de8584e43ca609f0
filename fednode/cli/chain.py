"""`fednode chain`: the ledger, asked of the running daemon, or read from the store while none runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from fednode.cli import chain_files, chain_look, chain_members, chain_proof, chain_version
from fednode.cli.ask import as_record, as_records, ask_for
from fednode.cli.chain_source import export_option, open_stopped
from fednode.cli.reading import read_genesis
from fednode.cli.show import print_json, print_pairs, print_records, print_table, print_value, short
from fednode.cli.site import Site, format_option, group, pass_site, site_options
from fednode.desk.control_client import NotRunning
from fednode.desk.questions import CHAIN_BLOCKS, CHAIN_SHOW, CHAIN_STATUS, CHAIN_TX
from fednode.desk.read_models import BlockView, ChainEndView, TransactionView
from fednode.errors import VerificationFailed
from fednode.json_form import to_json

if TYPE_CHECKING:
    from fednode.audit.verify import ChainEntry

T = TypeVar("T")


@group("chain")
def chain() -> None:
    """The ledger: blocks, transactions, proofs.

    The ledger: status, blocks, transactions, verification. Works with and without a running daemon."""


@chain.command("status", example="fednode chain status")
@format_option
@site_options
@pass_site
def status(site: Site, as_json: bool) -> None:
    """Show the chain's name, height and latest block."""
    from fednode.desk import chain_query

    try:
        found: ChainEndView = ask_for(site, CHAIN_STATUS)
    except NotRunning:
        with open_stopped(site) as (store, genesis):
            found = chain_query.stored_chain(store, genesis)
    if as_json:
        print_json(found)
    else:
        print_value(to_json(found))


@chain.command(
    "show", example="fednode chain show latest\nfednode chain show 17 --format json\nfednode chain show 1..20"
)
@click.argument("at", default="latest", metavar="[HEIGHT|HASH|latest|A..B]")
@export_option
@format_option
@site_options
@pass_site
def show(site: Site, at: str, export: Path | None, as_json: bool) -> None:
    """Show a block, or a line for each of a range.

    Show a block with its transactions, or a line for each block of a range.
    """
    from fednode.desk import chain_query

    try:
        blocks: tuple[BlockView, ...] = (
            ask_for(site, CHAIN_SHOW, at=at) if export is None else chain_look.exported_blocks(export, at)
        )
    except NotRunning:
        with open_stopped(site) as (store, _):
            blocks = chain_query.chain_show(store, at)
    if ".." in at:
        if as_json:
            print_json(blocks)
        else:
            columns = ["height", "time", "hash", "proposer", "view", "signers", "tx_count"]
            print_records(as_records(to_json(blocks)), columns, "no blocks")
        return
    (block,) = blocks
    if as_json:
        print_json(block)
        return
    values = as_record(to_json(block))
    print_value({key: value for key, value in values.items() if key != "transactions"})
    print_records(as_records(values["transactions"]), ["id", "kind", "sender", "ok", "reason"], "no transactions")


@chain.command("tx", example="fednode chain tx 3f2a...64 digits... --format json")
@click.argument("txid", metavar="ID")
@export_option
@format_option
@site_options
@pass_site
def tx(site: Site, txid: str, export: Path | None, as_json: bool) -> None:
    """Show a transaction and what became of it.

    Show a transaction: what it said, who signed it, in which block, and whether the rules took it.
    """
    from fednode.desk import chain_query

    try:
        found: TransactionView
        if export is None:
            found = ask_for(site, CHAIN_TX, id=txid)
        else:
            found = chain_look.exported_transaction(export, txid)
    except NotRunning:
        with open_stopped(site) as (store, _):
            found = chain_query.chain_transaction(store, txid)
    if as_json:
        print_json(found)
    else:
        print_value(to_json(found))


@chain.command(
    "verify",
    example="fednode chain verify\nfednode chain verify --level 2 --format json\n"
    "fednode chain verify --export chain.fnx",
)
@click.option("--level", type=click.IntRange(0, 4), default=4, show_default=True,
              help="0 storage, 1 links, 2 certificates, 3 transactions, 4 execution; each includes those below.")
@click.option("--export", type=click.Path(path_type=Path), metavar="FILE", help="Check this export instead.")
@format_option
@site_options
@pass_site
def verify(site: Site, level: int, export: Path | None, as_json: bool) -> None:
    """Check the whole chain from the genesis on.

    Check the whole chain from the genesis on, in this process, trusting neither daemon nor store.
    """
    if export is not None:
        chain_files.verify_file(site, export, level, None, as_json)
        return
    from fednode.audit.verify import Level, stored_entries, verify_chain

    try:
        genesis = read_genesis(site.load().values.genesis_path)
        ask_for(site, CHAIN_STATUS)
        report = verify_chain(_progress(_asked(site), as_json), genesis, Level(level))
        source = "daemon"
    except NotRunning:
        with open_stopped(site) as (store, genesis):
            store.audit()
            gc.freeze()  # collections need not look at the state again and again
            report = verify_chain(_progress(stored_entries(store), as_json), genesis, Level(level))
        source = "store"
    verdicts = {chain_files.LEVELS[step]: held for step, held in report.verdicts}
    if as_json:
        print_json({
            "ok": report.is_whole, "source": source, "level": level, "height": report.height,
            "chain_id": genesis.chain_id.hex(), "tip_hash": report.tip_hash.hex(), "levels": verdicts,
            "state_root": report.state_root.hex() if report.state_root else None, "problem": report.problem or None,
        })
    else:
        print_table(["check", "result"], [(name, "PASSED" if held else "FAILED") for name, held in verdicts.items()])
        blocks = f"1 to {report.height}" if report.height else "none yet"
        print_pairs([("blocks", blocks), ("tip", short(report.tip_hash.hex())), ("source", source)])
    if not report.is_whole:
        fix = "compare with another member, and resync from the others if only this copy is bad"
        raise VerificationFailed(f"{report.problem}; {fix}")


def _asked(site: Site) -> Iterator[ChainEntry]:
    """Yield the daemon's blocks, page by page."""
    from fednode.desk.chain_query import entries_from

    height = 1
    while page := ask_for(site, CHAIN_BLOCKS, first=height):
        yield from entries_from(page)
        height += len(page)


def _progress(entries: Iterator[T], as_json: bool) -> Iterator[T]:
    """Count blocks on a terminal, so that a long chain is seen to move."""
    if as_json or not sys.stderr.isatty():
        yield from entries
        return
    with click.progressbar(entries, label="verifying", show_percent=False, show_eta=False, file=sys.stderr) as counted:
        yield from counted


more_commands = (*chain_look.COMMANDS, *chain_files.COMMANDS, *chain_proof.COMMANDS)
for more in (*more_commands, chain_members.members, chain_version.version):
    chain.add_command(more)
