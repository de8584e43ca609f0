"""The daemon's side of the control socket: who calls, what was asked, one answer each.

Security assumption: whoever calls here has the role of the hospital itself and may do everything it may do. So the
kernel is asked for the caller's account, and only the daemon's own and root are answered; requests are bounded before
they are read.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from fednode.desk.calls import Arguments, Handlers
from fednode.desk.control_client import FORMAT, LENGTH_BYTES, pack_frame, socket_address, unpack_body
from fednode.documents import Json
from fednode.errors import FednodeError, Refused, Rejected, UsageError
from fednode.fence import foreign
from fednode.home.files import PRIVATE_FILE, Home, environment
from fednode.ledger.members.bodies import Role

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings old trio stubs, which do not know trio's own

MAX_REQUEST_BYTES = 1024 * 1024
REQUEST_TIMEOUT_S = 10.0
MAX_CALLERS = 64
"""Connections served at once; further ones wait in the listener's queue."""


async def serve_control(
    home: Home, handlers: Handlers, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Listen on the home's socket until cancelled. The caller holds the home's lock, so a leftover socket is stale.

    A `FednodeError` or `Rejected` of a handler goes to the caller; any other exception of one that acts is a bug and
    ends the daemon.
    """
    listener = _listen(home)
    limiter = trio.CapacityLimiter(MAX_CALLERS)

    async def serve(stream: trio.SocketStream) -> None:
        async with limiter, stream:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await _serve_one(stream, handlers)

    task_status.started()
    try:
        await trio.serve_listeners(serve, [listener])
    finally:
        with contextlib.suppress(FileNotFoundError):
            home.socket.unlink()


def _listen(home: Home) -> trio.SocketListener:
    with environment("open the control socket", home.socket):
        with contextlib.suppress(FileNotFoundError):
            home.socket.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with socket_address(home.socket) as address:
                listening.bind(address)
            home.socket.chmod(PRIVATE_FILE)
            listening.listen(MAX_CALLERS)
        except BaseException:
            listening.close()
            raise
    listening.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


async def _serve_one(stream: trio.SocketStream, handlers: Handlers) -> None:
    """Read one request, run its handler, answer. A caller that hangs up cancels its handler."""
    try:
        role = _role_of(stream)
        with trio.fail_after(REQUEST_TIMEOUT_S):
            request = await _read_request(stream)
    except trio.TooSlowError:
        return
    except FednodeError as error:
        await stream.send_all(_error_frame(error))
        return
    if request is None:
        return
    answer: bytes | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, stream, nursery.cancel_scope)
        # Caught in here: a nursery would pass it on in a group, which `suppress` around it does not see.
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            answer = await _answer(stream, role, request, handlers)
        nursery.cancel_scope.cancel()
    if answer is not None:
        await stream.send_all(answer)


def _role_of(stream: trio.SocketStream) -> Role:
    """Return the role of whoever is on the other side; raise `Refused` for another account than the daemon's or root.

    Whoever runs as the daemon's account can read its keys, so here everybody speaks for the hospital.
    """
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (os.geteuid(), 0):
        raise Refused(f"account {uid} may not control this daemon; run as account {os.geteuid()}")
    return Role.HOSPITAL


async def _read_request(stream: trio.SocketStream) -> Mapping[str, Json] | None:
    """Return the request, None if the caller hung up before its end."""
    length = int.from_bytes(await _read_exactly(stream, LENGTH_BYTES), "big")
    if not 0 < length <= MAX_REQUEST_BYTES:
        raise UsageError(f"a request has 1 to {MAX_REQUEST_BYTES} bytes, not {length}")
    body = await _read_exactly(stream, length)
    return unpack_body(body) if len(body) == length else None


async def _read_exactly(stream: trio.SocketStream, count: int) -> bytes:
    """Return `count` bytes, or fewer if the caller hung up."""
    parts = bytearray()
    while len(parts) < count:
        part = await stream.receive_some(count - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


async def _answer(stream: trio.SocketStream, role: Role, request: Mapping[str, Json], handlers: Handlers) -> bytes:
    name, values = request.get("call"), request.get("args")

    async def emit(value: Json) -> None:
        await stream.send_all(pack_frame({"more": value}))

    try:
        if request.get("format") != FORMAT:
            text = f"the daemon speaks control format {FORMAT}, the command line {request.get('format')}"
            raise UsageError(f"{text}; restart the daemon with the installed version")
        if not isinstance(name, str) or not isinstance(values, dict):
            raise UsageError("a request names a call and its arguments; use the same version of fednode for both sides")
        result = await handlers.answer(name, role, Arguments(values), emit)
        with foreign("a value"):
            return pack_frame({"result": result})
    except FednodeError as error:
        return _error_frame(error)
    except Rejected as error:
        return _error_frame(Refused(error.reason))


def _error_frame(error: FednodeError) -> bytes:
    return pack_frame({"error": str(error), "exit_code": error.exit_code})


async def _cancel_when_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """A request is all a caller ever sends; the next thing to read is that it hung up."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.receive_some(1)
    scope.cancel()
