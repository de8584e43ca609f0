"""What can leave this site: every kind of message there is, read off the records it is made from.

Security assumption: a message leaves only as one of the forms below; the network has no other way to send, and whatever
is not in a form cannot be encoded. So the list is made from the forms themselves, field by field, not from a text.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Union

from fednode.codec import Range, Size
from fednode.core import traffic
from fednode.core.presence import Statement
from fednode.desk.record import Record
from fednode.home.config import HospitalConfig
from fednode.ledger import bodies
from fednode.ledger.studies.bodies import Ready, Result, StudyCreate
from fednode.p2p.addresses import parse_multiaddr
from fednode.p2p.network import Channel
from fednode.sums.bodies import Commit, Confirm, Digest, Expose, Keys, Recheck, Redeal, SumAck

MASKED = "the study's table, through the training process; masked before it leaves, see var/rounds"
SUMS = "what other members sent and signed; masked vectors and their sums"
MODELS = "var/blobs (models, the same at every member)"

_SOURCES: dict[type, str] = {
    Ready: "rounds/ (the public key of the next round); that the table fits the study, not a value of it",
    Keys: "fresh random numbers of the round in var/rounds, encrypted for each holder",
    Commit: f"{MASKED}: only its Merkle root; the public weight, the number of rows up to a bound of the study",
    Digest: SUMS,
    SumAck: SUMS,
    Recheck: SUMS,
    Redeal: f"{MASKED}: a share of its sketch, as dealt before; encrypted for one holder, who alone can read it",
    Confirm: "what other members dealt to this one, mixed into a number for each repetition that a random one hides",
    Expose: "what another member dealt to this one and is wrong: opened to everybody, which names that member",
    Result: "measures and the new model's hash, from sums of all members counted; and one bit of its own: "
    "whether training is done by this hospital's held-out rows",
    StudyCreate: "the study file a person of this hospital proposed",
    bodies.Memo: "a line that a person of this hospital wrote for auditors",
}

NEVER = (
    "a row or a value of a table: only the training process opens them, and it has no network",
    "an update that is not masked, or a sum of fewer members than the study allows",
    "private keys, the passphrase, round records",
    "telemetry, crash reports, requests to anybody who is not listed here",
)


class FieldForm(Record):
    """A field of a message, and what it may hold."""

    field: str
    form: str


class MessageKind(Record):
    """One form of message: on which channel, in which frame, what is in it, what that is made from."""

    channel: str
    frame: str
    kind: str
    words: str
    contains: tuple[FieldForm, ...]
    made_from: str


class Peer(Record):
    """A hospital that this one speaks with; `address` is the one that a connection is open to."""

    id: int
    name: str
    peer_id: str
    addresses: tuple[str, ...]
    is_connected: bool
    address: str | None


class EgressView(Record):
    """Everything that leaves: to whom, by which names they are found, what, and what never does.

    `source` says who the peers are: the daemon, its store, or the genesis file.
    """

    source: str
    listens: tuple[str, ...]
    peers: tuple[Peer, ...]
    name_lookups: tuple[str, ...]
    messages: tuple[MessageKind, ...]
    never: tuple[str, ...]
    tables: tuple[str, ...]


def message_kinds() -> Iterator[MessageKind]:
    """Yield every form that can be sent to a member."""
    held = (("network key", "32 bytes, public"), ("protocol version", "number"), ("chain id", "32 bytes"))
    yield MessageKind(
        channel="connection", frame="handshake", kind="Noise XX, hello",
        words="Shows a caller that this is the hospital it called; one whose key is not a member's learns no more.",
        contains=tuple(FieldForm(field=name, form=form) for name, form in held),
        made_from="keys/keystore.toml (the public network key), the genesis file",
    )
    small, large = Channel.CONSENSUS.value, Channel.BULK.value
    for row in traffic.CLASSES.values():
        yield from _kinds(small, row.name, row.form, row.source)
        if row.inside is not None:
            yield from _kinds(small, f"{row.name}: body", row.inside, row.source)
    chunk = "A piece of a masked vector, or of a sum of them, behind this"
    yield _kind(large, "blob", traffic.ChunkHeader, MASKED, chunk)
    yield _kind(large, "blob", traffic.ModelHeader, MODELS, "A model file (safetensors), behind this")
    yield _kind("gossip", "announcement", Statement, traffic.CHAIN)


def _kinds(channel: str, frame: str, record: object, source: str) -> Iterator[MessageKind]:
    """Yield a record, or each of a union of records."""
    for form in typing.get_args(record) or (record,):
        yield _kind(channel, frame, form, _SOURCES.get(form, source))


def _kind(channel: str, frame: str, form: type, source: str, words: str | None = None) -> MessageKind:
    hints = typing.get_type_hints(form, include_extras=True)
    contains = tuple(
        FieldForm(field=field.name, form=describe(hints[field.name]))
        for field in dataclasses.fields(form) if field.init
    )
    first = " ".join((form.__doc__ or "").split("\n\n")[0].split())
    return MessageKind(
        channel=channel, frame=frame, kind=form.__name__, words=words or first, contains=contains, made_from=source
    )


def describe(form: object) -> str:
    """Return what a field may hold, in words, with its bounds."""
    while isinstance(form, typing.NewType):
        form = form.__supertype__
    origin = typing.get_origin(form)
    if origin is Annotated:
        inner, bound = typing.get_args(form)[:2]
        return _bounded(inner, bound)
    if origin in (Union, types.UnionType):
        parts = [describe(part) for part in typing.get_args(form) if part is not type(None)]
        return " or ".join(parts) + (" or nothing" if type(None) in typing.get_args(form) else "")
    if origin is tuple:
        items = typing.get_args(form)
        inside = items[:1] if items[-1:] == (Ellipsis,) else items
        return ("list of " if items[-1:] == (Ellipsis,) else "") + "(" + ", ".join(map(describe, inside)) + ")"
    names = {int: "number", bytes: "bytes", str: "text", bool: "yes or no"}
    return names.get(typing.cast(type, form), getattr(form, "__name__", str(form)))


def _bounded(inner: object, bound: object) -> str:
    match bound:
        case Range(low, high):
            return f"number from {low} to {high}"
        case Size(low, high):
            count = f"{low}" if low == high else f"{low} to {high}"
            while isinstance(inner, typing.NewType):
                inner = inner.__supertype__
            if inner in (bytes, str):
                return f"{count} {'bytes' if inner is bytes else 'bytes of text'}"
            return f"{describe(inner)}, {count} of them"
        case _:
            return describe(inner)


def egress_view(config: HospitalConfig, peers: Sequence[Peer], source: str) -> EgressView:
    """Return everything that leaves: to whom, by which names they are found, what, and what never does."""
    tables = {str(path) for path in (config.data.default, *config.data.studies.values()) if path is not None}
    named = {text for peer in peers for text in peer.addresses if text.startswith("/dns")}
    return EgressView(
        source=source, listens=tuple(config.network.listen), peers=tuple(peers),
        name_lookups=tuple(sorted({parse_multiaddr(text).host for text in named})),
        messages=tuple(message_kinds()), never=NEVER, tables=tuple(sorted(tables)),
    )
