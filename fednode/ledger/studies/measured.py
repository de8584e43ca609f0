"""What the ledger says of a model's quality: fractions summed over hospitals, and what liars can have made of them.

Security assumption: every member's fractions were proven to be those of one voice (`proofs.measures`), so f liars move
a mean over V voices by at most f / V of its range, and a target that holds without them holds whatever they said.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.codec import U32, Range, Size
from fednode.sums.bounds import LOSS_BITS, MAX_ROW_LOSS, SHARE_BITS
from fednode.texts import is_plain

MAX_VOICES = 256
SHARE_UNIT = (1 << SHARE_BITS) - 1
LOSS_UNIT = (1 << LOSS_BITS) - 1

MAX_FIGURES = 16


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the study's own metrics of the last model: its name, its value in millionths, and over how many hospitals
    it was summed."""

    name: Annotated[str, Size(1, 64)]
    ppm: Annotated[int, Range(0, 1_000_000)]
    voices: Annotated[int, Range(1, MAX_VOICES)]

    def __post_init__(self) -> None:
        if not is_plain(self.name):
            raise ValueError("the name of a metric must be printable")


@dataclass(frozen=True, slots=True)
class Metrics:
    """What hospitals measured of a model on held-out rows, one voice each: fractions are summed, never rows.

    `voices` hospitals had such rows; `right` is the sum of their shares of rows classified right, in 1/SHARE_UNIT;
    `loss` that of the mean losses of `loss_voices`, in MAX_ROW_LOSS/LOSS_UNIT nats; `figures` are the study's own
    metrics. Voices differ only where somebody lies, or a hospital lacks a class.
    """

    voices: Annotated[int, Range(1, MAX_VOICES)]
    right: U32
    loss_voices: Annotated[int, Range(0, MAX_VOICES)]
    loss: U32
    figures: Annotated[tuple[Figure, ...], Size(0, MAX_FIGURES)] = ()

    def __post_init__(self) -> None:
        if self.right > self.voices * SHARE_UNIT or self.loss > self.loss_voices * LOSS_UNIT:
            raise ValueError("more is right, or lost, than the voices can say")
        if len({figure.name for figure in self.figures}) != len(self.figures):
            raise ValueError("a metric is given twice")

    @property
    def accuracy_permyriad(self) -> int:
        """Mean share of rows right in 1/10000, rounded down."""
        return 10_000 * self.right // (self.voices * SHARE_UNIT)

    @property
    def loss_ppm(self) -> int:
        """Mean loss in 10^-6 nats, rounded down; 0 without a voice."""
        return 1_000_000 * MAX_ROW_LOSS * self.loss // (max(self.loss_voices, 1) * LOSS_UNIT)

    def holds_without(self, liars: int, target_permyriad: int) -> bool:
        """Whether the mean share of rows right is at least the target whichever `liars` voices are left out, each of
        them having said that all is right."""
        left = self.voices - liars
        return left > 0 and 10_000 * (self.right - liars * SHARE_UNIT) >= target_permyriad * left * SHARE_UNIT


class TrainingEnd(IntEnum):
    """Why no further round trains."""

    NOT_YET = 0
    ROUNDS = 1
    TARGET = 2
    WISHES = 3

    @property
    def reason(self) -> str:
        """For people."""
        return {
            TrainingEnd.ROUNDS: "all rounds done",
            TrainingEnd.TARGET: "the target accuracy is reached, whatever f members claim",
            TrainingEnd.WISHES: "enough members find by their own held-out rows that training is done",
        }.get(self, "")
