"""The composition root: one hospital's daemon, put together from its parts and run until it is told to stop.

Security assumption: the home's lock is held, so no second daemon signs with this key from here; the keystore is
unlocked by the caller. Nothing is listened on before store and sign-state have been checked.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable

import trio

from fednode.chain.leveldb import LevelDbStore
from fednode.chain.store import StoreDamaged
from fednode.core.assemble import ChainEnd, assemble
from fednode.core.attendance import Identity
from fednode.core.bars import Bars
from fednode.core.membership import FOLLOWER, Doors, dial_map, undialled
from fednode.core.presence import INCARNATION_BYTES
from fednode.daemon.start_checks import load_signer, open_chain, remember_damage
from fednode.desk.control import serve_control
from fednode.desk.handlers import make_handlers
from fednode.desk.status import Node
from fednode.fence import Stumbled
from fednode.home.blobs import ModelStore
from fednode.home.config import HospitalConfig
from fednode.home.entered import Entered
from fednode.home.files import HomeLock
from fednode.home.journal import Journal
from fednode.home.keystore import Keys, SystemEntropy
from fednode.home.limits import raise_file_limit
from fednode.home.own_states import OwnStateStore
from fednode.home.round_store import RoundStore
from fednode.ids import PROTOCOL_VERSION, PeerId, StudyId
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import find_member
from fednode.node.lanes import Lanes
from fednode.node.parts import Parts
from fednode.node.reactor import Reactor, now_ms
from fednode.node.tables import WatchingTrainer
from fednode.node.upkeep import Upkeep
from fednode.p2p.reach import make_reach
from fednode.rounds.place import Ports
from fednode.sums.coin import MAX_LINKS, restore_chain
from fednode.sums.coin import Chain as CoinChain

WORKER_LOG = "worker.log"


def run_daemon(
    config: HospitalConfig, genesis: Genesis, keys: Keys, tell_ready: Callable[[], None], *,
    may_resync: bool = False, warn: Callable[[str], None] = lambda text: None,
    read_config: Callable[[], HospitalConfig] | None = None,
) -> None:
    """Run this hospital's daemon until SIGTERM, SIGINT or `fednode stop`; raise `FednodeError` if it cannot go on.

    `tell_ready` is called once ports and control socket are open, `warn` before it with what was found damaged;
    `may_resync` lets a damaged store be moved aside and fetched anew; `read_config` reads the configuration again
    when SIGHUP asks for it.
    """
    raise_file_limit(len(genesis.members))
    config.home.create()
    lock = HomeLock.acquire(config.home)
    try:
        store, resynced = open_chain(config.home, keys.public, genesis, may_resync)
        try:
            found = [] if resynced is None else [resynced]
            if config.log.journal and (damage := Journal.keep_damaged(config.home.journal)) is not None:
                found.append(damage)
            warned = Warned(warn, found)
            tells = [tell_ready]
            barred = Bars()
            upkeep = Upkeep(config, read_config)
            while _run_once(upkeep, keys, genesis, store, tells, warned, barred):
                pass  # the chain has given this hospital another number, or taken it: begin anew as that
        except BaseExceptionGroup as group:
            first = _first(group)
            if isinstance(first, StoreDamaged):
                remember_damage(config.home, first)
            raise first from None
        finally:
            store.close()
    finally:
        lock.release()


def _run_once(
    upkeep: Upkeep, keys: Keys, genesis: Genesis, store: LevelDbStore, tells: list[Callable[[], None]],
    warned: Warned, barred: Bars,
) -> bool:
    """Serve; return whether to begin anew: as another member, or without one whose message broke a machine."""
    try:
        if barred.pause_s and trio.run(_is_stopped_within, barred.pause_s):
            return False
        return trio.run(_serve, upkeep, keys, genesis, store, tells, warned, barred)
    except BaseExceptionGroup as group:
        first = _first(group)
        if not isinstance(first, Stumbled):
            raise
        warned.add(barred.add(first, len(store.tip.members)))
        return True


class Warned:
    """What was found damaged: told once to whoever started the daemon, and kept for its status."""

    def __init__(self, warn: Callable[[str], None], found: list[str]) -> None:
        self._warn = warn
        self._found: list[str] = []
        self._said: set[str] = set()
        self._reactor: Reactor | None = None
        for text in found:
            self.add(text)

    def say(self, text: str) -> None:
        """Tell a sentence, unless it was told before; the status has it from elsewhere, as long as it is true."""
        if text not in self._said:
            self._said.add(text)
            self._warn(text)

    def add(self, text: str) -> None:
        """Tell a sentence, unless it was told before."""
        if text in self._found:
            return
        self._found.append(text)
        self.say(text)
        if self._reactor is not None:
            self._reactor.problems.begin(("found", text), text)

    def follow(self, reactor: Reactor) -> None:
        """Show everything in the status of this reactor from now on."""
        self._reactor = reactor
        for text in self._found:
            reactor.problems.begin(("found", text), text)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error a group of tasks ended with: the first that is no mere consequence."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, trio.Cancelled):
            return error
    return group


def _make_ports(
    upkeep: Upkeep, records: RoundStore, own_states: Callable[[StudyId], OwnStateStore], models: ModelStore,
    statistics: Entered,
) -> Ports:
    entropy = SystemEntropy()

    def load_chain(study: StudyId) -> CoinChain:
        return restore_chain(records.coin_seed(study, entropy), MAX_LINKS)

    return Ports(
        entropy, upkeep.data_of, upkeep.is_auto_approved, records.load, records.put_long, load_chain, models.new_draft,
        statistics, own_states,
    )


async def _serve(
    upkeep: Upkeep, keys: Keys, genesis: Genesis, store: LevelDbStore, tells: list[Callable[[], None]],
    warned: Warned, barred: Bars,
) -> bool:
    """Serve as whoever the chain says this hospital is; return True when it says something else from then on.

    `tells` are called, and taken out, once ports and control socket are open.
    """
    from fednode.p2p.libp2p.network import NetworkSettings, create_network, quiet_logging  # slow to import

    quiet_logging()
    config = upkeep.config
    home = config.home
    state = store.load_state()
    member = find_member(state, keys.public.sign) or FOLLOWER
    sign_state, signer, problems = load_signer(home, keys, genesis, member, store)
    records = RoundStore(home.rounds, keys.storage_key)
    models = ModelStore(home.blobs, warned.add)
    models.clear_drafts()
    identity = Identity(genesis.chain_id, member, keys.sign, os.urandom(INCARNATION_BYTES))
    end = ChainEnd(store.tip, state, store.get_certificate(store.tip.height) if store.tip.height else None)

    def own_states(study: StudyId) -> OwnStateStore:
        return OwnStateStore(home.own_states, study, keys.storage_key)

    ports = _make_ports(upkeep, records, own_states, models, Entered(home.statistics))
    core = assemble(identity, end, signer, ports)
    own_peer = PeerId(keys.public.peer_id)
    journal = Journal(home.journal, member, now_ms) if config.log.journal else None
    memory_bytes = config.limits.worker_memory_mb << 20
    async with Lanes(home.journal.parent / WORKER_LOG, memory_bytes) as trainer:
        watching = WatchingTrainer(trainer, home.tables, journal)
        parts = Parts(store, sign_state, records, own_states, models, watching, journal, own_peer, keys.public.sign)
        agreed = [address for card in genesis.members for address in card.addresses]
        reach = make_reach(config.network.allow, [*agreed, *config.network.listen, *config.network.advertise])
        doors = Doors(barred, reach.why_not)
        reactor = Reactor(core, parts, doors)
        warned.follow(reactor)
        settings = NetworkSettings(
            keys.network_seed, config.network.listen, PROTOCOL_VERSION, genesis.chain_id, reach.may_dial
        )
        network = create_network(settings, reactor.accept_blob)
        network.set_members(dial_map(core.chain.state, member, own_peer, doors))
        for text in problems:
            warned.add(text)
        for text in undialled(core.chain.state, member, doors):
            warned.say(text)
        node = Node(config.node.name, genesis, reactor, config, time.monotonic(), os.getpid())
        gc.collect()
        gc.freeze()  # what is loaded stays: collections then look at new objects only
        stopped = trio.Event()
        async with trio.open_nursery() as nursery:
            def stop() -> None:
                stopped.set()
                nursery.cancel_scope.cancel()

            nursery.start_soon(_heed_signals, stop, upkeep, reactor)
            nursery.start_soon(upkeep.watch_tables, reactor)
            await nursery.start(network.run)
            handlers = make_handlers(node, stop)
            await nursery.start(serve_control, home, handlers)
            while tells:
                tells.pop()()
            nursery.start_soon(_stop_when_changed, reactor, nursery.cancel_scope)
            await reactor.run(network)
    return reactor.identity_changed.is_set() and not stopped.is_set()


async def _stop_when_changed(reactor: Reactor, scope: trio.CancelScope) -> None:
    await reactor.identity_changed.wait()
    scope.cancel()


async def _is_stopped_within(seconds: float) -> bool:
    """Wait; return whether a signal asked this process to end meanwhile."""
    with trio.move_on_after(seconds), trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            return True
    return False


async def _heed_signals(stop: Callable[[], None], upkeep: Upkeep, reactor: Reactor) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number == signal.SIGHUP and not upkeep.is_left_alone:
                upkeep.hang_up(reactor)
            else:
                stop()


