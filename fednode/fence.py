"""The fence around whatever others' values may break.

Security assumption: a fault of this program that a peer's bytes bring out must not be a weapon against everybody who
reads them. Two kinds of code touch such bytes, and the type of the error tells which was at fault:

    judge     decoders, rules, jobs, readers of files: they return a value or raise, and keep nothing in between.
              Whatever they raise that is no error of this project is `Unforeseen`, a `Rejected`: the value is of no
              use, and its sender loses at most its connection.
    take      machines: they keep what they know. One that broke half way is not believed any more: `Stumbled` begins
              the node anew from what is on its disk, as after a crash, without whoever sent what broke it.

What is raised outside of both is a bug of this program alone and ends the process: safety before liveness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from fednode.errors import FednodeError, Rejected

T = TypeVar("T")

class Unforeseen(Rejected):
    """A value of somebody else that this program has no answer to, though it should: refused, and told to people."""


class Stumbled(Exception):
    """A machine broke on what `sender` sent; the text says where."""

    def __init__(self, sender: int, text: str) -> None:
        super().__init__(text)
        self.sender = sender


def judge(what: str, ask: Callable[[], T]) -> T:
    """Return what `ask` returns, a function that keeps nothing; `what` it looks at is named in the error.

    Raises `Rejected`, errors of the environment as they are, and `Unforeseen` for everything else.
    """
    with foreign(what):
        return ask()


@contextmanager
def foreign(what: str, *passes: type[Exception]) -> Iterator[None]:
    """The same for a block, in tasks too: cancelling passes through, and so do errors of the kinds in `passes`."""
    try:
        yield
    except Exception as error:  # the fence: here what nobody foresaw turns into a verdict
        if isinstance(error, (Rejected, FednodeError, OSError, *passes)):
            raise
        raise Unforeseen(f"{what} that this program cannot handle ({place_of(error)}); please report it") from error


def rule(ask: Callable[[], T]) -> T:
    """Return what a rule of the ledger returns; raise `Rejected`, or `Unforeseen` where it breaks.

    All members must come to the same verdict. What depends on the machine, memory and the depth of the stack, therefore
    still ends the process; rules get no value large or deep enough for either.
    """
    try:
        return ask()
    except (Rejected, FednodeError, OSError, MemoryError, RecursionError):
        raise
    except Exception as error:
        raise Unforeseen("unforeseen") from error


def take(sender: int, what: str, ask: Callable[[], T]) -> T:
    """Return what a machine makes of a message; raise `Rejected`, or `Stumbled` if the machine broke."""
    try:
        return ask()
    except (Rejected, FednodeError, OSError):  # what a person can act on, what the system says about disks and sockets
        raise
    except Exception as error:
        raise Stumbled(sender, f"{what} of member {sender} broke this program ({place_of(error)})") from error


def place_of(error: BaseException) -> str:
    """Return the kind of an error and where in this program it arose; nothing of the value is in it."""
    trace: TracebackType | None = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "fednode" in code.co_filename and code.co_filename != __file__:
            place = f" at {code.co_filename.rpartition('fednode/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"
