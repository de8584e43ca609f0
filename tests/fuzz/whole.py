"""Whole cores that one member feeds with what means harm, and everything that people ask them afterwards.

Four real cores over a scripted network; the fourth member signs whatever the chance tells it to. A finding is

    any exception but `Rejected` (in rules also `Unforeseen`, which the fence makes of one),
    any second of processor time of one event, any 100 MB more that one event leaves or passes through,
    any difference between the states of the honest, and any that does not start again from its disk.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from unittest import mock

import trio

from fednode import fence
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.core import Core
from fednode.core.membership import Doors, dial_map, undialled
from fednode.desk.calls import Arguments
from fednode.desk.control_client import pack_frame
from fednode.desk.handlers import make_handlers
from fednode.desk.status import Node as Desk
from fednode.documents import Json
from fednode.errors import FednodeError, Rejected
from fednode.home.config import config_template, load_config
from fednode.ids import Height
from fednode.json_form import to_json
from fednode.learn.model_file import read_model
from fednode.ledger.genesis import parse_genesis
from fednode.ledger.members.identity import card_to_toml, parse_card
from fednode.ledger.studies.records import get_studies
from fednode.ledger.transactions import sign_transaction
from fednode.node.parts import Parts
from fednode.node.reactor import Reactor
from fednode.p2p import wire_limits
from fednode.p2p.addresses import peer_id_of
from fednode.p2p.reach import make_reach
from tests.core.hostile import Draw, mutate
from tests.fuzz import hostile_values as hostile
from tests.node.world import Node, World

LIAR = 4
HONEST = (1, 2, 3)
MOST_CPU_S = 1.0
MOST_MEMORY_KB = 100_000
ASKED = (
    "status", "memory", "chain_status", "chain_show", "chain_blocks", "chain_tx", "study_list",
    "study_show", "round_list", "round_show", "model_list", "model_show", "member_list",
    "member_proposals", "role_list", "version_show", "chain_proof", "chain_checkpoint",
    "chain_members",
)


class Watched(World):
    """A world that looks at what every event costs."""

    findings: list[str]

    def tell(self, node: Node, ask: Callable[[Core], list[do.Effect]]) -> None:
        with watch(self.findings, "an event"):
            super().tell(node, ask)


def peak_kb(is_new: bool = False) -> int:
    """Return the most memory this process had: since the last call with `is_new`, where the system allows that."""
    with suppress(OSError):
        if is_new:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def watch(findings: list[str], what: str) -> Iterator[None]:
    """Add what is beyond the bounds, or an exception that nobody promised."""
    began, before = time.process_time(), peak_kb(is_new=True)
    try:
        yield
    except (Rejected, FednodeError):
        pass
    except Exception as error:  # noqa: BLE001  this is what is looked for
        findings.append(f"{what}: {fence.place_of(error)}")
    if (cpu_s := time.process_time() - began) > MOST_CPU_S:
        findings.append(f"{what}: {cpu_s:.1f} s of processor time")
    if (more := peak_kb() - before) > MOST_MEMORY_KB:
        findings.append(f"{what}: {more // 1000} MB more")


def run(seed: int, steps: int, root: Path) -> list[str]:
    """Feed the cores for some steps; return what was found."""
    findings: list[str] = []
    made = fence.Unforeseen.__init__

    def noted(self: fence.Unforeseen, reason: str) -> None:
        findings.append(f"unforeseen: {reason}")
        made(self, reason)

    with mock.patch.object(fence.Unforeseen, "__init__", noted):
        world = Watched(seed=seed)
        world.findings = findings
        world.start()
        draw, attack = Draw(seed), _Attack(world, random.Random(seed))
        for _ in range(steps):
            attack.step(draw)
            world.rest(300)
            if len(findings) > 20:
                return findings
        world.rest(3000)
        _ask_everything(world, root, findings)
        for number in HONEST:  # after a restart too
            world.stop(number)
            with watch(findings, "a restart"):
                world.start(number)
        world.rest(3000)
    roots = {world[number].live().chain.state.root for number in HONEST if world[number].height == world[1].height}
    return findings if len(roots) == 1 else [*findings, "the honest have different states"]


class _Attack:
    """One member's steps."""

    def __init__(self, world: Watched, drawn: random.Random) -> None:
        self._world, self._drawn, self._nonce = world, drawn, 10**15

    def step(self, draw: Draw) -> None:
        """One thing that means harm, to all of the honest."""
        world, drawn = self._world, self._drawn
        draw.random = drawn
        match drawn.randrange(8):
            case 0 | 1 | 2 | 3:
                self._transaction(draw)
            case 4:
                self._frame(mutate(drawn, traffic.WANT.frame(traffic.WantModel(drawn.randbytes(32)))))
            case 5:
                size = drawn.choice((1000, 1_000_000, 1_400_000, wire_limits.MAX_FRAME_BYTES - 10))
                self._frame(bytes([drawn.randint(1, 3)]) + hostile.hostile_message(drawn, size))
            case 6:
                with watch(world.findings, "a model file"):
                    read_model(hostile.hostile_model_file(drawn))
            case _:
                self._documents()

    def _transaction(self, draw: Draw) -> None:
        world = self._world
        try:
            self._nonce += 1
            until = Height(world[1].height + 100)
            signed = sign_transaction(
                world[LIAR].signer, world.genesis.chain_id, world[LIAR].number, self._nonce, until,
                hostile.hostile_body(draw),
            )
        except (Rejected, ValueError):
            return  # no such body can be sent
        self._frame(traffic.TRANSACTIONS.frame(traffic.Transactions((signed.data,))))

    def _frame(self, data: bytes) -> None:
        for to in HONEST:
            self._world.send_raw(LIAR, to, data)

    def _documents(self) -> None:
        drawn, findings = self._drawn, self._world.findings
        card = hostile.hostile_card(drawn)
        text = "\n".join([card_to_toml(card).rstrip(), f"extra = {drawn.choice(hostile.TEXTS)}"])
        for read in (parse_card, parse_genesis):
            with watch(findings, "a document"):
                read(mutate(drawn, text.encode(errors="replace")))
        with watch(findings, "an address"):
            for address in hostile.ADDRESSES:
                make_reach((), ()).why_not(address)


async def _say_nothing(value: object) -> None:
    """What is asked here answers once."""


def _ask_everything(world: World, root: Path, findings: list[str]) -> None:
    """Ask one of the honest for everything that commands show, and dial as it would."""
    core = world[1].live()
    nothing, worker = cast(Any, None), mock.Mock(pid=None, pid_beside=None, of=lambda study: None)
    own = peer_id_of(world.genesis.members[0].network_key)
    parts = Parts(
        cast(Any, world[1].disk.store), nothing, nothing, nothing, cast(Any, mock.Mock(list=list)), worker, None, own,
        world.genesis.members[0].sign_key,
    )
    file = root / "hospital.toml"
    file.write_text(config_template("A", ("/ip4/127.0.0.1/tcp/7700",), (), None))
    config = load_config(file, {}, root).values
    desk = make_handlers(Desk("A", world.genesis, Reactor(core, parts), config, 0.0, 1), lambda: None)
    state, store = core.chain.state, world[1].disk.store
    with watch(findings, "dialling"):
        doors = Doors((), make_reach((), ()).why_not)
        assert dial_map(state, core.identity.member, own, doors)
        undialled(state, core.identity.member, doors)
    heights: list[Json] = [str(number) for number in range(1, store.tip.height + 1)]
    questions: dict[str, list[dict[str, Json]]] = {
        "chain_show": [{"at": height} for height in heights], "study_show": [],
        "chain_tx": [{"id": receipt.hex()} for receipt in world[1].receipts],
        "chain_proof": [{"what": kind, "at": at, "id": at} for kind in ("header", "state") for at in heights[:3]],
    }
    questions["study_show"] = [{"study": study.hex()} for study in get_studies(state)]
    questions["round_list"] = questions["round_show"] = questions["study_show"]

    async def ask(name: str, values: dict[str, Json]) -> None:
        pack_frame({"result": to_json(await desk.offers[name].run(Arguments(values), _say_nothing))})

    for name in ASKED:
        for values in [{}, *questions.get(name, [])]:
            with watch(findings, f"the answer to {name}"):
                trio.run(ask, name, values)
