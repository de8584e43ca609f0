"""What the node's machine asks of the outside. Performed in order; each one finished before the next begins.

Security assumption: `Persist`, `StoreBlock` and `StoreModel` are durable when they are done: what follows them in a
list, a vote or a message, could otherwise be contradicted after a crash. Secrets and vectors are left out of `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fednode.chain.block import Block, Tip
from fednode.chain.consensus.events import ViewTimer
from fednode.chain.consensus.recovery import SignRecord
from fednode.chain.sync import SyncTimer
from fednode.chain.vote import Certificate
from fednode.effects import Asked, Compute, ComputeDone, DropPeer, Persist, StartTimer, TimerFired
from fednode.ids import Hash, MemberId
from fednode.ledger.application import ExecutedBlock
from fednode.rounds.events import ForgetRound, OfStudy, OfSum, PhaseTimer, StartWork, StoreModel, WorkDone
from fednode.smpc.messages import KeptPart, SumTimer


class Own(Enum):
    """Addresses of the machines of which a node has one."""

    CONSENSUS = "consensus"
    SYNC = "sync"
    CORE = "core"


class CoreTimer(Enum):
    """Timers of the core's own."""

    PRESENCE = "presence"
    GATHER = "gather"
    RESEND = "resend"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class ModelTimer:
    """Asks the next member for a model."""

    hash: Hash


Address = Own | OfStudy | OfSum


@dataclass(frozen=True, slots=True)
class StoreBlock:
    """Write a final block, its proof, its outcome and the new tip in one durable batch."""

    block: Block
    certificate: Certificate
    tip: Tip
    outcome: ExecutedBlock


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop for good: the next block needs another program. Nothing that follows in the list is done."""

    reason: str


@dataclass(frozen=True, slots=True)
class KeepModel:
    """Keep what `sender` sent if it is the model of this hash, and report `ModelArrived`, with None if it is not."""

    sender: MemberId
    hash: Hash
    data: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Look for a model in the local store and report `ModelFound`, with None if it is not there."""

    hash: Hash


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send a frame to one member; `everywhere`: on each connection to it, should its key have several machines."""

    to: MemberId
    data: bytes = field(repr=False)
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class SendToAll:
    """Send a frame to every connected member."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendBlob:
    """Send a vector or model to one member, unless the same is still on its way there."""

    to: MemberId
    header: bytes
    data: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServeBlocks:
    """Read blocks from the store and send them to a member that is behind."""

    to: MemberId
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ServeModel:
    """Read a model file from the store and send it to a member, if it is there."""

    to: MemberId
    hash: Hash


@dataclass(frozen=True, slots=True)
class Announce:
    """Gossip where this node's chain ends."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Log:
    """Write one line to the journal. `fields` hold no secrets."""

    kind: str
    fields: tuple[tuple[str, bool | int | str | bytes | None], ...] = ()


TimerKey = ViewTimer | SyncTimer | CoreTimer | ModelTimer | PhaseTimer | SumTimer
HandedOn = (
    Persist[SignRecord] | Persist[KeptPart] | StartTimer[TimerKey] | Compute[object] | StartWork | StoreModel
    | ForgetRound
)
"""What machines ask for and the core hands on as it is. The address tells whose record, timer or job it is."""

Answer = TimerFired[TimerKey] | ComputeDone[Any] | WorkDone
"""What comes of it. Which result belongs to which job only the machine knows that asked: by its number."""

Effect = (
    Asked[Address, HandedOn] | StoreBlock | Halt | KeepModel | LoadModel | SendFrame | SendToAll
    | SendBlob | ServeBlocks | ServeModel | Announce | DropPeer | Log
)


def name_of(effect: Effect) -> str:
    """Return an effect's name for the journal: that of what was asked for, and of a record that is to be kept."""
    asked = effect.effect if isinstance(effect, Asked) else effect
    name = type(asked).__name__
    return f"{name}[{type(asked.record).__name__}]" if isinstance(asked, Persist) else name


def log(kind: str, **fields: bool | int | str | bytes | None) -> Log:
    """Return a journal line."""
    return Log(kind, tuple(fields.items()))
