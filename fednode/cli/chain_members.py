"""`fednode chain members`: who decides a height, and every change of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fednode.cli.chain_look import range_of, seen_blocks
from fednode.cli.chain_source import Source, counted, export_option, open_source
from fednode.cli.show import print_json, print_pairs, print_records, short
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.errors import UsageError


def _changes(source: Source, as_json: bool) -> list[dict[str, Any]]:
    """Return every change of the members in a source: from which height on, what, and whom it is about."""
    from fednode.desk.look import card_names

    begin, end = range_of(source, None, None) if source.last else (1, 0)
    names = {card.sign_key: card.name for card in source.genesis.members}
    before, rows = source.members_at(begin), list[dict[str, Any]]()
    for seen in counted(seen_blocks(source, begin, end), "reading", as_json):
        names |= card_names(seen)
        header = seen.block.header
        if header.next_members_hash == header.members_hash:
            continue
        after = source.members_at(header.height + 1)
        for member in sorted(before.keys.keys() | after.keys.keys()):
            old, new = before.keys.get(member), after.keys.get(member)
            if old != new:
                what = "joined" if old is None else "left" if new is None else "new sign key"
                key = new or old or b""
                rows.append({
                    "from_height": int(header.height) + 1, "change": what, "id": int(member),
                    "name": names.get(key, "?"), "sign_key": key.hex(),
                })
        before = after
    return rows


@command(
    "members",
    example="fednode chain members\nfednode chain members --at 100 --format json\nfednode chain members --changes",
)
@click.option("--at", "height", type=click.IntRange(1), metavar="H", help="Height they decide (default: the next).")
@click.option("--changes", is_flag=True, help="Instead show who joined, left or replaced its sign key, and when.")
@export_option
@format_option
@pass_site
def members(site: Site, height: int | None, changes: bool, export: Path | None, as_json: bool) -> None:
    """Show which members decide a height.

    Show who decides a height, as headers and certificates know them.
    """
    if changes and height is not None:
        raise UsageError("--changes shows all heights; leave --at out")
    if changes:
        with open_source(site, export) as source:
            rows, name = _changes(source, as_json), source.name
        if as_json:
            print_json({"source": name, "changes": rows})
            return
        print_records(rows, ["from_height", "change", "id", "name", "sign_key"], "the members never changed")
        print_pairs([("source", name)])
        return
    with open_source(site, export) as source:
        at = source.last + 1 if height is None else height
        if not source.first <= at <= source.last + 1:
            raise UsageError(f"the {source.name} knows the members of heights {source.first} to {source.last + 1}")
        found, names = source.members_at(at), source.names()
    rows = [
        {"id": int(member.id), "name": names.get(member.id, "?"), "sign_key": member.sign_key.hex()}
        for member in found.members
    ]
    shown = {"height": at, "members_hash": found.hash.hex(), "count": len(found), "quorum": found.quorum,
             "fault_bound": found.fault_bound, "source": source.name}
    if as_json:
        print_json({**shown, "members": rows})
        return
    print_records(rows, ["id", "name", "sign_key"], "no members")
    print_pairs([(key.replace("_", " "), short(value)) for key, value in shown.items()])
