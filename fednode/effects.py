"""What machines ask of the node they run in, and what comes of it: one vocabulary for all of them.

Security assumption: effects are performed in order, each one finished before the next begins, and `Persist` is durable
when it is done. A vote or a message that leaves before its record is on the disk can be contradicted after a crash.
Secrets and long vectors are left out of `repr`, so no journal prints them.

A machine does not know where it runs. Whoever runs it puts `Asked` around what has to find its way back: the address of
the machine, to which `TimerFired` and `ComputeDone` are delivered. What only one machine asks for is defined beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from fednode.ids import MemberId

Address = TypeVar("Address", covariant=True)
Effect = TypeVar("Effect", covariant=True)
Key = TypeVar("Key", covariant=True)
Message = TypeVar("Message", covariant=True)
Record = TypeVar("Record", covariant=True)
Result = TypeVar("Result", covariant=True)

SHORT_VECTOR_BYTES = 1 << 18
"""Jobs on vectors up to this size take about a millisecond, not worth a thread's round trip."""


class Job(Protocol[Result]):
    """A computation as a value: `run` is deterministic, keeps nothing and may be called in a thread."""

    @property
    def is_short(self) -> bool:
        """Whether it is done at once, in about a millisecond at most, or in another thread."""

    def run(self) -> Result:
        """Do the work."""


# --- what a machine asks for ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist(Generic[Record]):
    """Replace a record of this machine, durably, and encrypted if it is a secret."""

    record: Record


@dataclass(frozen=True, slots=True)
class Send(Generic[Message]):
    """Send to one member."""

    peer: MemberId
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast(Generic[Message]):
    """Send to every other member: encode once."""

    message: Message


@dataclass(frozen=True, slots=True)
class StartTimer(Generic[Key]):
    """Deliver `TimerFired(key)` once after `delay_ms`; replaces the running timer of an equal key, if any."""

    key: Key
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Compute(Generic[Result]):
    """Run `job`, in a thread if that helps, and deliver `ComputeDone` with this number."""

    number: int
    job: Job[Result] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DropPeer:
    """Cut a member off for a while: it sent what no honest member sends."""

    peer: MemberId
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the journal and the status, without secrets."""

    text: str
    is_problem: bool = False


@dataclass(frozen=True, slots=True)
class Asked(Generic[Address, Effect]):
    """An effect with the address of the machine that asked: what comes of it is delivered there."""

    by: Address
    effect: Effect


# --- what comes of it -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimerFired(Generic[Key]):
    """A timer asked for by `StartTimer` has run out."""

    key: Key


@dataclass(frozen=True, slots=True)
class ComputeDone(Generic[Result]):
    """The job with this number is done."""

    number: int
    result: Result = field(repr=False)
