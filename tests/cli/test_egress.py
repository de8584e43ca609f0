"""What leaves the site: every form a frame can have is listed, with every field; with and without a daemon."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path

from fednode.chain.consensus.messages import ConsensusMessage
from fednode.chain.sync import SyncMessage
from fednode.core import traffic
from fednode.desk.egress import describe, message_kinds
from fednode.home.keystore import read_public_keys
from fednode.json_form import to_json
from fednode.ledger import bodies
from tests.cli.conftest import Fednode, cards

FOUR = ("anna", "berta", "clara", "dora")


def test_every_form_of_every_frame_is_listed_with_all_its_fields() -> None:
    listed = {kind.kind: kind for kind in message_kinds()}
    for union in (ConsensusMessage, SyncMessage, traffic.Want, traffic.BlobHeader, bodies.Body):
        for form in typing.get_args(union):
            kind = listed[form.__name__]
            assert [part.field for part in kind.contains] == [field.name for field in dataclasses.fields(form)]
            assert kind.words and kind.made_from and all(part.form for part in kind.contains)
    assert {kind.frame.split(":")[0] for kind in listed.values()} >= {row.name for row in traffic.CLASSES.values()}


def test_bounds_are_told() -> None:
    memo = next(kind for kind in message_kinds() if kind.kind == "Memo")
    assert to_json(memo.contains) == [{"field": "text", "form": "1 to 256 bytes of text"}]
    assert describe(bytes | None) == "bytes or nothing"


def test_without_a_daemon(fednode: Fednode, homes: Path) -> None:
    home = homes / "anna"
    alone = fednode("--home", home, "doctor", "--egress", "--format", "json")
    assert (alone.code, json.loads(alone.out)["peers"]) == (0, [])
    assert fednode("genesis", "create", *cards(homes, *FOUR), "-o", home / "etc" / "genesis.toml").code == 0
    found = json.loads(fednode("--home", home, "doctor", "--egress", "--format", "json").out)
    assert found["source"] == "genesis file"
    assert sorted(peer["name"] for peer in found["peers"]) == ["berta", "clara", "dora"]
    berta = next(peer for peer in found["peers"] if peer["name"] == "berta")
    assert berta["peer_id"] == read_public_keys(homes / "berta" / "keys" / "keystore.toml").peer_id
    assert berta["addresses"] == ["/ip4/127.0.0.1/tcp/7791"]
    assert found["name_lookups"] == [] and any("row" in line for line in found["never"])
    short = fednode("--home", home, "doctor", "--egress").out
    assert len(short.splitlines()) <= 11 and "berta" in short and "a row or a value of a table" in short
    assert "ChunkHeader" not in short and "--egress --all" in short
    table = fednode("--home", home, "doctor", "--egress", "--all")
    assert table.code == 0 and "nobody else" in table.out and "berta" in table.out
    assert "ChunkHeader" in table.out and "Never:" in table.out
