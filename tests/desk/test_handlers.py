"""Whatever a caller asks, the daemon answers or says what is wrong with the question; no question ends it."""

from __future__ import annotations

import inspect
import random
import re
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from fednode.desk import audit_calls, handlers, member_calls, questions
from fednode.desk.calls import EVERYBODY, STAFF, Arguments, Handlers
from fednode.desk.handlers import make_handlers
from fednode.desk.status import Node
from fednode.documents import Json
from fednode.errors import FednodeError, Refused, Rejected
from fednode.home.config import config_template, load_config
from fednode.json_form import from_json, to_json
from fednode.ledger.members.bodies import Role
from tests.rounds.training import study_text
from tests.support.reactor import Stage

STRANGE: list[Json] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**40, -(10**40), 1.5, "", "0", "1", "-1", "latest", "1..2",
    "..", "9..1", "a\nb", "\x1b[2J", "\x00", "x" * 300, "\u00e9" * 200, "zz", "ab", "ab" * 32, "0x" + "ab" * 20,
    "AB" * 32, "grant",
    "revoke", "approve", "stop", "auditor", "header", "tx", "state", "member 1", "/dev/full", "/", "../x",
    [], {}, ["a"], {"a": 1}, "/ip4/1.2.3.4/tcp/1", study_text(), "format = 1", "hospital-0", "\ud800",
]


def names_of_arguments() -> list[str]:
    """Every argument that any call reads."""
    source = "".join(inspect.getsource(module) for module in (handlers, member_calls, audit_calls))
    getters = r'args\.(?:texts?|number|optional_text|optional_number|values\.get)\("(\w+)"'
    found = sorted(set(re.findall(getters, source)))
    assert len(found) > 12
    return found


def make_node(stage: Stage, root: Path) -> Node:
    file = root / "hospital.toml"
    file.write_text(config_template("A", ("/ip4/127.0.0.1/tcp/7700",), (), None))
    config = load_config(file, {}, root).values
    return Node("A", stage.genesis, stage.reactor, config, time.monotonic(), 1)


async def emit(value: Json) -> None:
    pass


async def ask(found: Handlers, name: str, values: dict[str, Json]) -> None:
    with trio.move_on_after(0.2):
        try:
            await found.offers[name].run(Arguments(values), emit)
        except (FednodeError, Rejected) as error:
            assert str(error)


@pytest.fixture
def stage(tmp_path: Path) -> AbstractAsyncContextManager[Stage]:
    return Stage(tmp_path).playing()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_no_question_ends_the_daemon(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(handlers, "FINAL_TIMEOUT_S", 0.1)
    monkeypatch.chdir(tmp_path)
    drawn = random.Random(seed)
    names = names_of_arguments()
    ended: list[str] = []
    stopped: list[bool] = []
    found = make_handlers(make_node(stage, tmp_path), lambda: stopped.append(True))
    await ask(found, "submit_memo", {"text": "a first block"})
    for name in found.offers:
        for attempt in range(25 if seed else 6):
            values = {key: drawn.choice(STRANGE) for key in names if drawn.random() < 0.8}
            if attempt < 8:  # mostly right, with one thing wrong
                values = {key: drawn.choice([v for v in STRANGE if isinstance(v, str)]) for key in names}
                values |= {key: drawn.choice([1, 2, 0, -1, 10**40]) for key in ("height", "first", "old", "new")}
            try:
                await ask(found, name, values)
            except Exception as error:  # noqa: BLE001  any other than the above would end the daemon
                short = {key: str(value)[:40] for key, value in values.items()}
                ended.append(f"{name}: {error!r} after {short}")
    assert not ended, "\n".join(ended)


async def test_a_vote_to_resume_that_cannot_help_is_refused_with_what_can(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers.status, "find_study", lambda node, text: bytes(32))
    stuck = SimpleNamespace(stuck="end it and begin anew")
    monkeypatch.setattr(handlers.status, "study_summary", lambda node, study: stuck)
    found = make_handlers(make_node(stage, tmp_path), lambda: None).offers
    with pytest.raises(FednodeError, match="end it and begin anew"):
        await found["study_vote"].run(Arguments({"study": "heart", "action": "resume"}), emit)
    with pytest.raises(FednodeError, match="the ledger would refuse"):
        await found["study_vote"].run(Arguments({"study": "heart", "action": "stop"}), emit)


async def test_several_lines_are_final_together_and_each_is_a_transaction(stage: Stage, tmp_path: Path) -> None:
    found = make_handlers(make_node(stage, tmp_path), lambda: None).offers
    done = await found["submit_memos"].run(Arguments({"texts": [f"line {number}" for number in range(40)]}), emit)
    assert isinstance(done, list) and len({str(entry) for entry in done}) == 40
    assert stage.store.tip.height == 1
    for texts in ([], ["twice", "twice"], ["good", ""], ["good", 7], "good", ["a"] * 61):
        with pytest.raises((FednodeError, Rejected)):
            await found["submit_memos"].run(Arguments({"texts": texts}), emit)
    with pytest.raises(FednodeError, match="on its way"):
        await found["submit_memos"].run(Arguments({"texts": [f"too many {number}" for number in range(61)]}), emit)
    assert len(stage.core.traffic.outbox) == 0
    await found["submit_memos"].run(Arguments({"texts": ["good"]}), emit)
    assert stage.store.tip.height == 2


async def test_only_the_hospital_itself_changes_anything_and_nobody_is_shown_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    """Votes, proposals and keys are the hospital's; those who look after the machine may stop it and take files."""
    offers = make_handlers(make_node(stage, tmp_path), lambda: None).offers
    acts = {name: offer.roles for name, offer in offers.items() if offer.acts}
    assert {name for name, roles in acts.items() if roles != {Role.HOSPITAL}} == {"stop", "model_export"}
    assert acts["stop"] == acts["model_export"] == STAFF
    assert all(Role.HOSPITAL in offer.roles for offer in offers.values())
    assert offers["status"].roles == EVERYBODY
    found = make_handlers(make_node(stage, tmp_path), lambda: None)
    with pytest.raises(Refused, match="the role auditor may not ask for 'submit_memo'; these may: hospital"):
        await found.answer("submit_memo", Role.AUDITOR, Arguments({"text": "a line"}), emit)
    assert stage.store.tip.height == 0
    shown = await found.answer("chain_status", Role.AUDITOR, Arguments({}), emit)
    assert isinstance(shown, dict) and shown["height"] == 0


async def test_every_answer_reads_back_as_the_read_model_of_its_question(stage: Stage, tmp_path: Path) -> None:
    known = {asked.name: asked for asked in vars(questions).values() if isinstance(asked, questions.Question)}
    assert len(known) > 12
    node = make_node(stage, tmp_path)
    found = make_handlers(node, lambda: None)
    for name, values in {
        "submit_memo": {"text": "a line"}, "submit_memos": {"texts": ["one", "two"]}, "status": {}, "memory": {},
        "chain_status": {}, "chain_show": {"at": "1..2"}, "chain_blocks": {}, "version_show": {}, "member_list": {},
        "member_proposals": {}, "member_address": {"addresses": "/ip4/192.0.2.1/tcp/7700"}, "role_list": {},
        "role_vote": {"role": "auditor", "holder": "ab" * 32, "action": "grant"}, "study_list": {},
    }.items():
        answer = await found.answer(name, Role.HOSPITAL, Arguments(values), emit)
        assert to_json(from_json(known[name].form, answer)) == answer, name
