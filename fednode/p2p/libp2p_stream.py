"""A yamux stream as the links see it. Imports libp2p."""

from __future__ import annotations

from typing import cast

from libp2p.abc import INetStream
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from fednode.p2p.link import StreamEnded
from fednode.p2p.secure_transport import NoiseSession


class MuxedStream:
    """Implements `link.Stream`; every failure below becomes `StreamEnded`."""

    def __init__(self, stream: INetStream) -> None:
        self._muxed = cast(YamuxStream, cast(NetStream, stream).muxed_stream)
        self._muxer = self._muxed.conn
        self._session = cast(NoiseSession, self._muxer.secured_conn)
        self._unacknowledged_bytes = 0

    async def read(self, max_bytes: int) -> bytes:
        """Return at least one byte.

        The stock read grants the sender new window after each read, one more frame per message; here half a window
        is granted at a time.
        """
        try:
            data = await self._muxer.read_stream(self._muxed.stream_id, max_bytes)
            self._unacknowledged_bytes += len(data)
            if self._unacknowledged_bytes >= self._muxed.target_recv_window // 2:
                count, self._unacknowledged_bytes = self._unacknowledged_bytes, 0
                await self._muxed._auto_tune_and_send_window_update(bytes_read=count)
        except Exception as error:  # the libp2p border: whatever it raises, this stream is over
            raise StreamEnded("connection lost") from error
        return data

    async def write(self, data: bytes | memoryview) -> None:
        """Hand over data, waiting for room before the muxer's lock is taken."""
        await self._session.wait_writable()
        try:
            await self._muxed.write(cast(bytes, data))
        except Exception as error:  # the libp2p border, as above
            raise StreamEnded("connection lost") from error
