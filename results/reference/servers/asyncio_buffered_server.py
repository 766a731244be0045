r"""Let the event loop receive into a buffer of ours.

After:  asyncio_server.py
Waits:  in epoll_wait(), inside the loop.
Costs:  as asyncio, with one more Python call and without its receive of 256
        KiB: nothing is allocated, nothing given back.
            MALLOC_MMAP_THRESHOLD_=131072 strace -c \
                python -m servers asyncio_buffered --port 8000
            python -m loadgen run --connect 127.0.0.1:8000
Breaks: as asyncio: when one callback takes long, everybody waits for it.
            python -m loadgen run --server asyncio_buffered \
                --connections 64 --work cpu:10ms
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from servers import common
from servers.protocol import HIGH_WATER_BYTES, Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    asyncio.run(listen(listener, new_session))


async def listen(
    listener: socket.socket, new_session: Callable[[], Session]
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(complain)
    # One for everybody: what was received is taken out before anybody else is.
    buffer = memoryview(bytearray(common.RECEIVE_BYTES))
    server = await loop.create_server(
        lambda: Conversation(new_session(), buffer),
        sock=listener,
        backlog=common.BACKLOG,
    )
    await server.serve_forever()


def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong, but in accept(): the loop goes on by itself."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


class Conversation(asyncio.BufferedProtocol):
    def __init__(self, session: Session, buffer: memoryview) -> None:
        self.session, self.buffer = session, buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.proceed()

    def get_buffer(self, _: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        try:
            self.session.receive(bytes(self.buffer[:count]))
        except MemoryError:
            self.session.abort()
        self.proceed()

    def eof_received(self) -> None:
        self.session.receive(b"")
        self.proceed()

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        # The loop closes the socket after this.
        sock = socket.socket(
            fileno=self.transport.get_extra_info("socket").fileno()
        )
        common.finish(sock)
        sock.detach()

    def proceed(self) -> None:
        # The transport keeps what the socket does not take. Who takes too
        # little is not read from, see pause_writing().
        if self.session.wants_write:
            data = self.session.outgoing
            self.session.sent(len(data))
            self.transport.write(data)
        if not self.session.wants_read:
            self.transport.close()  # once everything is sent


if __name__ == "__main__":
    common.main(serve)
