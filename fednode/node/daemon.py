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

from fednode.crypto import unseal
from fednode.ids import PROTOCOL_VERSION, Hash, MemberId, PeerId, StudyId
from fednode.ledger.consensus.replica import Replica
from fednode.ledger.consensus.signing import SignRecord, VoteSigner, initial_record
from fednode.ledger.genesis import Genesis
from fednode.ledger.leveldb import LevelDbStore, open_store
from fednode.ledger.member_state import find_member
from fednode.node.blobs import ModelStore, RoundStore
from fednode.node.chain import Chain
from fednode.node.config import HospitalConfig
from fednode.node.control import serve_control
from fednode.node.core import Core, Identity
from fednode.node.files import Home, HomeLock, write_atomic
from fednode.node.handlers import make_handlers
from fednode.node.journal import Journal
from fednode.node.keystore import Keys, SystemEntropy
from fednode.node.membership import FOLLOWER, dial_map
from fednode.node.reactor import Parts, Reactor, now_ms
from fednode.node.sign_state import SignStateFile
from fednode.node.status import Node
from fednode.node.studies import Site, Studies
from fednode.node.trainer import WorkerTrainer
from fednode.proofs.coin import Chain as CoinChain
from fednode.proofs.coin import derive_chain
from fednode.rounds.machine import RecordParts
from fednode.smpc.messages import RecordPart

WORKER_LOG = "worker.log"


def run_daemon(config: HospitalConfig, genesis: Genesis, keys: Keys, tell_ready: Callable[[], None]) -> None:
    """Run this hospital's daemon until SIGTERM, SIGINT or `fednode stop`; raise `FednodeError` if it cannot go on.

    `tell_ready` is called once ports and control socket are open.
    """
    config.home.create()
    lock = HomeLock.acquire(config.home)
    try:
        store = open_store(config.home.chain, genesis)
        try:
            tells = [tell_ready]
            while trio.run(_serve, config, keys, genesis, store, tells):
                pass  # the chain has given this hospital another number, or taken it: begin anew as that
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            store.close()
    finally:
        lock.release()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error a group of tasks ended with: the first that is no mere consequence."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, trio.Cancelled):
            return error
    return group


def load_sign_state(
    home: Home, keys: Keys, genesis: Genesis, tip_height: int
) -> tuple[SignStateFile, SignRecord | None]:
    """Return the sign-state file and its record; None if this key signed on this chain and the record is lost.

    The first record is written when a key first joins a chain, and a mark beside the keys remembers that it was: a
    home whose var/ was deleted must not begin to sign anew.
    """
    file = SignStateFile(home.sign_state)
    mark = home.keystore.parent / f"joined-{genesis.chain_id.hex()[:16]}"
    record = file.load(tip_height)
    if record is None and not mark.exists():
        record = initial_record(genesis.chain_id, keys.public.sign)
        write_atomic(mark, b"This key has begun to sign on the chain named here; see sign-state in the README.\n")
        file.create(record)
    return file, record


def _load_signer(
    home: Home, keys: Keys, genesis: Genesis, member: MemberId, tip_height: int
) -> tuple[SignStateFile, VoteSigner]:
    """Return sign-state and signer; whoever is not on the ledger has neither votes nor a record of them."""
    if member == FOLLOWER:
        return SignStateFile(home.sign_state), VoteSigner(genesis.chain_id, None, None, None)
    file, record = load_sign_state(home, keys, genesis, tip_height)
    return file, VoteSigner(genesis.chain_id, member, keys.sign, record, file.silent_until)


def _make_core(
    config: HospitalConfig, keys: Keys, member: MemberId, chain: Chain, store: LevelDbStore,
    signer: VoteSigner, records: RoundStore,
) -> Core:
    chain_id = store.tip.chain_id
    certificate = store.get_certificate(store.tip.height) if store.tip.height else None
    replica = Replica(store.tip, certificate, chain, signer)

    def load_record(study: StudyId, number: int) -> RecordParts:
        found = {part: records.load(study, number, part.value) for part in RecordPart}
        return {part: data for part, data in found.items() if data is not None}

    def data_path(name: str, study: StudyId) -> str | None:
        path = config.data_path(name, study)
        return None if path is None else str(path)

    def open_box(box: bytes) -> bytes:
        return unseal(keys.seal_key, box)

    def derive(study: StudyId) -> CoinChain:
        return derive_chain(keys.seal_key, chain_id, study)

    site = Site(
        chain_id, member, keys.public.seal, SystemEntropy(), open_box, data_path, config.is_auto_approved,
        load_record, chain.holds_message, derive, lambda: core.catch_up.target is not None,
    )
    core = Core(Identity(chain_id, member, keys.sign), chain, replica, Studies(site))
    return core


async def _serve(
    config: HospitalConfig, keys: Keys, genesis: Genesis, store: LevelDbStore, tells: list[Callable[[], None]],
) -> bool:
    """Serve as whoever the chain says this hospital is; return True when it says something else from then on.

    `tells` are called, and taken out, once ports and control socket are open.
    """
    from fednode.p2p.libp2p_network import NetworkSettings, create_network, quiet_logging  # slow to import

    quiet_logging()
    home = config.home
    state = store.load_state()
    member = find_member(state, keys.public.sign) or FOLLOWER
    sign_state, signer = _load_signer(home, keys, genesis, member, store.tip.height)
    records = RoundStore(home.rounds, keys.storage_key)
    chain = Chain(genesis.chain_id, state, store.tip.height, Hash(store.tip.block_hash))
    core = _make_core(config, keys, member, chain, store, signer, records)
    own_peer = PeerId(keys.public.peer_id)
    journal = Journal(home.journal, member, now_ms) if config.log.journal else None
    memory_bytes = config.limits.worker_memory_mb << 20
    async with WorkerTrainer(home.journal.parent / WORKER_LOG, memory_bytes) as trainer:
        parts = Parts(store, sign_state, records, ModelStore(home.blobs), trainer, journal, own_peer, keys.public.sign)
        reactor = Reactor(core, parts)
        if sign_state.damage is not None:
            reactor.problems.append(sign_state.damage)
        settings = NetworkSettings(keys.network_seed, config.network.listen, PROTOCOL_VERSION, genesis.chain_id)
        network = create_network(settings, reactor.accept_blob)
        network.set_members(dial_map(core.chain.state, member, own_peer))
        node = Node(config.node.name, genesis, reactor, config, time.monotonic(), os.getpid())
        gc.collect()
        gc.freeze()  # what is loaded stays: collections then look at new objects only
        stopped = trio.Event()
        async with trio.open_nursery() as nursery:
            def stop() -> None:
                stopped.set()
                nursery.cancel_scope.cancel()

            nursery.start_soon(_stop_on_signal, stop)
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


async def _stop_on_signal(stop: Callable[[], None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            stop()


