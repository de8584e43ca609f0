"""Commands of `fednode chain` around exports: export, import, compare."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from fednode.cli.chain_look import range_options, seen_blocks
from fednode.cli.chain_source import Source, counted, open_source, place_of
from fednode.cli.reading import read_genesis
from fednode.cli.show import print_json, print_pairs, print_table, short
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.errors import FednodeError, Rejected, UsageError, VerificationFailed
from fednode.home.files import PUBLIC_FILE, environment, write_stream
from fednode.json_form import to_json

if TYPE_CHECKING:
    from fednode.audit.verify_export import ExportReport
    from fednode.chain.block import Block
    from fednode.chain.vote import Certificate

LEVELS = ("storage", "links", "certificates", "transactions", "execution")
LONGEST_LEVEL = click.IntRange(0, 4)


@command("export", example="fednode chain export -o chain.fnx\nfednode chain export --from 10 --to 20 -o part.fnx")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="File to write; one that exists is replaced when the new one is whole.")
@range_options
@format_option
@pass_site
def export(site: Site, output: Path, first: int | None, last: int | None, as_json: bool) -> None:
    """Write the chain to one file that proves itself.

    Write blocks, certificates, receipts and the state after the last block to one file that proves itself.
    """
    from fednode.audit.export import make_head, record_of, write_export
    from fednode.audit.verify import run_again

    with open_source(site) as source:
        height, block_hash, leaves = source.leaves()
        begin, end = first or 1, last or height
        if height == 0:
            raise UsageError("the chain has no block yet; the first one comes with the first transaction")
        if not 1 <= begin <= end <= height:
            raise UsageError(f"the chain has blocks 1 to {height}; export some of these")
        if end < height:
            blocks_before = (seen.block for seen in counted(seen_blocks(source, 1, end), "running again", as_json))
            try:
                block_hash, state = run_again(source.genesis, blocks_before)
            except Rejected as error:
                raise VerificationFailed(f"blocks 1 to {end}: {error.reason}; see 'fednode chain verify'") from None
            leaves = state.leaves()
        head = make_head(source.genesis, begin, end, block_hash)
        blocks = counted(map(record_of, source.entries(begin, end)), "exporting", as_json)
        done = _write(output, write_export(head, source.steps(begin), leaves, blocks))
    shown = {"file": str(output), "bytes": done[0], "sha256": done[1], "chain_id": source.genesis.chain_id.hex(),
             "first": begin, "last": end, "last_hash": block_hash.hex(), "source": source.name}
    if as_json:
        print_json(shown)
        return
    print_pairs([(key.replace("_", " "), short(value)) for key, value in shown.items()])
    click.echo(f"check it anywhere: python scripts/verify_export.py --chain-id {shown['chain_id']} {output}")


def _write(path: Path, pieces: Iterable[bytes]) -> tuple[int, str]:
    """Write a file piece by piece; it has its name only when it is whole. Return its size and SHA-256."""
    digest = hashlib.sha256()

    def passed() -> Iterator[bytes]:
        for piece in pieces:
            digest.update(piece)
            yield piece

    size = write_stream(path, passed(), PUBLIC_FILE)
    return size, digest.hexdigest()


# --- import ----------------------------------------------------------------------------------------------------

@command(
    "import",
    example="fednode chain import --verify-only chain.fnx\n"
    "fednode chain import --verify-only --chain-id 3f2a...64 digits... chain.fnx --format json",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--verify-only", is_flag=True, help="Check the file and keep nothing of it.")
@click.option("--level", type=LONGEST_LEVEL, default=4, show_default=True, help="As for 'chain verify'.")
@click.option("--chain-id", metavar="HEX", help="The chain it must be of (default: that of this home's genesis).")
@format_option
@pass_site
def import_(site: Site, file: Path, verify_only: bool, level: int, chain_id: str | None, as_json: bool) -> None:
    """Check an export completely.

    Check an export completely: signatures, roots, and every block run again.
    """
    if not verify_only:
        raise UsageError("a node takes its chain from the members, never from a file; add --verify-only to check it")
    verify_file(site, file, level, chain_id, as_json)


def verify_file(site: Site, path: Path, level: int, chain_id: str | None, as_json: bool) -> None:
    """Check an export up to `level`, print the verdicts, and raise `VerificationFailed` if it does not hold."""
    from fednode.audit.export import open_export
    from fednode.audit.verify import Level
    from fednode.audit.verify_export import verify_export
    from fednode.cli.chain_source import now_ms

    wanted = own_chain_id(site, chain_id)
    try:
        with environment("read the export", path), path.open("rb") as file:
            opened = open_export(file.read)
            genesis, head = opened.genesis, opened.head
            if wanted is not None and wanted != genesis.chain_id:
                raise VerificationFailed(
                    f"{path} is of chain {genesis.chain_id.hex()}, not of chain {wanted.hex()}; get the right export, "
                    "or name its chain with --chain-id if that is what you mean to check"
                )
            report = verify_export(opened, Level(level), now_ms())
    except Rejected as error:
        raise VerificationFailed(f"{path} is not an export that holds: {error.reason}") from None
    problem = report.problem
    shown = {
        "ok": not problem, "source": "export", "file": str(path), "level": level, "first": head.first,
        "height": int(report.chain.height), "chain_id": genesis.chain_id.hex(), "chain_name": genesis.name,
        "is_chain_id_checked": wanted is not None, "tip_hash": report.chain.tip_hash.hex(),
        "levels": {LEVELS[step]: held for step, held in report.chain.verdicts}, "state": report.is_state_right,
        "state_records": report.items, "problem": problem or None,
    }
    if as_json:
        print_json(shown)
    else:
        _print_report(report, shown)
    if problem:
        raise VerificationFailed(f"{path}: {problem}; get the export again, or ask another member for one")


def _print_report(report: ExportReport, shown: dict[str, Any]) -> None:
    rows = [(LEVELS[step], "PASSED" if held else "FAILED") for step, held in report.chain.verdicts]
    if report.is_state_right is not None:
        rows.append((f"state ({report.items} records)", "PASSED" if report.is_state_right else "FAILED"))
    print_table(["check", "result"], rows)
    known = "as expected" if shown["is_chain_id_checked"] else "compare it with the one your hospital has"
    print_pairs([
        ("blocks", f"{shown['first']} to {shown['height']}"), ("tip", short(shown["tip_hash"])),
        ("chain", f"{shown['chain_name']} {shown['chain_id']} ({known})"), ("source", "export"),
    ])


def own_chain_id(site: Site, text: str | None) -> bytes | None:
    """Return the chain id that was given, else that of the home's genesis, else None."""
    if text is not None:
        if not re.fullmatch("[0-9a-fA-F]{64}", text):
            raise UsageError("a chain id has 64 hexadecimal digits; 'fednode genesis show' prints it")
        return bytes.fromhex(text)
    try:
        return read_genesis(site.load().values.genesis_path).chain_id
    except FednodeError:
        return None  # an auditor has neither home nor genesis


# --- compare ---------------------------------------------------------------------------------------------------

@command(
    "compare",
    example="fednode chain compare mine.fnx theirs.fnx\nfednode chain compare ~/.fednode theirs.fnx --format json",
)
@click.argument("a", type=click.Path(path_type=Path, exists=True))
@click.argument("b", type=click.Path(path_type=Path, exists=True))
@format_option
@pass_site
def compare(site: Site, a: Path, b: Path, as_json: bool) -> None:
    """Compare two chains: same, shorter, or a fork.

    Compare two chains, each an export or the home of a node: same, one the beginning of the other, or a fork.
    """
    from fednode.audit.compare import common_heights
    from fednode.audit.compare import compare as compare_chains

    places = [place_of(path) for path in (a, b)]
    with open_source(*places[0]) as left, open_source(*places[1]) as right:
        begin, end = common_heights(left, right) if left.genesis.chain_id == right.genesis.chain_id else (1, 0)
        pairs = zip(_decided(left, begin, end), _decided(right, begin, end), strict=True) if end else ()
        found = compare_chains(left, right, counted(pairs, "comparing", as_json))
        shown: dict[str, Any] = cast("dict[str, Any]", to_json(found)) | {
            name: {"place": str(path), "source": source.name, "first": source.first, "last": source.last,
                   "last_hash": source.last_hash.hex()}
            for name, path, source in (("a", a, left), ("b", b, right))
        }
    if as_json:
        print_json(shown)
    else:
        _print_compared(shown)
    if found.is_contradiction:
        raise VerificationFailed(f"the two differ: {found.text}")


def _decided(source: Source, first: int, last: int) -> Iterator[tuple[Block, Certificate]]:
    return ((seen.block, seen.certificate) for seen in seen_blocks(source, first, last))


def _print_compared(shown: dict[str, Any]) -> None:
    rows = [
        (name.upper(), shown[name]["place"], shown[name]["source"], f"{shown[name]['first']} to {shown[name]['last']}",
         short(shown[name]["last_hash"]))
        for name in ("a", "b")
    ]
    print_table(["", "place", "source", "blocks", "last"], rows)
    print_pairs([("result", shown["relation"]), ("", shown["text"])])


COMMANDS = (export, import_, compare)
