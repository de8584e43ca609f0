"""A transaction kind from outside the package, with its rule, its record and its query, on four whole nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest

from fednode.chain.state import Draft, Source
from fednode.codec import Size, tagged
from fednode.errors import Refused
from fednode.ids import MemberId
from fednode.ledger import rules
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.sums.course import BlockTime
from tests.node.world import World


@tagged(200)
@dataclass(frozen=True, slots=True)
class MottoSet:
    """What a hospital lives by; it may choose once."""

    text: Annotated[str, Size(1, 40)]


@dataclass(frozen=True, slots=True)
class Motto:
    """What is kept of it."""

    text: str
    height: int


def motto_key(member: int) -> bytes:
    return b"motto/" + member.to_bytes(2, "big")


def set_motto(draft: Draft, at: BlockTime, sender: MemberId, body: MottoSet) -> None:
    """The rule."""
    if get_motto(draft, sender) is not None:
        raise refuse(Refusal.ALREADY_POSTED)
    draft.write(motto_key(sender), Motto(body.text, at.height))


def get_motto(source: Source, member: int) -> Motto | None:
    """The query."""
    return source.read(motto_key(member), Motto)


@pytest.fixture(scope="module", autouse=True)
def kind() -> Iterator[None]:
    """The kind is there while these tests run; that its bytes are read stays, and no rule takes them."""
    rules.add_kind(MottoSet, set_motto, {b"motto": (200, Motto)})
    yield
    del rules.RULES[MottoSet], RECORD_TABLE.rows[b"motto"]


@pytest.fixture
def nodes() -> World:
    return World().start()


def test_a_kind_from_outside_is_decided_kept_and_read_by_all(nodes: World) -> None:
    nodes.submit(2, MottoSet("nothing without data"))
    nodes.rest(5_000)
    with pytest.raises(Refused, match="already"):
        nodes.submit(2, MottoSet("or with it"))
    assert nodes.are_equal()
    for number in (1, 2, 3, 4):
        chain = nodes[number].live().chain
        motto = get_motto(chain.state, 2)
        assert motto == Motto("nothing without data", 1)
        assert get_motto(chain.state, 1) is None


def test_a_node_that_starts_again_reads_the_record_from_its_store(nodes: World) -> None:
    nodes.submit(3, MottoSet("twice is once"))
    nodes.rest(5_000)
    nodes.stop(1)
    nodes.start(1)
    motto = get_motto(nodes[1].live().chain.state, 3)
    assert motto is not None and motto.text == "twice is once"


def test_a_number_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="taken"):
        rules.add_kind(MottoSet, set_motto, {b"other": (201, Motto)})
    with pytest.raises(ValueError, match="taken"):
        rules.add_kind(MottoSet, set_motto, {b"motto": (201, Motto)})
