"""Faults as plain values, one readable line each: a seed draws them, a scenario file lists them, a failure is cut down.

    at 3120 crash 2 after 5              the machine with index 2 dies before its 5th effect from then on
    at 4000 crash all after 1 0 3 2      everybody, each after so many effects
    at 6120 split 0 1 1 0 for 3100       machines with the same number still reach each other, for so many ms
    at 7000 storm lose 0.3 repeat 0.05 slow 300 for 2000
    at 9000 deafen 0.4 draw 8131 for 7000   this share of (sender, receiver, kind of vote) does not get through
    at 9500 doubt 0.3 draw 77 for 5000   lines flap: each machine takes so many of the others for gone, ever others
    at 12 lines 2 to 0 3 flap 700 for 5000   the lines of machine 2 to 0 and 3 are cut, or come and go

Times are milliseconds of virtual time. In runs of whole nodes a fault waits for a height first: 'height 12 at 40 ...'.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LOSSES = ((0.3, 0.0), (0.05, 0.5), (0.6, 0.1), (0.0, 0.2))
LOSSES_WHOLE = ((0.3, 0.0), (0.05, 0.5), (0.1, 0.1), (0.0, 0.2))


@dataclass(frozen=True)
class Crash:
    """Kill one machine after so many effects."""

    index: int
    effects: int

    def __str__(self) -> str:
        return f"crash {self.index} after {self.effects}"


@dataclass(frozen=True)
class CrashAll:
    """Kill everybody, each after so many effects."""

    effects: tuple[int, ...]

    def __str__(self) -> str:
        return f"crash all after {' '.join(map(str, self.effects))}"


@dataclass(frozen=True)
class Split:
    """Cut the network between machines with different numbers."""

    sides: tuple[int, ...]
    for_ms: int

    def __str__(self) -> str:
        return f"split {' '.join(map(str, self.sides))} for {self.for_ms}"


@dataclass(frozen=True)
class Storm:
    """Lose, repeat and delay messages."""

    loss: float
    repeat: float
    slow_ms: int
    for_ms: int

    def __str__(self) -> str:
        return f"storm lose {self.loss} repeat {self.repeat} slow {self.slow_ms} for {self.for_ms}"


@dataclass(frozen=True)
class Deafen:
    """Keep this share of votes, by sender, receiver and kind, from getting through; `draw` chooses which."""

    share: float
    draw: int
    for_ms: int

    def __str__(self) -> str:
        return f"deafen {self.share} draw {self.draw} for {self.for_ms}"


@dataclass(frozen=True)
class Doubt:
    """Let every machine take this share of the others for gone, some others twice a second, though all are there."""

    share: float
    draw: int
    for_ms: int

    def __str__(self) -> str:
        return f"doubt {self.share} draw {self.draw} for {self.for_ms}"


@dataclass(frozen=True)
class Lines:
    """Cut the lines of one machine to some others; with `flap_ms` they come back and go again, each so long."""

    index: int
    others: tuple[int, ...]
    flap_ms: int
    for_ms: int

    def __str__(self) -> str:
        return f"lines {self.index} to {' '.join(map(str, self.others))} flap {self.flap_ms} for {self.for_ms}"


Fault = Crash | CrashAll | Split | Storm | Deafen | Doubt | Lines


@dataclass(frozen=True)
class Timed:
    """A fault and when it strikes: so many ms after the start, or after `height` was first decided."""

    at_ms: int
    fault: Fault
    height: int | None = None

    def __str__(self) -> str:
        return ("" if self.height is None else f"height {self.height} ") + f"at {self.at_ms} {self.fault}"


def draw_fault(draw: random.Random, machines: int) -> Fault:
    """Return a fault of a run of consensus alone."""
    match draw.randrange(7):
        case 0 | 1:
            return Crash(draw.randrange(machines), draw.randrange(8))
        case 2:
            sides = tuple(draw.randrange(draw.choice((2, 3))) for _ in range(machines))
            return Split(sides, draw.randrange(500, 8_000))
        case 3:
            return Storm(*draw.choice(LOSSES), draw.choice((20, 300, 2_000)), draw.randrange(500, 8_000))
        case 4:
            return CrashAll(tuple(draw.randrange(4) for _ in range(machines)))
        case 5:
            return Doubt(draw.choice((0.2, 0.5, 1.0)), draw.randrange(10_000), draw.randrange(500, 12_000))
        case _:
            return Deafen(draw.choice((0.2, 0.4, 0.6)), draw.randrange(10_000), draw.randrange(500, 12_000))


def draw_whole_fault(draw: random.Random, machines: int) -> Fault:
    """Return a fault of a run of whole nodes, which do much more between two votes."""
    match draw.randrange(8):
        case 0 | 1 | 2:
            return Crash(draw.randrange(machines), draw.randrange(30))
        case 3:
            return Split(tuple(draw.randrange(2) for _ in range(machines)), draw.randrange(500, 8_000))
        case 4:
            return Storm(*draw.choice(LOSSES_WHOLE), draw.choice((10, 100, 800)), draw.randrange(500, 6_000))
        case 5 | 6:
            index, *others = draw.sample(range(machines), draw.randrange(2, machines + 1))
            return Lines(index, tuple(sorted(others)), draw.choice((0, 300, 700, 1_500)), draw.randrange(1_000, 9_000))
        case _:
            return CrashAll(tuple(draw.randrange(30) for _ in range(machines)))


# --- text --------------------------------------------------------------------------------------------------------

def parse_timed(words: list[str]) -> Timed:
    """Read one line, split into words; raise `ValueError` if it is none."""
    height = None
    if words[0] == "height":
        height, words = int(words[1]), words[2:]
    if words[0] != "at":
        raise ValueError(f"a fault begins with its time, not with '{words[0]}'")
    return Timed(int(words[1]), _parse(words[2], words[3:]), height)


def _parse(kind: str, args: list[str]) -> Fault:
    match kind, args:
        case "crash", ["all", "after", *effects]:
            return CrashAll(tuple(map(int, effects)))
        case "crash", [index, "after", effects]:
            return Crash(int(index), int(effects))
        case "split", [*sides, "for", time]:
            return Split(tuple(map(int, sides)), int(time))
        case "storm", ["lose", loss, "repeat", repeat, "slow", slow, "for", time]:
            return Storm(float(loss), float(repeat), int(slow), int(time))
        case "deafen", [share, "draw", draw, "for", time]:
            return Deafen(float(share), int(draw), int(time))
        case "lines", [index, "to", *others, "flap", flap, "for", time]:
            return Lines(int(index), tuple(map(int, others)), int(flap), int(time))
        case "doubt", [share, "draw", draw, "for", time]:
            return Doubt(float(share), int(draw), int(time))
        case _:
            raise ValueError(f"no such fault: {kind} {' '.join(args)}")


# --- cutting down --------------------------------------------------------------------------------------------------

def cut_down(faults: tuple[Timed, ...], still_fails: Callable[[tuple[Timed, ...]], bool]) -> tuple[Timed, ...]:
    """Return a part of `faults` that still fails and of which none can be left out."""
    kept = faults
    for fault in faults:
        without = tuple(other for other in kept if other is not fault)
        if still_fails(without):
            kept = without
    return kept
