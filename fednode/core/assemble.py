"""The composition of a node's core, in one place: the daemon and the simulators call it with ports of their own."""

from __future__ import annotations

from dataclasses import dataclass

from fednode.chain.block import Tip
from fednode.chain.consensus.recovery import VoteSigner
from fednode.chain.consensus.replica import Replica
from fednode.chain.state import State
from fednode.chain.vote import Certificate
from fednode.core.attendance import Identity
from fednode.core.core import Core
from fednode.core.studies import Site, Studies
from fednode.errors import UpgradeNeeded
from fednode.ids import Hash
from fednode.ledger.application import LedgerApplication
from fednode.ledger.versions import VERSIONS, Versions
from fednode.rounds.place import Ports


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Where the stored chain ends: its last block, the state after it, and what proves it (None before the first)."""

    tip: Tip
    state: State
    certificate: Certificate | None


def assemble(
    identity: Identity, end: ChainEnd, voter: VoteSigner, ports: Ports, versions: Versions = VERSIONS
) -> Core:
    """Return the core of a node that goes on from the end of its stored chain.

    Raises `UpgradeNeeded` if the next block is of a version of the protocol that is not in `versions`.
    """
    chain = LedgerApplication(identity.chain_id, end.state, end.tip.height, Hash(end.tip.block_hash), versions)
    if chain.unknown_version is not None:
        raise UpgradeNeeded(chain.unknown_version)
    site = Site(identity.chain_id, identity.member, ports, chain.holds_message, lambda: core.catch_up.lag)
    core = Core(identity, chain, Replica(end.tip, end.certificate, chain, voter), Studies(site))
    return core
