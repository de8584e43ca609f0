"""Where the commands of `chain` read from: a running daemon, the store of a stopped one, or an export.

All three answer the same questions, so that every command works on each, and says which it was.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

from fednode.cli.ask import ask_for
from fednode.cli.reading import read_genesis
from fednode.cli.site import Site
from fednode.desk.control_client import ODD_ANSWER, NotRunning, read_answer, stream_daemon
from fednode.desk.questions import (
    CHAIN_BLOCKS,
    CHAIN_MEMBERS,
    CHAIN_STATE,
    CHAIN_STATUS,
    CHAIN_STEPS,
    MEMBER_LIST,
)
from fednode.errors import Rejected, StorageError, Unavailable, UsageError, VerificationFailed
from fednode.home.files import daemon_pid, environment

if TYPE_CHECKING:
    from fednode.audit.export import Opened
    from fednode.audit.verify import ChainEntry
    from fednode.chain.leveldb import LevelDbStore
    from fednode.chain.light import LightBlock
    from fednode.chain.state import Leaf
    from fednode.chain.vote import MemberSet
    from fednode.ledger.genesis import Genesis

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., object]")
MAX_ITEM_BYTES = 8 * 1024 * 1024
STATE_TIMEOUT_S = 60.0


class Source(Protocol):
    """A stretch of one chain: blocks `first` to `last`, the last with this hash. There may be none: `last` is 0."""

    name: str
    genesis: Genesis
    first: int
    last: int
    last_hash: bytes

    def entries(self, first: int, last: int) -> Iterator[ChainEntry]:
        """Yield blocks with certificate and receipts."""
        ...

    def members_at(self, height: int) -> MemberSet:
        """Return the set that decides a height from `first` to `last` + 1."""
        ...

    def leaves(self) -> tuple[int, bytes, Iterator[Leaf]]:
        """Return height and hash of a block, and every record of the state after it by bucket and key."""
        ...

    def steps(self, first: int) -> tuple[LightBlock, ...]:
        """Return the way from the genesis to the block before `first`; none for the first block."""
        ...

    def names(self) -> dict[int, str]:
        """Return the names of all members, past ones included as far as genesis and state know them."""
        ...


class StoreSource:
    """The store of a stopped daemon."""

    name = "store"
    first = 1

    def __init__(self, store: LevelDbStore, genesis: Genesis) -> None:
        self.store = store
        self.genesis = genesis
        self.last = int(store.tip.height)
        self.last_hash = bytes(store.tip.block_hash)

    def entries(self, first: int, last: int) -> Iterator[ChainEntry]:
        """Yield blocks with certificate and receipts."""
        from fednode.audit.verify import entries_of

        return entries_of(self.store, first, last)

    def members_at(self, height: int) -> MemberSet:
        """Return the set that decides a height."""
        return self.store.get_members(height)

    def leaves(self) -> tuple[int, bytes, Iterator[Leaf]]:
        """Return the end of the chain and the state there."""
        return self.last, self.last_hash, self.store.load_state().leaves()

    def steps(self, first: int) -> tuple[LightBlock, ...]:
        """Return the way from the genesis to the block before `first`."""
        from fednode.desk.audit import steps_before

        return steps_before(self.store, self.genesis, first, now_ms()) if first > 1 else ()

    def names(self) -> dict[int, str]:
        """Return the names of all members."""
        return _names_in(self)


class DaemonSource:
    """A running daemon, asked page by page."""

    name = "daemon"
    first = 1

    def __init__(self, site: Site, genesis: Genesis) -> None:
        found = ask_for(site, CHAIN_STATUS)
        self._site = site
        self.genesis = genesis
        self.last = found.height
        self.last_hash = bytes.fromhex(found.hash)
        if found.id != genesis.chain_id.hex():
            raise Unavailable("the daemon runs another chain than its genesis file says; restart the daemon")

    def entries(self, first: int, last: int) -> Iterator[ChainEntry]:
        """Yield blocks with certificate and receipts."""
        from fednode.desk.chain_query import entries_from

        height = first
        while height <= last and (page := ask_for(self._site, CHAIN_BLOCKS, first=height)):
            yield from entries_from(page[: last - height + 1])
            height += len(page)

    def members_at(self, height: int) -> MemberSet:
        """Return the set that decides a height."""
        from fednode.chain.vote import MemberSet

        found = ask_for(self._site, CHAIN_MEMBERS, height=height)
        if found.height != height:
            raise Unavailable(ODD_ANSWER)
        return _decoded(MemberSet, found.set)

    def leaves(self) -> tuple[int, bytes, Iterator[Leaf]]:
        """Return the end of the chain and the state there, which the daemon keeps for us while we read it."""
        answers = stream_daemon(self._site.home, CHAIN_STATE.name, {}, STATE_TIMEOUT_S)
        pages = (read_answer(CHAIN_STATE.form, answer) for answer in answers)
        first = next(pages)
        leaves = (
            (item.kind, bytes.fromhex(item.key), _unpacked(item.value))
            for page in itertools.chain((first,), pages) for item in page.items
        )
        return first.height, bytes.fromhex(first.hash), leaves

    def steps(self, first: int) -> tuple[LightBlock, ...]:
        """Return the way from the genesis to the block before `first`."""
        from fednode.chain.light import LightBlock

        steps = ask_for(self._site, CHAIN_STEPS, first=first) if first > 1 else ()
        return tuple(_decoded(LightBlock, text) for text in steps)

    def names(self) -> dict[int, str]:
        """Return the names of all members."""
        names = {number: card.name for number, card in self.genesis.numbered}
        return names | {member.id: member.name for member in ask_for(self._site, MEMBER_LIST)}


class ExportSource:
    """An export. It is read from its beginning each time; only its form is checked here, not what it claims."""

    name = "export"

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as opened:
            self.genesis, head = opened.genesis, opened.head
        self.first, self.last, self.last_hash = head.first, head.last, head.last_hash

    @contextlib.contextmanager
    def _open(self) -> Iterator[Opened]:
        from fednode.audit.export import open_export

        try:
            with environment("read the export", self.path), self.path.open("rb") as file:
                yield open_export(file.read)
        except Rejected as error:
            text = f"{self.path}: {error.reason}"
            raise VerificationFailed(f"{text}; get the export again, or make one with 'fednode chain export'") from None

    def _records(self, kind: type[T]) -> Iterator[T]:
        with self._open() as opened:
            yield from (record for record in opened.records if isinstance(record, kind))

    def entries(self, first: int, last: int) -> Iterator[ChainEntry]:
        """Yield blocks with certificate and receipts."""
        from fednode.audit.export import ExportBlock, entry_of

        for height, record in enumerate(self._records(ExportBlock), self.first):
            if height > last:
                return
            if height >= first:
                yield entry_of(record)

    def members_at(self, height: int) -> MemberSet:
        """Return the set that decides a height."""
        from fednode.audit.export import ExportBlock

        steps = self.steps(self.first)
        members = steps[-1].next_members if steps else self.genesis.member_set
        for at, record in enumerate(self._records(ExportBlock), self.first):
            if at >= height:
                break
            members = record.next_members or members
        return members

    def leaves(self) -> tuple[int, bytes, Iterator[Leaf]]:
        """Return the end of the export and the state there."""
        from fednode.audit.export import ExportItem

        items = self._records(ExportItem)
        return self.last, self.last_hash, ((item.kind, item.key, item.value) for item in items)

    def steps(self, first: int) -> tuple[LightBlock, ...]:
        """Return the steps the export begins with; it has none to a later block."""
        from fednode.audit.export import ExportStep

        if first != self.first:
            raise UsageError(f"{self.path} has no way from the genesis to block {first}; export it from a node")
        return tuple(step.block for step in self._records(ExportStep))

    def names(self) -> dict[int, str]:
        """Return the names of all members."""
        return _names_in(self)


# --- choosing one ----------------------------------------------------------------------------------------------

@contextlib.contextmanager
def open_source(site: Site, export: Path | None = None) -> Iterator[Source]:
    """Open the export if one is named, else ask the daemon, else open its store while it is stopped."""
    if export is not None:
        yield ExportSource(export)
        return
    try:
        ask_for(site, CHAIN_STATUS)
        genesis = read_genesis(site.load().values.genesis_path)
        found: Source | None = DaemonSource(site, genesis)
    except NotRunning:
        found = None
    if found is not None:
        yield found
        return
    with open_stopped(site) as (store, genesis):
        yield StoreSource(store, genesis)


@contextlib.contextmanager
def open_stopped(site: Site) -> Iterator[tuple[LevelDbStore, Genesis]]:
    """Open the stopped daemon's store. A home that has none yet is left without one."""
    from fednode.chain.leveldb import open_store

    values = site.load().values
    genesis = read_genesis(values.genesis_path)
    home = values.home
    if daemon_pid(home) is not None:
        raise Unavailable(f"the daemon of {home.root} is just starting or stopping; try again in a moment")
    if not home.chain.is_dir():
        raise Unavailable(f"there is no chain in {home.root} yet; run 'fednode start' first")
    store = open_store(home.chain, genesis)
    try:
        yield store, genesis
    finally:
        store.close()


def place_of(text: Path) -> tuple[Site, Path | None]:
    """Return what a path on the command line names: the home of a node, or an export."""
    site = Site()
    if not text.is_dir():
        return site, text
    site.home_option = text.absolute()
    return site, None


def export_option(function: F) -> F:
    """Add --export FILE: read an export instead of asking the daemon."""
    add = click.option(
        "--export", type=click.Path(path_type=Path), metavar="FILE",
        help="Read this export instead of the daemon or its store. Its form is checked, not its signatures.",
    )
    return add(function)


# --- reading ---------------------------------------------------------------------------------------------------

def _names_in(source: Source) -> dict[int, str]:
    from fednode.ledger.members.reading import MEMBERS_KEY
    from fednode.ledger.members.records import MemberList
    from fednode.ledger.record_table import RECORD_TABLE

    names: dict[int, str] = {number: card.name for number, card in source.genesis.numbered}
    for _, key, value in source.leaves()[2]:
        found = RECORD_TABLE.decode(key, value) if key == MEMBERS_KEY else None
        if isinstance(found, MemberList):
            names |= {int(record.member): record.name for record in found.members}
    return names


def counted(items: Iterable[T], label: str, as_json: bool) -> Iterator[T]:
    """Count on a terminal, so that a long chain is seen to move."""
    if as_json or not sys.stderr.isatty():
        yield from items
        return
    with click.progressbar(items, label=label, show_percent=False, show_eta=False, file=sys.stderr) as shown:
        yield from shown


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Unavailable(ODD_ANSWER) from None


def _decoded(form: type[T], text: str) -> T:
    from fednode.codec import decode

    try:
        return decode(form, _unpacked(text), MAX_ITEM_BYTES)
    except Rejected as error:
        raise StorageError(f"the daemon's record cannot be read ({error.reason}); use one version of fednode") from None


def now_ms() -> int:
    """Return UTC in milliseconds since 1970."""
    import time

    return time.time_ns() // 1_000_000
