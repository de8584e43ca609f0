"""A class of frames is one row: it is decoded, counted, handed on and listed. Here a committee's questions are one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from fednode.chain.consensus.messages import BlockRequest
from fednode.codec import Bytes32, Size, decode, encode
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.quota import FRAMES_BURST, Bounds, Quota
from fednode.desk.egress import message_kinds
from fednode.errors import Rejected
from fednode.ids import MemberId
from tests.support.reactor import Stage

SECOND_NS = 1_000_000_000
BURST = 50


@dataclass(frozen=True, slots=True)
class Question:
    """Asks a member of a committee about a model."""

    model: Bytes32
    input: Annotated[bytes, Size(0, 1000)]


def read_question(body: memoryview) -> Question:
    return decode(Question, body, 2_000)


QUESTIONS = Bounds("questions", 10.0, float(BURST), 1e5, 1e6)
COMMITTEE: traffic.FrameClass[Question] = traffic.FrameClass(
    77, "COMMITTEE", Question, "what a committee was asked", encode, read_question, bounds=QUESTIONS
)
QUESTION = Question(bytes(32), b"x")


@pytest.fixture
def stage(tmp_path: Path) -> AbstractAsyncContextManager[Stage]:
    return Stage(tmp_path, count=4).playing()


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(traffic.CLASSES, COMMITTEE.code, COMMITTEE)
    monkeypatch.setattr("fednode.node.reactor.monotonic_ns", lambda: SECOND_NS)


def listen(stage: Stage) -> list[tuple[MemberId, Question]]:
    heard: list[tuple[MemberId, Question]] = []

    def take(sender: MemberId, question: Question) -> list[do.Effect]:
        heard.append((sender, question))
        return []

    stage.reactor.core.receive(COMMITTEE, take)
    return heard


async def test_a_row_is_decoded_and_handed_to_its_receiver(stage: Stage) -> None:
    heard = listen(stage)
    await stage.receive(2, COMMITTEE.frame(QUESTION))
    assert heard == [(MemberId(2), QUESTION)]


async def test_bytes_that_are_no_message_of_the_row_are_refused(stage: Stage) -> None:
    heard = listen(stage)
    await stage.receive(2, COMMITTEE.frame(QUESTION) + b"x")
    assert heard == [] and stage.reactor.dropped[MemberId(2)] == 1


def test_a_code_without_a_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(traffic.CLASSES, COMMITTEE.code)
    with pytest.raises(Rejected, match="unknown class"):
        traffic.decode_frame(COMMITTEE.frame(QUESTION))


async def test_a_row_has_bounds_of_its_own(stage: Stage) -> None:
    """A flood of questions is cut off by their bounds; as many other messages are no flood."""
    heard = listen(stage)
    await stage.receive(2, *[COMMITTEE.frame(QUESTION)] * (BURST + 1))
    ((_, reason),) = stage.network.dropped
    assert reason == "it sends more than 10 questions a second" and len(heard) == BURST


async def test_what_has_other_bounds_takes_nothing_from_them(stage: Stage) -> None:
    heard = listen(stage)
    request = traffic.CONSENSUS.frame(BlockRequest(1, bytes(32)))  # type: ignore[arg-type]
    await stage.receive(2, *[request] * int(FRAMES_BURST), *[COMMITTEE.frame(QUESTION)] * BURST)
    assert len(heard) == BURST and not stage.network.dropped


def test_bounds_of_bytes_are_the_rows_own() -> None:
    quota = Quota()
    assert quota.take_frame(1_000_001, False, SECOND_NS) is None, "no flood within the ordinary bounds"
    assert "MB of questions" in str(quota.take_frame(1_000_001, False, SECOND_NS, QUESTIONS))


def test_a_row_is_listed_among_what_leaves_this_site() -> None:
    (listed,) = [kind for kind in message_kinds() if kind.frame == "COMMITTEE"]
    assert (listed.kind, listed.made_from) == ("Question", COMMITTEE.source)
    assert [part.field for part in listed.contains] == ["model", "input"]


async def test_every_row_of_the_table_has_a_code_of_its_own_and_a_receiver(stage: Stage) -> None:
    assert all(code == kind.code for code, kind in traffic.CLASSES.items())
    bounds = {kind.bounds for kind in traffic.CLASSES.values()}
    assert len({each.name for each in bounds}) == len(bounds) == 2, "bounds are told apart by their names"
    listen(stage)
    assert set(stage.reactor.core._receivers) == set(traffic.CLASSES)
