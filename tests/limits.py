"""Limits of time and memory for code that is broken on purpose: a variant that never ends must not take the machine.

Processor time is counted, not the clock: other work on the machine makes no variant late.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SHOTS_EVERY_S = 1.0
"""How often a variant that catches the end of its time is told again."""
FREE_WAIT_S = 1_800.0
"""How long a process may take by the clock, which also runs while others have the processor."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` of processor time, and `growth_bytes` of address space beyond what the process has at its start."""

    seconds: float
    growth_bytes: int


class TimeIsUp(BaseException):
    """A variant has used its time. No `Exception`, so that no fence of the package takes it for a peer's fault."""


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Run in this process, in its main thread: too long ends with `TimeIsUp`, too much with `MemoryError`."""

    def end(number: int, frame: object) -> None:
        raise TimeIsUp(_late(limits))

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, end)
    resource.setrlimit(resource.RLIMIT_AS, (_at_most(_address_space() + limits.growth_bytes, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, limits.seconds, SHOTS_EVERY_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def confine(limits: Limits) -> None:
    """Limit this process for good, and what it starts, each for itself; all of them are a group of their own."""
    os.setsid()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _at_most(_address_space() + limits.growth_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    seconds = math.ceil(limits.seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def await_end(child: int, wait_s: float = FREE_WAIT_S) -> int:
    """Wait for a confined child, then end what is left of its group; return its exit code, negative for a signal."""
    descriptor = os.pidfd_open(child)
    try:
        select.select([descriptor], [], [], wait_s)
    finally:
        os.close(descriptor)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def past_limit(code: int, output: str, limits: Limits) -> str | None:
    """Return which limit a confined process met, by how it ended and what it wrote; None if it met none."""
    if code and "MemoryError" in output:
        return f"more than {limits.growth_bytes >> 20} MiB of memory"
    return f"{_late(limits)}, or {FREE_WAIT_S:.0f} s by the clock" if code == -signal.SIGKILL else None


def _late(limits: Limits) -> str:
    return f"no end within {limits.seconds:.0f} s of processor time"


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _at_most(value: int, hard: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)
