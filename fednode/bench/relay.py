"""Cables with a length: connections on loopback through which every byte travels for a given time.

Between any two daemons lies one relay, outside of both, so that nothing in them knows about it. It delays and never
limits: what comes in is passed on in the same pieces, each as long after its arrival as the cable is long.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from types import TracebackType

import trio

from fednode.errors import Unavailable

READ_BYTES = 1 << 16
START_TIMEOUT_S = 10.0


class Relay:
    """A context in which connections to each outer port of `ports` reach its inner port, `delay_ms` away."""

    def __init__(self, ports: Mapping[int, int], delay_ms: int) -> None:
        self._ports = ports
        self._delay_s = delay_ms / 1000
        self._is_open = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        if not self._is_open.wait(START_TIMEOUT_S):
            raise Unavailable("the ports of the emulated cables cannot be opened; try again")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                for outer, inner in self._ports.items():
                    listeners = await trio.open_tcp_listeners(outer, host="127.0.0.1")
                    nursery.start_soon(trio.serve_listeners, _Cable(inner, self._delay_s).connect, listeners)
                self._is_open.set()


class _Cable:
    """Leads to one port."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._port = port
        self._delay_s = delay_s

    async def connect(self, near: trio.SocketStream) -> None:
        """Carry one connection until either side closes it."""
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self._port)
        except OSError:
            await near.aclose()
            return
        async with near, far, trio.open_nursery() as nursery:
            for source, target in ((near, far), (far, near)):
                send, receive = trio.open_memory_channel[tuple[float, bytes]](math.inf)
                nursery.start_soon(self._read, source, send)
                nursery.start_soon(self._write, target, receive, nursery.cancel_scope)

    async def _read(self, source: trio.SocketStream, send: trio.MemorySendChannel[tuple[float, bytes]]) -> None:
        async with send:
            try:
                async for data in source:
                    send.send_nowait((trio.current_time() + self._delay_s, bytes(data)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _write(
        self, target: trio.SocketStream, receive: trio.MemoryReceiveChannel[tuple[float, bytes]],
        scope: trio.CancelScope,
    ) -> None:
        try:
            async for due, data in receive:
                await trio.sleep_until(due)
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()  # one side is gone, and the other has had everything
