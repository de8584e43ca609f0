"""Asking the running daemon: frames of the control socket, and the synchronous side that the command line uses.

Security assumption: the socket lies in a folder only this account may enter, and the daemon asks the kernel who calls.

A frame is a 4-byte big-endian length and JSON in UTF-8. One request per connection:

    {"format": 1, "call": name, "args": {...}}
    {"more": value} ... {"result": value}           or           {"error": sentence, "exit_code": number}

Loads neither trio nor anything else heavy: `fednode status` should answer at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from fednode.documents import Json, Unreadable, read_json
from fednode.errors import FednodeError, Rejected, StorageError, Unavailable
from fednode.home.files import Home, daemon_pid
from fednode.json_form import from_json

FORMAT = 1
LENGTH_BYTES = 4
MAX_FRAME_BYTES = 32 * 1024 * 1024
"""A listing of 64 full blocks is the largest answer."""

FINAL_TIMEOUT_S = 30.0
"""How long the daemon waits for the block with a command's transaction; it stays on its way after that."""

ANSWER_TIMEOUT_S = FINAL_TIMEOUT_S + 10.0
"""How long a command waits for the daemon: longer, or it could miss what the daemon says of its transaction."""


ODD_ANSWER = "the daemon answered with something unexpected; use one version of fednode for both"

T = TypeVar("T")


class NotRunning(Unavailable):
    """No daemon runs on this home."""


def pack_frame(message: Mapping[str, Json]) -> bytes:
    """Return one frame."""
    # Half a surrogate pair, which a caller's JSON may bring in, is written as the escape it came as.
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")
    if len(body) > MAX_FRAME_BYTES:
        raise Unavailable(f"the answer has {len(body)} bytes, more than {MAX_FRAME_BYTES}; ask for a smaller range")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def unpack_body(body: bytes) -> Mapping[str, Json]:
    """Return the message of a frame; raise `Unavailable` if it is none."""
    try:
        message = read_json(body)
    except Unreadable:
        message = None
    if not isinstance(message, dict):
        raise Unavailable("the other side of the control socket speaks another language; use one version of fednode")
    return message


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield a name for `path` that fits the 108 bytes of a Unix socket address, however deep the home lies."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def call_daemon(
    home: Home, name: str, args: Mapping[str, Json] | None = None, timeout_s: float = ANSWER_TIMEOUT_S
) -> Json:
    """Ask the daemon of `home` and return its answer; raise the error it names, or `NotRunning`, or `Unavailable`."""
    answers = list(stream_daemon(home, name, args, timeout_s))
    return answers[-1]


def read_answer(form: type[T], answer: Json) -> T:
    """Return a daemon's answer in its form; raise `Unavailable` if it is anything else."""
    try:
        return from_json(form, answer)
    except Rejected:
        raise Unavailable(ODD_ANSWER) from None


def stream_daemon(
    home: Home, name: str, args: Mapping[str, Json] | None = None, timeout_s: float | None = None
) -> Iterator[Json]:
    """Yield what the daemon says as it says it, its final answer last. `timeout_s` bounds each wait."""
    with contextlib.closing(_connect(home)) as connection:
        connection.settimeout(timeout_s)
        try:
            with contextlib.suppress(BrokenPipeError):  # it may have refused before it read; its reason is readable
                connection.sendall(pack_frame({"format": FORMAT, "call": name, "args": args or {}}))
            while True:
                length = int.from_bytes(_read_exactly(connection, LENGTH_BYTES, home), "big")
                if length > MAX_FRAME_BYTES:
                    raise Unavailable("the answer of the daemon is too long; use the same version of fednode for both")
                message = unpack_body(_read_exactly(connection, length, home))
                if "error" in message:
                    raise error_of(str(message["error"]), message.get("exit_code"))
                if "more" not in message:
                    yield message.get("result")
                    return
                yield message["more"]
        except TimeoutError:
            text = f"the daemon of {home.root} did not answer within {timeout_s:g} s"
            raise Unavailable(f"{text}; it may be suspended or overloaded, see 'fednode logs'") from None
        except (BrokenPipeError, ConnectionResetError):
            raise _gone(home) from None


def _connect(home: Home) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with socket_address(home.socket) as address:
            connection.connect(address)
        return connection
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connection.close()
        raise _not_running(home) from None
    except PermissionError:
        connection.close()
        text = f"the control socket of {home.root} belongs to another account"
        raise Unavailable(f"{text}; run this as the account that runs the daemon") from None
    except BaseException:
        connection.close()
        raise


def _not_running(home: Home) -> NotRunning:
    pid = daemon_pid(home)
    if pid is not None:
        text = f"the daemon of {home.root} (process {pid}) is just starting or stopping"
        return NotRunning(f"{text}; try again in a moment, or see 'fednode logs'")
    return NotRunning(f"no daemon runs on the home {home.root}; start it with 'fednode --home {home.root} start'")


def _gone(home: Home) -> Unavailable:
    return Unavailable(f"the daemon of {home.root} ended before it answered; see 'fednode logs', then start it again")


def _read_exactly(connection: socket.socket, count: int, home: Home) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise _gone(home)
        parts += part
    return bytes(parts)


def error_of(text: str, code: Json) -> FednodeError:
    """Return the error another process named, in the class of its exit code, so that both sides agree on blame."""
    return _classes().get(code if isinstance(code, int) else 0, FednodeError)(text)


def _classes() -> dict[int, type[FednodeError]]:
    found: dict[int, type[FednodeError]] = {}
    waiting: list[type[FednodeError]] = [FednodeError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__ == StorageError.__module__:
            found[kind.exit_code] = kind
        waiting.extend(kind.__subclasses__())
    return found
