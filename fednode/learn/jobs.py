"""Jobs for the worker process and its answers: records both sides of the pipe share, free of torch.

Security assumption: the pipe is private to one daemon and its child. Still every record is bounded and
decoded strictly, because training code is the part of the node most likely to be broken or hostile.

A frame is a 4-byte big-endian length and the canonical encoding of `Job` (to the worker) or `Answer` (back);
exactly one answer follows each job. Vectors are little-endian: models int64, updates float32, lanes uint32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fednode.codec import U32, U64, Bytes32, Size, decode, encode, tagged
from fednode.learn.lanes import Metrics
from fednode.learn.model_file import MAX_HEADER_BYTES
from fednode.learn.schema import MAX_EXTRA_COLUMNS, Scaling, Verdict
from fednode.learn.spec import MAX_COLUMNS, MAX_PARAMETERS, StudySpec

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 8 * MAX_PARAMETERS + 4 * MAX_HEADER_BYTES
"""The largest record: a model of MAX_PARAMETERS int64 values with its study and scaling."""

MAX_PREDICTED_ROWS = 1 << 20

PathText = Annotated[str, Size(1, 4096)]
ModelBytes = Annotated[bytes, Size(8, 8 * MAX_PARAMETERS)]
LaneBytes = Annotated[bytes, Size(0, 1 << 24)]


@tagged(1)
@dataclass(frozen=True, slots=True)
class CheckData:
    """Compare a data file with the study's schema."""

    spec: StudySpec
    path: PathText


@tagged(2)
@dataclass(frozen=True, slots=True)
class ComputeStatistics:
    """Compute the lanes of round 0 from a data file."""

    spec: StudySpec
    path: PathText


@tagged(3)
@dataclass(frozen=True, slots=True)
class Train:
    """Train from `model` for the study's local epochs; batches are drawn from (study, round, member) alone.

    `member` is the MemberId. The answer also measures `model`, as it came, on the validation fifth.
    """

    spec: StudySpec
    study: Bytes32
    round_number: U32
    member: U32
    scaling: Scaling
    model: ModelBytes
    path: PathText


@tagged(4)
@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure `model` on the validation fifth of a data file, or on all its rows."""

    spec: StudySpec
    scaling: Scaling
    model: ModelBytes
    path: PathText
    all_rows: bool


@tagged(5)
@dataclass(frozen=True, slots=True)
class Predict:
    """Apply a model file to a data file; the label column may be absent."""

    model_file: Annotated[bytes, Size(8, MAX_FRAME_BYTES)]
    path: PathText


Job = CheckData | ComputeStatistics | Train | Evaluate | Predict


@tagged(1)
@dataclass(frozen=True, slots=True)
class DataChecked:
    """Verdict per column; `rows` have a label, `train_rows` of them train. Both 0 if any verdict is an error."""

    verdicts: Annotated[tuple[Verdict, ...], Size(1, MAX_COLUMNS + MAX_EXTRA_COLUMNS)]
    rows: U32
    train_rows: U32

    @property
    def is_ok(self) -> bool:
        """Whether this data can train."""
        return not any(verdict.status == "error" for verdict in self.verdicts)


@tagged(2)
@dataclass(frozen=True, slots=True)
class StatisticsComputed:
    """Round-0 lanes, uint32 little-endian."""

    lanes: LaneBytes


@tagged(3)
@dataclass(frozen=True, slots=True)
class Trained:
    """A local update: `delta` float32 (d,) with L2 norm at most the clip.

    `metric_lanes` measure the model the round started from. `norm_ppm` is the norm before clipping in 10^-6,
    for this hospital's own log.
    """

    delta: Annotated[bytes, Size(4, 4 * MAX_PARAMETERS)]
    train_rows: U32
    metric_lanes: LaneBytes
    norm_ppm: U64
    milliseconds: U32


@tagged(4)
@dataclass(frozen=True, slots=True)
class Evaluated:
    """Metrics of a model on this hospital's rows, as figures and as lanes."""

    metrics: Metrics
    lanes: LaneBytes


@tagged(5)
@dataclass(frozen=True, slots=True)
class Predicted:
    """Class probabilities, float32 little-endian (rows, classes), rows in file order."""

    rows: U32
    classes: U32
    probabilities: Annotated[bytes, Size(0, MAX_FRAME_BYTES)]


@tagged(6)
@dataclass(frozen=True, slots=True)
class Failed:
    """The job could not be done.

    `kind` is data (the file), numerical (NaN or infinity), memory or input (the job itself).
    """

    kind: Annotated[str, Size(1, 16)]
    text: Annotated[str, Size(1, 2000)]


Answer = DataChecked | StatisticsComputed | Trained | Evaluated | Predicted | Failed


def encode_job(job: Job) -> bytes:
    """Return a job as one frame."""
    return _frame(encode(job, Job))


def decode_job(record: bytes) -> Job:
    """Decode the record of a job frame."""
    return decode(Job, record, MAX_FRAME_BYTES)  # type: ignore[arg-type]


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as one frame."""
    return _frame(encode(answer, Answer))


def decode_answer(record: bytes) -> Answer:
    """Decode the record of an answer frame; raise `Rejected` if it is not one."""
    return decode(Answer, record, MAX_FRAME_BYTES)  # type: ignore[arg-type]


def _frame(record: bytes) -> bytes:
    return len(record).to_bytes(LENGTH_BYTES, "big") + record
