"""Jobs for the worker process and its answers: records both sides of the pipe share, free of torch.

Security assumption: the pipe is private to one daemon and its child. Still every record is bounded and
decoded strictly, because training code is the part of the node most likely to be broken or hostile.

A frame is a 4-byte big-endian length and the canonical encoding of `Job` (to the worker) or of an answer (back);
exactly one answer follows each job. What is as long as a model is in no frame: models are read from their files, an
update follows the frame of its answer as it is, so that it is read straight to where it is needed and never lies on a
disk. Vectors are little-endian: updates float32, claims uint32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fednode.codec import U32, U64, Bytes32, Range, Size, decode, encode, tagged
from fednode.learn.layout import Scaling
from fednode.learn.measures import Metrics
from fednode.learn.model_file import MAX_HEADER_BYTES, Buffer
from fednode.learn.study import StudySpec
from fednode.learn.tables.check import MAX_EXTRA_COLUMNS
from fednode.learn.tables.kind import MAX_COLUMNS
from fednode.learn.tables.site_map import PLAIN, SiteMap
from fednode.learn.tables.verdicts import ERROR, Verdict
from fednode.learn.units import MAX_CLASSES, MAX_PARAMETERS

LENGTH_BYTES = 4
MAX_WARNINGS = 64
MAX_FILE_VERDICTS = 16
"""Verdicts that belong to no column."""

MAX_PREDICTED_ROWS = 1 << 20
MAX_FRAME_BYTES = MAX_PREDICTED_ROWS * (4 * MAX_CLASSES + 1024) + MAX_HEADER_BYTES
"""The largest record: probabilities of all rows over all classes, with identifiers and notes."""

PathText = Annotated[str, Size(1, 4096)]
Sentence = Annotated[str, Size(0, 2400)]
ClaimBytes = Annotated[bytes, Size(0, 1 << 24)]
UPDATE_VALUE_BYTES = 4
OwnState = Annotated[bytes, Size(0, 1 << 28)]
"""What a hospital keeps between rounds for the study's algorithm; the one long thing that travels in frames."""


@dataclass(frozen=True, slots=True)
class ModelAt:
    """A model file and the hash of the model that must be in it."""

    path: PathText
    hash: Bytes32


@dataclass(frozen=True, slots=True)
class DataAt:
    """A data file, and how its hospital writes the study's columns."""

    path: PathText
    site: SiteMap = PLAIN


@tagged(1)
@dataclass(frozen=True, slots=True)
class CheckData:
    """Compare a data file with the study's schema.

    `shows_cells` puts cells into the verdicts: only commands ask for it, for the terminal of who called them.
    """

    spec: StudySpec
    data: DataAt
    shows_cells: bool = False


@tagged(2)
@dataclass(frozen=True, slots=True)
class ComputeStatistics:
    """Compute the claims of round 0 from a data file."""

    spec: StudySpec
    data: DataAt


@tagged(3)
@dataclass(frozen=True, slots=True)
class Train:
    """Train from `model` for the study's local epochs; batches are drawn from (study, round, member) alone.

    `member` is the MemberId. The answer also measures `model`, as it came, on the validation fifth.
    `own` is what this hospital kept of its last round that counted, b"" if nothing.
    """

    spec: StudySpec
    study: Bytes32
    round_number: U32
    member: U32
    scaling: Scaling
    model: ModelAt
    data: DataAt
    own: OwnState = field(repr=False, default=b"")


@tagged(4)
@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure `model` on the validation fifth of a data file."""

    spec: StudySpec
    scaling: Scaling
    model: ModelAt
    data: DataAt


@tagged(5)
@dataclass(frozen=True, slots=True)
class Predict:
    """Apply a model file to a data file; the label column may be absent. Only commands ask it: the answer has cells.

    `id_column` names a column of the file whose cells come back beside the rows, '' for none.
    """

    model: ModelAt
    data: DataAt
    id_column: Annotated[str, Size(0, 256)] = ""


Job = CheckData | ComputeStatistics | Train | Evaluate | Predict


@dataclass(frozen=True, slots=True)
class TableSeen:
    """The table a job has read, without a cell of it: a hash of its rows in any order, its labelled rows, those of each
    class, and the warnings of the check."""

    digest: Bytes32
    rows: U32
    class_rows: Annotated[tuple[U32, ...], Size(0, MAX_CLASSES)]
    warnings: Annotated[tuple[Sentence, ...], Size(0, MAX_WARNINGS)] = ()


@tagged(1)
@dataclass(frozen=True, slots=True)
class DataChecked:
    """Verdicts of the file and of each column; `rows` have a label, `train_rows` of them train.

    Both are 0, and nothing is seen, if any verdict is an error. `class_rows` are the labelled rows of each class.
    `fix` is a map with which more of the file can be read; it holds cells, and is there only if they are shown.
    """

    verdicts: Annotated[tuple[Verdict, ...], Size(1, MAX_COLUMNS + MAX_EXTRA_COLUMNS + MAX_FILE_VERDICTS)]
    rows: U32
    train_rows: U32
    class_rows: Annotated[tuple[U32, ...], Size(0, MAX_CLASSES)] = ()
    seen: TableSeen | None = None
    fix: SiteMap | None = None

    @property
    def complaint(self) -> str:
        """The first error, and how many more there are; '' if there is none. It holds no cell."""
        errors = [verdict for verdict in self.verdicts if verdict.status == ERROR]
        more = f" (and {len(errors) - 1} more, 'fednode data check' shows all)" if len(errors) > 1 else ""
        return f"{errors[0].sentence}{more}" if errors else ""

    @property
    def is_ok(self) -> bool:
        """Whether this data can train."""
        return not any(verdict.status == ERROR for verdict in self.verdicts)


@tagged(2)
@dataclass(frozen=True, slots=True)
class StatisticsComputed:
    """Claims of round 0, uint32 little-endian."""

    claims: ClaimBytes
    seen: TableSeen | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A local update: `delta` float32 (d,) with L2 norm at most the clip.

    `claims` measure the model the round started from. `norm_ppm` is the norm before clipping in 10^-6,
    for this hospital's own log. `own` is what it keeps if this round counts, None if the algorithm keeps nothing.
    """

    delta: Buffer = field(repr=False)
    train_rows: int
    claims: bytes = field(repr=False)
    norm_ppm: int
    milliseconds: int
    seen: TableSeen | None = None
    own: bytes | None = field(repr=False, default=None)


@tagged(7)
@dataclass(frozen=True, slots=True)
class TrainedHead:
    """The frame of a `Trained`; `delta_bytes` follow it."""

    delta_bytes: Annotated[int, Range(UPDATE_VALUE_BYTES, UPDATE_VALUE_BYTES * MAX_PARAMETERS)]
    train_rows: U32
    claims: ClaimBytes
    norm_ppm: U64
    milliseconds: U32
    seen: TableSeen | None = None
    own: OwnState | None = field(repr=False, default=None)

    def with_delta(self, delta: Buffer) -> Trained:
        """Return the whole answer."""
        return Trained(delta, self.train_rows, self.claims, self.norm_ppm, self.milliseconds, self.seen, self.own)


@tagged(4)
@dataclass(frozen=True, slots=True)
class Evaluated:
    """Metrics of a model on this hospital's rows, as figures and as claims."""

    metrics: Metrics
    claims: ClaimBytes
    seen: TableSeen | None = None


@tagged(5)
@dataclass(frozen=True, slots=True)
class Predicted:
    """One entry for every row of the file after its header, in order.

    `probabilities` are float32 little-endian (rows, classes), NaN where there is no prediction; `lines` uint32, the
    line of the file a row begins in; `labels` int8, -1 where the row has none; `ids` are none unless a column is named.
    """

    classes: U32
    probabilities: Annotated[bytes, Size(0, MAX_FRAME_BYTES)] = field(repr=False)
    lines: Annotated[bytes, Size(0, 4 * MAX_PREDICTED_ROWS)] = field(repr=False)
    labels: Annotated[bytes, Size(0, MAX_PREDICTED_ROWS)] = field(repr=False)
    ids: Annotated[tuple[str, ...], Size(0, MAX_PREDICTED_ROWS)] = field(repr=False)
    notes: Annotated[tuple[str, ...], Size(0, MAX_PREDICTED_ROWS)] = field(repr=False)
    remarks: Annotated[tuple[str, ...], Size(0, MAX_COLUMNS)] = field(repr=False)

    @property
    def rows(self) -> int:
        """How many rows the file has after its header."""
        return len(self.labels)


@tagged(6)
@dataclass(frozen=True, slots=True)
class Failed:
    """The job could not be done.

    `kind` is data (the file), numerical (NaN or infinity), memory or input (the job itself).
    """

    kind: Annotated[str, Size(1, 16)]
    text: Annotated[str, Size(1, 2000)]


Answer = DataChecked | StatisticsComputed | Trained | Evaluated | Predicted | Failed
Framed = DataChecked | StatisticsComputed | TrainedHead | Evaluated | Predicted | Failed
"""What is in the frame of an answer."""


def encode_job(job: Job) -> bytes:
    """Return a job as one frame."""
    return _frame(encode(job, Job))


def decode_job(record: bytes) -> Job:
    """Decode the record of a job frame."""
    return decode(Job, record, MAX_FRAME_BYTES)  # type: ignore[arg-type]  # a union is a form too


def encode_answer(answer: Answer) -> tuple[bytes, Buffer]:
    """Return an answer as one frame and what follows it."""
    if isinstance(answer, Trained):
        size = memoryview(answer.delta).nbytes
        head = TrainedHead(
            size, answer.train_rows, answer.claims, answer.norm_ppm, answer.milliseconds, answer.seen, answer.own
        )
        return _frame(encode(head, Framed)), answer.delta
    return _frame(encode(answer, Framed)), b""


def decode_answer(record: bytes) -> Framed:
    """Decode the record of an answer frame; raise `Rejected` if it is not one."""
    return decode(Framed, record, MAX_FRAME_BYTES)  # type: ignore[arg-type]  # as above


def _frame(record: bytes) -> bytes:
    return len(record).to_bytes(LENGTH_BYTES, "big") + record
