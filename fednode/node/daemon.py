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
from fednode.ids import PROTOCOL_VERSION, MemberId, PeerId, StudyId
from fednode.ledger.consensus.replica import Replica
from fednode.ledger.consensus.signing import SignRecord, VoteSigner, initial_record
from fednode.ledger.genesis import Genesis
from fednode.ledger.leveldb import LevelDbStore, open_store
from fednode.ledger.state import State, get_members
from fednode.node.blobs import ModelStore, RoundStore
from fednode.node.chain import Chain
from fednode.node.config import HospitalConfig
from fednode.node.control import serve_control
from fednode.node.core import Core, Identity
from fednode.node.files import Home, HomeLock, write_atomic
from fednode.node.handlers import make_handlers
from fednode.node.journal import Journal
from fednode.node.keystore import Keys, SystemEntropy
from fednode.node.reactor import Parts, Reactor, now_ms
from fednode.node.sign_state import SignStateFile
from fednode.node.status import Node
from fednode.node.studies import Site, Studies
from fednode.node.trainer import WorkerTrainer
from fednode.p2p.addresses import peer_id_of
from fednode.rounds.machine import RecordParts
from fednode.smpc.messages import RecordPart

WORKER_LOG = "worker.log"


def run_daemon(config: HospitalConfig, genesis: Genesis, keys: Keys, tell_ready: Callable[[], None]) -> None:
    """Run this hospital's daemon until SIGTERM, SIGINT or `fednode stop`; raise `FednodeError` if it cannot go on.

    `tell_ready` is called once ports and control socket are open.
    """
    member = genesis.member_of(keys.public.sign)
    config.home.create()
    lock = HomeLock.acquire(config.home)
    try:
        store = open_store(config.home.chain, genesis)
        try:
            trio.run(_serve, config, keys, genesis, member, store, tell_ready)
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


def peers_of(state: State, me: MemberId) -> dict[PeerId, tuple[str, ...]]:
    """Return peer id and addresses of every other member on the ledger."""
    return {
        peer_id_of(record.network_key): record.addresses for record in get_members(state) if record.member != me
    }


def _make_core(
    config: HospitalConfig, keys: Keys, genesis: Genesis, member: MemberId, store: LevelDbStore,
    signer: VoteSigner, records: RoundStore,
) -> Core:
    chain_id = genesis.chain_id
    chain = Chain(chain_id, store.load_state(), store.tip.height)
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

    site = Site(
        chain_id, member, keys.public.seal, SystemEntropy(), open_box, data_path, config.is_auto_approved,
        load_record, chain.holds_message,
    )
    return Core(Identity(chain_id, member, keys.sign), chain, replica, Studies(site))


async def _serve(
    config: HospitalConfig, keys: Keys, genesis: Genesis, member: MemberId, store: LevelDbStore,
    tell_ready: Callable[[], None],
) -> None:
    from fednode.p2p.libp2p_network import NetworkSettings, create_network, quiet_logging  # slow to import

    quiet_logging()
    home = config.home
    sign_state, record = load_sign_state(home, keys, genesis, store.tip.height)
    records = RoundStore(home.rounds, keys.storage_key)
    signer = VoteSigner(genesis.chain_id, member, keys.sign, record, sign_state.silent_until)
    core = _make_core(config, keys, genesis, member, store, signer, records)
    peer_of = {m.member: peer_id_of(m.network_key) for m in get_members(core.chain.state)}
    journal = Journal(home.journal, member, now_ms) if config.log.journal else None
    memory_bytes = config.limits.worker_memory_mb << 20
    async with WorkerTrainer(home.journal.parent / WORKER_LOG, memory_bytes) as trainer:
        parts = Parts(store, sign_state, records, ModelStore(home.blobs), trainer, journal, peer_of)
        reactor = Reactor(core, parts)
        if sign_state.damage is not None:
            reactor.problems.append(sign_state.damage)
        settings = NetworkSettings(keys.network_seed, config.network.listen, PROTOCOL_VERSION, genesis.chain_id)
        network = create_network(settings, reactor.accept_blob)
        network.set_members(peers_of(core.chain.state, member))
        node = Node(config.node.name, genesis, reactor, config, time.monotonic(), os.getpid())
        gc.collect()
        gc.freeze()  # what is loaded stays: collections then look at new objects only
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            await nursery.start(network.run)
            handlers = make_handlers(node, nursery.cancel_scope.cancel)
            await nursery.start(serve_control, home, handlers)
            tell_ready()
            await reactor.run(network)


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


