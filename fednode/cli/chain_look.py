"""Commands of `fednode chain` that look through blocks: find, votes, participation, evidence, wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.ask import as_record
from fednode.cli.chain_source import ExportSource, Source, counted, export_option, open_source, open_stopped
from fednode.cli.show import print_json, print_pairs, print_records, short
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.desk.control_client import NotRunning, stream_daemon
from fednode.errors import Rejected, StorageError, Unavailable, UsageError

if TYPE_CHECKING:
    from fednode.chain.block import Block
    from fednode.chain.receipts import Receipt
    from fednode.chain.vote import Certificate, Vote
    from fednode.desk.read_models import BlockView, TransactionView

WAIT_MARGIN_S = 15.0
"""How much longer than the daemon the command line waits for its answer."""

VOTE_KINDS = {1: "proposal", 2: "prevote", 3: "precommit"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A block as read, with its certificate and receipts."""

    block: Block
    certificate: Certificate
    receipts: tuple[Receipt, ...]


def seen_blocks(source: Source, first: int, last: int) -> Iterator[Seen]:
    """Yield decoded blocks of a source; raise `StorageError` where one cannot be read."""
    from fednode.audit.verify import MAX_CERTIFICATE_BYTES
    from fednode.chain.block import decode_block
    from fednode.chain.receipts import Receipt
    from fednode.chain.vote import Certificate
    from fednode.codec import decode

    for entry in source.entries(first, last):
        try:
            receipts = tuple(decode(Receipt, data, 1024) for data in entry.receipts or ())
            yield Seen(
                decode_block(entry.block), decode(Certificate, entry.certificate, MAX_CERTIFICATE_BYTES), receipts
            )
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
    from fednode.ledger.transaction import decode_transaction

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
    """List transactions by kind, sender, study, height and time."""
    with open_source(site, export) as source:
        begin, end = range_of(source, first, last)
        wanted["sender"] = _member(source, wanted["sender"])
        wanted["study"] = _study(source, wanted["study"])
        found: list[dict[str, Any]] = []
        for seen in counted(seen_blocks(source, begin, end), "searching", as_json):
            found += (row for row in _rows(seen) if _is_wanted(row, wanted))
            if len(found) >= limit:
                break
    if as_json:
        print_json({"source": source.name, "first": begin, "last": end, "transactions": found[:limit]})
        return
    print_records(found[:limit], ["height", "time", "id", "kind", "sender", "ok", "reason"], "no such transaction")
    tail = " (there may be more: --limit)" if len(found) >= limit else ""
    print_pairs([("found", f"{len(found[:limit])}{tail}"), ("blocks", f"{begin} to {end}"), ("source", source.name)])


def _rows(seen: Seen) -> Iterator[dict[str, Any]]:
    from fednode.desk.views import kind_name, utc_text
    from fednode.ledger.studies.bodies import StudyCreate, compute_study_id
    from fednode.ledger.transaction import decode_transaction

    header = seen.block.header
    for index, (data, receipt) in enumerate(zip(seen.block.transactions, seen.receipts, strict=True)):
        transaction = decode_transaction(data)
        body = transaction.body
        study = getattr(body, "study", None)
        if isinstance(body, StudyCreate):
            study = compute_study_id(body.terms, body.spec)
        yield {
            "height": int(header.height), "index": index, "time": utc_text(header.time_ms), "time_ms": header.time_ms,
            "id": transaction.txid.hex(), "kind": kind_name(body), "sender": int(transaction.sender),
            "study": None if study is None else study.hex(), "ok": receipt.ok, "reason": receipt.reason,
        }


def _is_wanted(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return (
        (wanted["kind"] is None or row["kind"] == wanted["kind"])
        and (wanted["sender"] is None or row["sender"] == wanted["sender"])
        and (wanted["study"] is None or str(row["study"] or "").startswith(wanted["study"]))
        and (not wanted["refused"] or not row["ok"])
        and (wanted["since"] is None or row["time_ms"] >= wanted["since"])
        and (wanted["until"] is None or row["time_ms"] < wanted["until"])
    )


def _member(source: Source, text: str | None) -> int | None:
    """Return the number of a member named by number or name."""
    if text is None or text.isdigit():
        return None if text is None else int(text)
    names = source.names()
    found = [number for number, name in names.items() if name == text]
    if len(found) != 1:
        raise UsageError(f"no member is called '{text}'; known: {', '.join(names.values())}")
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
    """Show who signed a block, in which view, and who proposed it; the latest block if none is named."""
    from fednode.desk.views import utc_text

    with open_source(site, export) as source:
        at, _ = range_of(source, source.last if height is None else height, height)
        seen = next(seen_blocks(source, at, at))
        members, names = source.members_at(at), source.names()
    header, signers = seen.block.header, set(seen.certificate.signers(members))
    shown: dict[str, Any] = {
        "height": at, "hash": seen.block.hash.hex(), "time": utc_text(header.time_ms), "proposer": int(header.proposer),
        "view": int(seen.certificate.view), "quorum": members.quorum, "signers": sorted(map(int, signers)),
        "missing": [int(member) for member in members.ids if member not in signers], "source": source.name,
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
    """Show how many of the latest blocks each member signed and proposed.

    A share is that of the blocks the member could have signed: those decided while it was one.
    """
    with open_source(site, export) as source:
        begin, end = range_of(source, max(1, source.last - count + 1), None)
        signed: Counter[int] = Counter()
        proposed: Counter[int] = Counter()
        views: Counter[int] = Counter()
        could: Counter[int] = Counter()
        latest: dict[int, int] = {}
        members, names, cards = source.members_at(begin), source.names(), dict[bytes, str]()
        for seen in counted(seen_blocks(source, begin, end), "reading", as_json):
            header = seen.block.header
            if header.members_hash != members.hash:
                members = source.members_at(header.height)
                names = {int(m.id): cards[m.sign_key] for m in members.members if m.sign_key in cards} | names
            cards |= card_names(seen)
            could.update(members.ids)
            signers = seen.certificate.signers(members)
            signed.update(signers)
            latest |= dict.fromkeys(signers, int(header.height))
            proposed[header.proposer] += 1
            views[int(seen.certificate.view)] += 1
    blocks = end - begin + 1
    rows = [
        {"id": int(member), "name": names.get(member, "?"), "signed": signed[member],
         "of": could[member], "share": round(signed[member] / could[member], 4), "proposed": proposed[member],
         "last_signed": latest.get(member)}
        for member in sorted(could)
    ]
    if as_json:
        by_view = {str(view): views[view] for view in sorted(views)}
        print_json({"source": source.name, "first": begin, "last": end, "blocks": blocks, "members": rows,
                    "views": by_view})
        return
    print_records(rows, ["id", "name", "signed", "of", "share", "proposed", "last_signed"], "no members")
    late = sum(number for view, number in views.items() if view)
    print_pairs([
        ("blocks", f"{blocks} ({begin} to {end}), {late} of them not by the first leader"), ("source", source.name)
    ])


@command("evidence", example="fednode chain evidence\nfednode chain evidence --from 100 --format json")
@range_options
@export_option
@format_option
@pass_site
def evidence(site: Site, first: int | None, last: int | None, export: Path | None, as_json: bool) -> None:
    """List proven double votes: which member signed which two contradicting statements."""
    with open_source(site, export) as source:
        begin, end = range_of(source, first, last) if source.last else (0, 0)
        names = source.names()
        found: list[dict[str, Any]] = [
            {"block": int(seen.block.height), "member": int(piece.sender), "name": names.get(piece.sender, "?"),
             "height": int(piece.height), "view": int(piece.first.view), "kind": VOTE_KINDS[piece.first.kind],
             "first": _vote(piece.first), "second": _vote(piece.second)}
            for seen in counted(seen_blocks(source, begin, end), "reading", as_json) for piece in seen.block.evidence
        ]
    if as_json:
        print_json({"source": source.name, "first": begin, "last": end, "evidence": found})
        return
    rows = [{**row, **{key: row[key]["value"] or "nil" for key in ("first", "second")}} for row in found]
    print_records(rows, ["block", "member", "name", "height", "view", "kind", "first", "second"], "no double votes")
    print_pairs([("blocks", f"{begin} to {end}"), ("source", source.name)])


def _vote(vote: Vote) -> dict[str, Any]:
    value = vote.value.hex() if any(vote.value) else None
    return {"value": value, "valid_view": int(vote.valid_view), "signature": vote.signature.hex()}


# --- waiting ---------------------------------------------------------------------------------------

def card_names(seen: Seen) -> dict[bytes, str]:
    """Return the names on identity cards that came onto the ledger in a block, by sign key."""
    from fednode.ledger.members.bodies import MemberPropose, MemberRotate
    from fednode.ledger.transaction import decode_transaction

    accepted = (data for data, receipt in zip(seen.block.transactions, seen.receipts, strict=True) if receipt.ok)
    bodies = (decode_transaction(data).body for data in accepted)
    return {body.card.sign_key: body.card.name for body in bodies if isinstance(body, MemberPropose | MemberRotate)}


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
    """Wait until a block, a transaction or the report of a round is on the chain."""
    asked = [height is not None, tx is not None, study is not None or number is not None]
    if sum(asked) != 1 or (study is None) != (number is None):
        raise UsageError("wait for one thing: --height H, --tx ID, or --study S with --round R")
    args: dict[str, Any] = {"height": height, "tx": tx, "study": study, "round": number, "timeout_s": timeout_s}
    try:
        answers = list(stream_daemon(site.home, "chain_wait", args, timeout_s + WAIT_MARGIN_S))
        shown: dict[str, Any] = {**as_record(answers[-1]), "source": "daemon"}
    except NotRunning as error:
        shown = {**_in_store(site, args, error), "source": "store"}
    if as_json:
        print_json(shown)
    else:
        print_pairs([(key, short(value)) for key, value in shown.items() if not isinstance(value, dict)])


def _in_store(site: Site, args: Mapping[str, Any], error: NotRunning) -> Mapping[str, Any]:
    """Look whether a stopped chain has it: what is not there will not come by itself."""
    from fednode.desk.audit import look_for

    with open_stopped(site) as (store, _):
        found = look_for(store, store.load_state(), args["height"], args["tx"], args["study"], args["round"])
    if found is None:
        raise Unavailable(f"the stored chain does not have it, and {error}")
    return as_record(found)


COMMANDS = (find, votes, participation, evidence, wait)
