"""What is under way at one member for the round the ledger is in."""

from __future__ import annotations

from dataclasses import dataclass, field

from fednode.ids import NO_HASH
from fednode.ledger.studies.bodies import Result
from fednode.ledger.sums.records import RoundKind
from fednode.smpc import messages as sm
from fednode.smpc.session import Session


@dataclass(slots=True)
class Current:
    """What is under way for the round the ledger is in. `input_number` is the work or job that makes the vector,
    `own_number` the job that reads what this hospital keeps of its own, `own` what it has read."""

    number: int
    kind: RoundKind
    params: sm.SumParams | None
    session: Session | None
    start_model: bytes = NO_HASH
    input_number: int | None = None
    own_number: int | None = None
    own: bytes | None = field(default=None, repr=False)
    train_rows: int = 0
    opened: sm.SumOpened | None = None
    concluding: int | None = None
    result: Result | None = None
    seen_phase: int = -1
