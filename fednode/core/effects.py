"""What the node's machine asks of the outside. Performed in order; each one finished before the next begins.

Security assumption: `SaveSignState`, `SaveRecord`, `StoreBlock` and `SaveModel` are durable when they return: what
follows them in a list, a vote or a message, could otherwise be contradicted after a crash. Secrets and vectors are
left out of `repr`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from fednode.chain.block import Block, Tip
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus.signing import SignRecord
from fednode.chain.receipts import Receipt
from fednode.chain.vote import Certificate
from fednode.core import wire
from fednode.crypto import Secret
from fednode.ids import Hash, MemberId, StudyId
from fednode.learn import jobs as work
from fednode.learn.model_file import Draft
from fednode.ledger.application import ExecutedBlock
from fednode.ledger.refusals import Refusal
from fednode.rounds import jobs as round_jobs
from fednode.smpc import jobs as sum_jobs
from fednode.smpc import messages as sm


@dataclass(frozen=True, slots=True)
class SaveSignState:
    """Replace the sign-state record, durably."""

    record: SignRecord


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
class SaveRecord:
    """Replace one part of a round's record, encrypted, durably."""

    study: StudyId
    round: int
    part: str
    data: Secret[bytes]


@dataclass(frozen=True, slots=True)
class ForgetRecords:
    """Delete the records of a study's rounds up to and including `round`."""

    study: StudyId
    round: int


@dataclass(frozen=True, slots=True)
class SaveModel:
    """Keep a finished model file under its hash, durably."""

    hash: Hash
    draft: Draft = field(repr=False)


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
class StartTimer:
    """Report `key` after `delay_ms`; a running timer of the same key is replaced."""

    key: Hashable
    delay_ms: int


@dataclass(frozen=True, slots=True)
class StartWork:
    """Give a job to the worker process."""

    study: StudyId
    number: int
    job: work.Job = field(repr=False)


@dataclass(frozen=True, slots=True)
class ComputeSum:
    """Run a job of a secure sum off the loop."""

    study: StudyId
    round: int
    number: int
    job: sum_jobs.Job = field(repr=False)


@dataclass(frozen=True, slots=True)
class ComputeRound:
    """Run a job of a round off the loop."""

    study: StudyId
    number: int
    job: round_jobs.Job = field(repr=False)


@dataclass(frozen=True, slots=True)
class DropPeer:
    """Cut a member off for a while: it sent what no honest member sends."""

    member: MemberId
    reason: str


@dataclass(frozen=True, slots=True)
class Log:
    """Write one line to the journal. `fields` hold no secrets."""

    kind: str
    fields: tuple[tuple[str, bool | int | str | bytes | None], ...] = ()


Effect = (
    SaveSignState | StoreBlock | Halt | SaveRecord | ForgetRecords | SaveModel | KeepModel | LoadModel | SendFrame
    | SendToAll | SendBlob | ServeBlocks | ServeModel | Announce | StartTimer | StartWork | ComputeSum | ComputeRound
    | DropPeer | Log
)


def log(kind: str, **fields: bool | int | str | bytes | None) -> Log:
    """Return a journal line."""
    return Log(kind, tuple(fields.items()))


def for_consensus(
    effect: ask.Persist | ask.Broadcast | ask.Send | ask.ReportPeer | ask.FoundEvidence | ask.StoppedSigning,
) -> Effect:
    """Return what the outside must do for an effect of consensus that concerns nobody else."""
    match effect:
        case ask.Persist(record):
            return SaveSignState(record)
        case ask.Broadcast(message):
            return SendToAll(wire.encode_consensus(message))
        case ask.Send(peer, message):
            return SendFrame(peer, wire.encode_consensus(message))
        case ask.ReportPeer(peer, reason):
            return DropPeer(peer, reason)
        case ask.FoundEvidence(member, height):
            return log("evidence", member=member, height=height)
        case ask.StoppedSigning(reason):
            return log("stopped-signing", reason=reason)
        case _:
            assert_never(effect)


def for_sum(
    study: StudyId, round_: int,
    effect: sm.Persist | sm.SendChunk | sm.WantChunk | sm.StartTimer | sm.Compute,
) -> Effect:
    """Return what the outside must do for an effect of a study's secure sum."""
    match effect:
        case sm.Persist(part, data):
            return SaveRecord(study, round_, part.value, data)
        case sm.SendChunk(to, ref, proof, chunk):
            return SendBlob(to, wire.encode_header(wire.ChunkHeader(study, round_, ref, proof)), chunk)
        case sm.WantChunk(to, ref):
            return SendFrame(to, wire.encode_want(wire.WantChunk(study, round_, ref)))
        case sm.StartTimer(name, delay_ms):
            return StartTimer(("sum", study, round_, name), delay_ms)
        case sm.Compute(number, job):
            return ComputeSum(study, round_, number, job)
        case _:
            assert_never(effect)


def tell_receipts(me: MemberId, senders: Sequence[MemberId], receipts: Sequence[Receipt]) -> list[Effect]:
    """Log what became of a block's transactions where people should know: own ones refused, and faults of the rules."""
    effects: list[Effect] = []
    for sender, receipt in zip(senders, receipts, strict=True):
        if receipt.reason == Refusal.UNFORESEEN:
            text = f"a transaction of member {sender} broke the rules of this program and was refused; please report it"
            effects.append(log("problem", text=text, id=receipt.txid))
        elif sender == me and not receipt.ok:
            effects.append(log("own-transaction-refused", reason=receipt.reason, id=receipt.txid))
    return effects
