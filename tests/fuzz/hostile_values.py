"""Values that fit the forms and mean harm inside: numbers nobody can compute with, names, addresses, headers."""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import replace
from typing import Any

from fednode.crypto import (
    Domain,
    Ed25519Signer,
    Secret,
)
from fednode.errors import Rejected
from fednode.learn.form import parse_study
from fednode.learn.study import StudySpec, study_bytes
from fednode.ledger import bodies as tx
from fednode.ledger.members.bodies import MemberAddresses, MemberPropose
from fednode.ledger.members.identity import IdentityCard
from fednode.ledger.studies.bodies import StudyCreate
from fednode.rounds.terms import terms_from_spec
from tests.core.hostile import Draw
from tests.rounds.training import study_text
from tests.support.cards import make_card
from tests.support.seeds import seed_of

TEXTS = (
    "1e1000001", "1e-1000001", "1e999999999", "1e-999999999", "1e-99999999999", "0e-999999999",
    "1e99999999999999999999", "-1e1000000", "NaN", "sNaN", "-Infinity", "1_0", "٣", "9" * 60, "0x" + "f" * 50,
    "", " ", "\x00", "\x1b[2J", "\u202e", "\ufeff", "a\nb", "é" * 30, "\U0001f600" * 10, "[[", "\\ud800", "%s%n",
    "../../x", "'", '"', "{0.__class__}", "[red]",
)
NUMBERS = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1,
           -1, -(2**31), -(2**63), 10**18)
ADDRESSES = (
    "/dns4/" + "a" * 64 + ".example/tcp/1", "/dns4/" + "a." * 40 + "b/tcp/1", "/dns4/xn--a/tcp/1",
    "/dns4/\u00e4.example/tcp/1",
    "/ip4/999.1.1.1/tcp/1", "/ip4/10.0.0.1/tcp/22", "/ip6/::1%lo/tcp/1", "/ip6/fe80::1%" + "x" * 60 + "/tcp/1",
    "/dns4/127.1/tcp/80", "/ip4/1.2.3.4/tcp/" + "9" * 80, "/dns4/../tcp/1", "/dns4/a..b/tcp/1", "/dns4/%00/tcp/1",
)
BOMBS = (b"\x91" * 15 + b"\x90", b"\x91\x90", b"\xa2ab", b"\xcd\x12\x34", b"\x92\xc0\xc0", b"\xdd\xff\xff\xff\xff")
"""Shortest items of messages that take the most memory, and a header that promises it."""


def hostile_message(drawn: random.Random, size: int) -> bytes:
    """Return a message of about so many bytes that would take far more: many small items, or headers that promise."""
    if drawn.random() < 0.5:
        head = (b"\xdd" + (size - 1).to_bytes(4, "big")) * drawn.choice((2, 15, 400))
        return head[: size // 2] + b"\xc0" * (size - len(head[: size // 2]))
    item = drawn.choice(BOMBS)
    count = size // len(item)
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def poison(drawn: random.Random, value: Any, share: float) -> Any:
    """Return a record with a share of its texts and numbers replaced, whatever its own checks say."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = dataclasses.replace(value)
        for field in dataclasses.fields(value):
            object.__setattr__(changed, field.name, poison(drawn, getattr(value, field.name), share))
        return changed
    if isinstance(value, tuple):
        return tuple(poison(drawn, item, share) for item in value)
    if drawn.random() < share:
        if isinstance(value, str):
            return drawn.choice(TEXTS)
        if isinstance(value, int) and not isinstance(value, bool):
            return drawn.choice(NUMBERS)
    return value


def hostile_spec(drawn: random.Random) -> tuple[StudySpec, bytes]:
    """Return a real study and the bytes of one like it that means harm."""
    spec = parse_study(study_text(drawn.randint(1, 3)))
    for _ in range(50):
        try:
            return spec, study_bytes(poison(drawn, spec, drawn.choice((0.02, 0.1, 0.5))))
        except (Rejected, ValueError):
            continue
    return spec, study_bytes(spec)


def hostile_card(drawn: random.Random) -> IdentityCard:
    """Return a card of real keys and valid proofs, with a name and addresses that mean harm."""
    seed = f"hostile-{drawn.randrange(10**9)}"
    name = drawn.choice([text for text in TEXTS if text])
    card = replace(make_card(seed), name=name, addresses=tuple(drawn.sample(ADDRESSES, 2)))
    sign, network = (Ed25519Signer(Secret(seed_of(seed, kind))) for kind in ("sign", "network"))
    content = card.content()
    return replace(
        card, sign_proof=sign.sign(Domain.IDENTITY_CARD, content),
        network_proof=network.sign(Domain.POSSESSION, content),
    )


def hostile_body(draw: Draw) -> tx.Body:
    """Return a body that a member could sign: of any kind, often one that carries a document of its own."""
    drawn = draw.random
    match drawn.randrange(5):
        case 0 | 1:
            spec, data = hostile_spec(drawn)
            terms = terms_from_spec(spec)
            return StudyCreate(poison(drawn, terms, 0.1) if drawn.random() < 0.3 else terms, data)
        case 2:
            return MemberPropose(hostile_card(drawn))
        case 3:
            return MemberAddresses(tuple(drawn.sample(ADDRESSES, drawn.randint(1, 3))))
        case _:
            body: tx.Body = draw.value(tx.Body)
            return poison(drawn, body, 0.2)  # type: ignore[no-any-return]


def hostile_model_file(drawn: random.Random) -> bytes:
    """Return the beginning of a model file whose header means harm."""
    values = [drawn.choice(TEXTS), drawn.choice(NUMBERS), [[]], {}, None, "f" * 64, hostile_spec(drawn)[1].hex()]
    names = ("fednode", "model_hash", "round", "scaling", "spec", "study_id")
    metadata = {name: drawn.choice(values) for name in names} | {"fednode": "model"}
    text = drawn.choice((
        json.dumps({"__metadata__": metadata}), "[" * 100_000, '{"__metadata__": ' + "1" * 5000 + "}", "{" * 500,
        "null",
        '{"a":' * 5000, json.dumps({"__metadata__": [metadata]}),
    )).encode()
    return len(text).to_bytes(8, "little") + text
