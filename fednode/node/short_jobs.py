"""Which computations are done at once, on the loop, and which in another thread."""

from __future__ import annotations

from typing import assert_never

from fednode.learn.layout import Layout
from fednode.learn.model_file import VALUE_BYTES
from fednode.ledger.records import RoundKind
from fednode.rounds import jobs as round_jobs
from fednode.rounds.own_state import LoadOwn
from fednode.smpc import jobs as sum_jobs
from fednode.smpc.proof_jobs import AnswerProofs, ProveUpdate
from fednode.smpc.recheck_jobs import AddParts, NameFindings

SHORT_VECTOR_BYTES = 1 << 18
"""Jobs on vectors up to this size take about a millisecond, not worth a thread's round trip."""


def is_short_sum(job: sum_jobs.Job) -> bool:
    """Whether a job of a secure sum is short."""
    match job:
        case sum_jobs.HashChunk(data):
            return len(data) <= 4 * SHORT_VECTOR_BYTES
        case sum_jobs.CheckShares(_, dealt):
            return len(dealt) <= 8
        case sum_jobs.MaskInput():
            return not callable(job.values) and job.values.nbytes * len(job.points) <= SHORT_VECTOR_BYTES
        case sum_jobs.SumChunks(chunks):
            return sum(len(part) for _, parts in chunks for part in parts) <= SHORT_VECTOR_BYTES
        case sum_jobs.Unmask():
            return sum(map(len, job.chunks)) * len(job.points) <= SHORT_VECTOR_BYTES
        case ProveUpdate() | AnswerProofs() | AddParts() | NameFindings():
            return False
        case _:
            assert_never(job)


def is_short_round(job: round_jobs.Job) -> bool:
    """Whether a job of a round is short."""
    match job:
        case round_jobs.MakeInput():
            return job.own is None and memoryview(job.delta or b"").nbytes <= SHORT_VECTOR_BYTES
        case round_jobs.Conclude():
            return job.kind is RoundKind.CLOSING or VALUE_BYTES * Layout.of(job.spec).size <= SHORT_VECTOR_BYTES
        case round_jobs.DeriveChain() | LoadOwn():
            return False
        case _:
            assert_never(job)
