"""The cables between hospitals: every connection runs through here, so that one hospital can be cut off.

A cut is silent, as when a cable is pulled: nothing is passed on and nobody is told. Whoever still writes finds out by
its own keep-alives. When the cable is put back, connections of the time before are gone.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

BUFFER_BYTES = 1 << 20
READ_BYTES = 1 << 16


@dataclass(eq=False)
class _Pair:
    """One connection from a dialler through us to a listener."""

    dialler: int
    listener: int
    ends: tuple[socket.socket, socket.socket]
    waiting: dict[socket.socket, bytearray] = field(default_factory=dict)

    def other(self, end: socket.socket) -> socket.socket:
        return self.ends[1] if end is self.ends[0] else self.ends[0]


class Wires:
    """Forwards from each advertised port to the port behind it. `pid_of(member)` finds out who dials."""

    def __init__(self, ports: dict[int, tuple[int, int]], pid_of: Callable[[int], int | None]) -> None:
        """`ports`: member -> (advertised, listening)."""
        self._targets = {member: listening for member, (_, listening) in ports.items()}
        self._pid_of = pid_of
        self._cut: set[int] = set()
        self._pairs: list[_Pair] = []
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._listeners: list[socket.socket] = []
        self._is_open = True
        for member, (advertised, _) in ports.items():
            listener = socket.create_server(("127.0.0.1", advertised))
            listener.setblocking(False)
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ, member)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self, *members: int) -> None:
        """Pull the cables of some members: nothing passes between them and anybody."""
        with self._lock:
            self._cut.update(members)
        self._wake()

    def heal(self) -> None:
        """Put all cables back."""
        with self._lock:
            gone = [pair for pair in self._pairs if self._is_cut(pair)]
            self._cut.clear()
            for pair in gone:
                self._close(pair)
        self._wake()

    def close(self) -> None:
        """End the thread and every connection."""
        self._is_open = False
        self._wake()
        self._thread.join()
        for pair in list(self._pairs):
            self._close(pair)
        for listener in (*self._listeners, self._wake_read, self._wake_write):
            listener.close()
        self._selector.close()

    # --- the thread

    def _wake(self) -> None:
        self._wake_write.send(b"!")

    def _is_cut(self, pair: _Pair) -> bool:
        return pair.dialler in self._cut or pair.listener in self._cut

    def _run(self) -> None:
        while self._is_open:
            ready = self._selector.select()
            with self._lock:
                for key, events in ready:
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    if end is self._wake_read:
                        end.recv(READ_BYTES)
                    elif isinstance(key.data, _Pair):
                        self._move(key.data, end, events)
                    else:
                        self._accept(end, key.data)
                for pair in self._pairs:
                    self._watch(pair)

    def _accept(self, listener: socket.socket, member: int) -> None:
        try:
            near, (_, port) = listener.accept()
        except OSError:
            return
        dialler = self._who_dials(port)
        far = socket.socket()
        if far.connect_ex(("127.0.0.1", self._targets[member])) != 0:
            near.close()
            far.close()
            return
        near.setblocking(False)
        far.setblocking(False)
        pair = _Pair(dialler, member, (near, far), {near: bytearray(), far: bytearray()})
        self._pairs.append(pair)
        for end in pair.ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _who_dials(self, port: int) -> int:
        for member in self._targets:
            pid = self._pid_of(member)
            try:
                links = psutil.Process(pid).net_connections("tcp") if pid is not None else []
            except psutil.Error:
                continue
            if any(link.laddr and link.laddr.port == port for link in links):
                return member
        return 0

    def _watch(self, pair: _Pair) -> None:
        """Ask the kernel for what this pair can do now: nothing while it is cut."""
        for end in pair.ends:
            wanted = 0
            if not self._is_cut(pair):
                if len(pair.waiting[pair.other(end)]) < BUFFER_BYTES:
                    wanted |= selectors.EVENT_READ
                if pair.waiting[end]:
                    wanted |= selectors.EVENT_WRITE
            known = self._selector.get_map().get(end.fileno())
            if known is None and wanted:
                self._selector.register(end, wanted, pair)
            elif known is not None and not wanted:
                self._selector.unregister(end)
            elif known is not None and known.events != wanted:
                self._selector.modify(end, wanted, pair)

    def _move(self, pair: _Pair, end: socket.socket, events: int) -> None:
        if pair not in self._pairs:
            return
        other = pair.other(end)
        try:
            if events & selectors.EVENT_READ:
                data = end.recv(READ_BYTES)
                if not data:
                    self._close(pair)
                    return
                pair.waiting[other] += data
            for target in (end, other):
                if pair.waiting[target]:
                    del pair.waiting[target][: target.send(pair.waiting[target])]
        except BlockingIOError:
            return
        except OSError:
            self._close(pair)

    def _close(self, pair: _Pair) -> None:
        if pair in self._pairs:
            self._pairs.remove(pair)
        for end in pair.ends:
            if self._selector.get_map().get(end.fileno()) is not None:
                self._selector.unregister(end)
            end.close()
