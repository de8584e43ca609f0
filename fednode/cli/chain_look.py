"""Commands of `fednode chain` that look through blocks: find, votes, participation, evidence, wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.ask import as_record, as_records
from fednode.cli.chain_source import ExportSource, Source, counted, export_option, open_source, open_stopped
from fednode.cli.show import print_json, print_pairs, print_records, short
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.desk.control_client import NotRunning, read_answer, stream_daemon
from fednode.desk.questions import CHAIN_WAIT
from fednode.errors import Rejected, StorageError, Unavailable, UsageError
from fednode.json_form import to_json

if TYPE_CHECKING:
    from fednode.desk.look import Seen
    from fednode.desk.read_models import BlockView, Happened, TransactionView

WAIT_MARGIN_S = 15.0
"""How much longer than the daemon the command line waits for its answer."""

def seen_blocks(source: Source, first: int, last: int) -> Iterator[Seen]:
    """Yield decoded blocks of a source; raise `StorageError` where one cannot be read."""
    from fednode.desk.look import read_entry

    for entry in source.entries(first, last):
        try:
            yield read_entry(entry)
        except Rejected as error:
            text = f"a block of the {source.name} cannot be read ({error.reason})"
            raise StorageError(f"{text}; run 'fednode chain verify'") from None


def exported_blocks(path: Path, at: str) -> tuple[BlockView, ...]:
    """Return the blocks of an export that `at` names."""
    from fednode.desk import chain_query
    from fednode.desk.views import block_view

    source = ExportSource(path)

    def find_block(block_hash: bytes) -> int | None:
        found = (seen.block.height for seen in seen_blocks(source, source.first, source.last)
                 if seen.block.hash == block_hash)
        return next(found, None)

    first, last = chain_query.range_of(at, source.first, source.last, find_block)
    return tuple(
        block_view(seen.block, seen.certificate, seen.receipts, source.members_at(seen.block.height))
        for seen in seen_blocks(source, first, last)
    )


def exported_transaction(path: Path, txid: str) -> TransactionView:
    """Return a transaction of an export with its place and receipt."""
    from fednode.desk.views import transaction_view
    from fednode.ledger.transactions import decode_transaction

    source = ExportSource(path)
    for seen in seen_blocks(source, source.first, source.last):
        for data, receipt in zip(seen.block.transactions, seen.receipts, strict=True):
            if receipt.txid.hex() == txid.lower():
                return transaction_view(decode_transaction(data), seen.block.height, receipt)
    raise UsageError(f"transaction {txid} is not in {path}; 'fednode chain find --export {path}' lists those that are")


def range_of(source: Source, first: int | None, last: int | None) -> tuple[int, int]:
    """Return the heights asked for, cut to what the source has; raise `UsageError` if nothing is left."""
    if source.last == 0:
        raise UsageError("the chain has no block yet; the first one comes with the first transaction")
    begin, end = max(first or source.first, source.first), min(last or source.last, source.last)
    if begin > end:
        raise UsageError(f"the {source.name} has blocks {source.first} to {source.last}; ask for some of these")
    return begin, end


def range_options(function: Any) -> Any:
    """Add --from and --to, heights; both ends belong to the range."""
    add_to = click.option("--to", "last", type=click.IntRange(1), metavar="H", help="Last block (default: the latest).")
    add_from = click.option("--from", "first", type=click.IntRange(1), metavar="H", help="First block (default: 1).")
    return add_from(add_to(function))


def _time_ms(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("give a time like 2026-11-21 or 2026-11-21T13:30:00Z (UTC)") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


# --- find ------------------------------------------------------------------------------------------------------

@command(
    "find",
    example="fednode chain find --kind study-vote --sender 2\n"
    "fednode chain find --study heart --since 2026-11-01 --format json\n"
    "fednode chain find --kind result --refused --export chain.fnx",
)
@click.option("--kind", metavar="KIND", help="Kind of transaction, as 'chain show' names it: ready, commit, result ...")
@click.option("--sender", metavar="MEMBER", help="Number or name of the member that signed it.")
@click.option("--study", metavar="STUDY", help="Name, id or beginning of the id of the study it is about.")
@click.option("--refused", is_flag=True, help="Only those that the rules refused.")
@click.option("--since", callback=_time_ms, metavar="TIME", help="Blocks of this UTC time or later.")
@click.option("--until", callback=_time_ms, metavar="TIME", help="Blocks before this UTC time.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Show at most so many.")
@range_options
@export_option
@format_option
@pass_site
def find(site: Site, /, export: Path | None, first: int | None, last: int | None, as_json: bool, limit: int,
         **wanted: Any) -> None:
    """List transactions by kind, sender, study, time.

    List transactions by kind, sender, study, height and time.
    """
    from fednode.desk.look import FoundTransaction, Wanted, find_transactions

    with open_source(site, export) as source:
        begin, end = range_of(source, first, last)
        sought = Wanted(
            kind=wanted["kind"], sender=_member(source, wanted["sender"]), study=_study(source, wanted["study"]),
            refused=wanted["refused"], since_ms=wanted["since"], until_ms=wanted["until"],
        )
        found: list[FoundTransaction] = []
        for seen in counted(seen_blocks(source, begin, end), "searching", as_json):
            found += find_transactions(seen, sought)
            if len(found) >= limit:
                break
    if as_json:
        print_json({"source": source.name, "first": begin, "last": end, "transactions": found[:limit]})
        return
    rows = as_records(to_json(found[:limit]))
    print_records(rows, ["height", "time", "id", "kind", "sender", "ok", "reason"], "no such transaction")
    tail = " (there may be more: --limit)" if len(found) >= limit else ""
    print_pairs([("found", f"{len(found[:limit])}{tail}"), ("blocks", f"{begin} to {end}"), ("source", source.name)])


def _member(source: Source, text: str | None) -> int | None:
    """Return the number of a member, given by number, name or beginning of a name."""
    if text is None or text.isdigit():
        return None if text is None else int(text)
    from fednode.desk.naming import candidates, named

    names = source.names()
    found = named(names, text)
    if len(found) != 1:
        problem = "no member is" if not found else f"{len(found)} members are"
        raise UsageError(f"{problem} called '{text}': {candidates(names, found)}")
    return found[0]


def _study(source: Source, text: str | None) -> str | None:
    """Return the id, or the beginning of one, of a study named so."""
    if text is None:
        return None
    from fednode.chain.state import State
    from fednode.desk.audit import find_study
    from fednode.ledger.record_table import RECORD_TABLE

    state = State.load(RECORD_TABLE, ((key, value) for _, key, value in source.leaves()[2]))
    return find_study(state, text).hex()


# --- votes and participation -----------------------------------------------------------------------------------

@command("votes", example="fednode chain votes\nfednode chain votes 17 --format json")
@click.argument("height", type=click.IntRange(1), required=False)
@export_option
@format_option
@pass_site
def votes(site: Site, height: int | None, export: Path | None, as_json: bool) -> None:
    """Show who signed and who proposed a block.

    Show who signed a block, in which view, and who proposed it; the latest block if none is named.
    """
    from fednode.desk.look import split_signers
    from fednode.desk.views import utc_text

    with open_source(site, export) as source:
        at, _ = range_of(source, source.last if height is None else height, height)
        seen = next(seen_blocks(source, at, at))
        members, names = source.members_at(at), source.names()
    header, (signers, missing) = seen.block.header, split_signers(seen, members)
    shown: dict[str, Any] = {
        "height": at, "hash": seen.block.hash.hex(), "time": utc_text(header.time_ms), "proposer": int(header.proposer),
        "view": int(seen.certificate.view), "quorum": members.quorum, "signers": list(signers),
        "missing": list(missing), "source": source.name,
    }
    rows = [
        {"id": int(member), "name": names.get(member, "?"), "signed": member in signers,
         "proposed": member == header.proposer}
        for member in members.ids
    ]
    if as_json:
        print_json({**shown, "members": rows})
        return
    shown["signers"] = f"{len(signers)} of {len(members)}, {members.quorum} needed"
    shown["view"] = "0" if shown["view"] == 0 else f"{shown['view']} (so many leaders before were passed over)"
    keys = ("height", "hash", "time", "view", "signers", "source")
    print_pairs([(key, short(shown[key])) for key in keys])
    print_records(rows, ["id", "name", "signed", "proposed"], "no members")


@command("participation", example="fednode chain participation --last 100\nfednode chain participation --format json")
@click.option("--last", "count", type=click.IntRange(1), default=1000, show_default=True, help="So many latest blocks.")
@export_option
@format_option
@pass_site
def participation(site: Site, count: int, export: Path | None, as_json: bool) -> None:
    """Show how many blocks each member signed.

    Show how many of the latest blocks each member signed and proposed.

    A share is that of the blocks the member could have signed: those decided while it was one.
    """
    from fednode.desk.look import count_participation

    with open_source(site, export) as source:
        begin, end = range_of(source, max(1, source.last - count + 1), None)
        blocks = counted(seen_blocks(source, begin, end), "reading", as_json)
        found = count_participation(blocks, source.members_at(begin), source.members_at, source.names())
    total = end - begin + 1
    if as_json:
        print_json({"source": source.name, "first": begin, "last": end, "blocks": total, "members": found.members,
                    "views": found.views})
        return
    rows = as_records(to_json(found.members))
    print_records(rows, ["id", "name", "signed", "of", "share", "proposed", "last_signed"], "no members")
    late = sum(number for view, number in found.views.items() if view)
    print_pairs([
        ("blocks", f"{total} ({begin} to {end}), {late} of them not by the first leader"), ("source", source.name)
    ])


@command("evidence", example="fednode chain evidence\nfednode chain evidence --from 100 --format json")
@range_options
@export_option
@format_option
@pass_site
def evidence(site: Site, first: int | None, last: int | None, export: Path | None, as_json: bool) -> None:
    """List proven double votes.

    List proven double votes: which member signed which two contradicting statements.
    """
    from fednode.desk.look import double_votes

    with open_source(site, export) as source:
        begin, end = range_of(source, first, last) if source.last else (0, 0)
        names = source.names()
        blocks = counted(seen_blocks(source, begin, end), "reading", as_json)
        found = [vote for seen in blocks for vote in double_votes(seen, names)]
    if as_json:
        print_json({"source": source.name, "first": begin, "last": end, "evidence": found})
        return
    rows = [
        {**as_record(to_json(vote)), "first": vote.first.value or "nil", "second": vote.second.value or "nil"}
        for vote in found
    ]
    print_records(rows, ["block", "member", "name", "height", "view", "kind", "first", "second"], "no double votes")
    print_pairs([("blocks", f"{begin} to {end}"), ("source", source.name)])


# --- waiting ---------------------------------------------------------------------------------------

@command(
    "wait",
    example="fednode chain wait --height 100\nfednode chain wait --tx 3f2a...64 digits... --timeout 30\n"
    "fednode chain wait --study heart --round 3 --timeout 600 --format json",
)
@click.option("--height", type=click.IntRange(1), metavar="H", help="Until the chain has this block.")
@click.option("--tx", metavar="ID", help="Until this transaction is in a block.")
@click.option("--study", metavar="STUDY", help="With --round: until that round of this study has closed.")
@click.option("--round", "number", type=click.IntRange(0), metavar="R", help="Number of the round.")
@click.option("--timeout", "timeout_s", type=click.IntRange(1, 24 * 3600), default=60, show_default=True,
              help="Give up after so many seconds, with exit code 8.")
@format_option
@pass_site
def wait(site: Site, height: int | None, tx: str | None, study: str | None, number: int | None, timeout_s: int,
         as_json: bool) -> None:
    """Wait for a block, a transaction or a round.

    Wait until a block, a transaction or the report of a round is on the chain.
    """
    asked = [height is not None, tx is not None, study is not None or number is not None]
    if sum(asked) != 1 or (study is None) != (number is None):
        raise UsageError("wait for one thing: --height H, --tx ID, or --study S with --round R")
    args: dict[str, Any] = {"height": height, "tx": tx, "study": study, "round": number, "timeout_s": timeout_s}
    try:
        (*_, answer) = stream_daemon(site.home, CHAIN_WAIT.name, args, timeout_s + WAIT_MARGIN_S)
        found, source = read_answer(CHAIN_WAIT.form, answer), "daemon"
    except NotRunning as error:
        found, source = _in_store(site, args, error), "store"
    shown = {**vars(found), "source": source}
    if as_json:
        print_json(shown)
    else:
        print_pairs([(key, short(shown[key])) for key in ("height", "hash", "id", "source") if shown[key] is not None])


def _in_store(site: Site, args: Mapping[str, Any], error: NotRunning) -> Happened:
    """Look whether a stopped chain has it: what is not there will not come by itself."""
    from fednode.desk.audit import look_for

    with open_stopped(site) as (store, _):
        found = look_for(store, store.load_state(), args["height"], args["tx"], args["study"], args["round"])
    if found is None:
        raise Unavailable(f"the stored chain does not have it, and {error}")
    return found


COMMANDS = (find, votes, participation, evidence, wait)
