"""Problems are shown while they last, and a journal that was moved is begun anew."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.core import membership
from fednode.core.membership import Doors, undialled
from fednode.errors import TrainingError
from fednode.home.config import HospitalConfig, config_template, load_config
from fednode.home.journal import Journal
from fednode.ids import MemberId
from fednode.ledger.genesis import make_genesis
from fednode.ledger.members.reading import get_followers
from fednode.node.problems import EVENT_MS, MAX_PROBLEMS, Problems
from fednode.node.upkeep import Upkeep
from fednode.p2p import network as net
from tests.support.cards import make_cards
from tests.support.reactor import Stage, settled

KEYS = st.sampled_from(["a", "b", ("refused", 2), ("refused", 3)])


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Stage]:
    return Stage(tmp_path, getattr(request, "param", 1)).playing()


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "tell", "wait"]), KEYS, st.integers(0, EVENT_MS))))
def test_shown_is_what_lasts(steps: list[tuple[str, Hashable, int]]) -> None:
    now_ms, lasting, told = 10**12, {}, {}
    problems = Problems(lambda: now_ms)
    for number, (what, key, ms) in enumerate(steps):
        if what == "begin":
            problems.begin(key, f"text {number}")
            lasting[key] = f"text {number}"
        elif what == "end":
            problems.end(key)
            lasting.pop(key, None)
        elif what == "tell":
            problems.tell(str(key))
            told[str(key)] = now_ms + EVENT_MS
        else:
            now_ms += ms
        wanted = {*lasting.values(), *(text for text, until in told.items() if now_ms < until)}
        assert set(problems.texts()) == wanted and len(problems.texts()) == len(wanted)


def test_a_group_shows_what_it_holds_now() -> None:
    problems = Problems(lambda: 0)
    problems.begin("other", "stays")
    for texts in (["a", "b"], ["b", "c"], []):
        problems.keep("undialled", texts)
        assert set(problems.texts()) == {"stays", *texts}


def test_no_flood_of_problems() -> None:
    problems = Problems(lambda: 0)
    for number in range(3 * MAX_PROBLEMS):
        problems.begin(number, str(number))
        problems.tell(f"event {number}")
    assert len(problems.texts()) == MAX_PROBLEMS


def test_whoever_can_cause_many_problems_hides_no_other() -> None:
    problems = Problems(lambda: 0)
    for key in ("keys", "worker", ("cut off", 3), ("found", "a file")):
        problems.begin(key, f"about {key}")
    problems.keep("undialled", [f"address {number}" for number in range(3 * MAX_PROBLEMS)])
    assert [text for text in problems.texts() if text.startswith("about")] == [
        "about keys", "about worker", "about ('cut off', 3)", "about ('found', 'a file')",
    ]
    assert len(problems.texts()) == MAX_PROBLEMS and problems.texts()[-1] == f"address {3 * MAX_PROBLEMS - 1}"


def test_a_member_has_one_sentence_however_many_addresses_it_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_genesis("test", make_cards(4), [], 1000).first_state()
    first, second, third, last = get_followers(state)
    fourth = replace(last, addresses=("/ip4/10.9.9.9/tcp/1",))
    many = replace(third, addresses=tuple(f"/ip4/10.0.0.{number}/tcp/1" for number in range(8)))
    monkeypatch.setattr(membership, "get_followers", lambda state: [first, second, many, fourth])
    doors = Doors((), lambda address: "no" if "/ip4/10." in address else None)
    one, other = undialled(state, MemberId(1), doors)
    assert one.startswith("member 3 (") and "/ip4/10.0.0.0/tcp/1: no (7 more of its addresses" in one
    assert other.startswith("member 4 (")


def test_an_event_does_not_outlive_a_clock_that_is_set_back() -> None:
    now_ms = 10**12
    problems = Problems(lambda: now_ms)
    problems.tell("something happened")
    now_ms -= 10 * EVENT_MS
    assert problems.texts() == []


@pytest.mark.parametrize("stage", [4], indirect=True)
async def test_a_member_that_comes_back_takes_its_problem_along(stage: Stage) -> None:
    peer = stage.peer(3)
    stage.network.tell(net.Refused(peer, "it speaks version 9, this node version 1"))
    await settled()
    assert any("member 3 refused" in text for text in stage.reactor.problems.texts())
    stage.network.tell(net.PeerUp(peer, "/ip4/10.0.0.3/tcp/1"))
    await settled()
    assert not any("member 3" in text for text in stage.reactor.problems.texts())


# --- the journal -----------------------------------------------------------------------------------------------

def test_a_journal_that_was_moved_or_removed_is_begun_anew(tmp_path: Path) -> None:
    now_ms = 1000
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, MemberId(1), lambda: now_ms)
    for number, lose in enumerate((
        lambda: path.rename(tmp_path / "moved.jsonl"), path.unlink,
        lambda: (path.unlink(), path.write_bytes(b"")), lambda: path.replace(tmp_path / "again.jsonl"),
    )):
        journal.write("note", text=f"before {number}")
        lose()
        now_ms += 1000
        journal.write("note", text=f"after {number}")
        assert f"after {number}" in path.read_text() and f"before {number}" not in path.read_text()
    assert "before 0" in (tmp_path / "moved.jsonl").read_text()
    journal.close()


def test_reopen_follows_the_name_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log" / "journal.jsonl"
    path.parent.mkdir()
    journal = Journal(path, MemberId(1), lambda: 1000)
    journal.write("note", text="first")
    path.parent.rename(tmp_path / "old")
    journal.reopen()
    journal.write("note", text="second")
    assert "second" in path.read_text() and "first" in (tmp_path / "old" / "journal.jsonl").read_text()
    journal.close()


# --- SIGHUP ----------------------------------------------------------------------------------------------------

def configured(tmp_path: Path, name: str, data: str | None) -> HospitalConfig:
    path = tmp_path / "etc" / "hospital.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(config_template(name, ("/ip4/127.0.0.1/tcp/7700",), (), data))
    return load_config(path, {}).values


async def test_a_hangup_reads_what_may_be_read_and_names_the_rest(stage: Stage, tmp_path: Path) -> None:
    found: list[HospitalConfig | TrainingError] = []

    def read() -> HospitalConfig:
        if isinstance(found[-1], HospitalConfig):
            return found[-1]
        raise found[-1]

    upkeep = Upkeep(configured(tmp_path, "A", "old.csv"), read)
    study = bytes(32)
    found.append(configured(tmp_path, "A", "new.csv"))
    stage.journal.rename(tmp_path / "moved")
    upkeep.hang_up(stage.reactor)
    assert stage.journal.exists(), "the journal is begun anew"
    data = upkeep.data_of("any", study)
    assert data is not None and data.path.endswith("new.csv") and stage.reactor.problems.texts() == []
    found.append(configured(tmp_path, "B", "new.csv"))
    upkeep.hang_up(stage.reactor)
    assert any("[node]" in text and "restart" in text for text in stage.reactor.problems.texts())
    found.append(TrainingError("hospital.toml: not valid TOML"))
    upkeep.hang_up(stage.reactor)
    assert any("in force is the old one: hospital.toml" in text for text in stage.reactor.problems.texts())
    found.append(configured(tmp_path, "B", "new.csv"))
    upkeep.hang_up(stage.reactor)
    assert not any("old one" in text for text in stage.reactor.problems.texts()), "mended, so it leaves"
