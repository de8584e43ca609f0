"""What the reactor performs effects with, and how jobs on others' values end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fednode.chain.store import LedgerStore
from fednode.errors import Rejected
from fednode.fence import judge
from fednode.home.blobs import ModelStore
from fednode.home.journal import Journal
from fednode.home.own_states import OwnStateStore
from fednode.home.round_store import RoundStore
from fednode.home.sign_state import SignStateFile
from fednode.ids import PeerId, StudyId
from fednode.node.tables import WatchingTrainer

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the reactor performs effects with."""

    store: LedgerStore
    sign_state: SignStateFile
    records: RoundStore
    own_states: Callable[[StudyId], OwnStateStore]
    models: ModelStore
    trainer: WatchingTrainer
    journal: Journal | None
    own_peer: PeerId
    sign_key: bytes


def finish(name: str, job: Callable[[], Result]) -> Result | Rejected:
    """Return a job's result, in whichever thread; the `Rejected` it ended with if the values in it were of no use.

    What waits for such a result goes on without it when the ledger's time is over, as if this member had been away.
    """
    try:
        return judge(f"values for {name}", job)
    except Rejected as error:
        return error
