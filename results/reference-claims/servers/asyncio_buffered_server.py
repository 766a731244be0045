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

from servers import common, timeouts
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
        self.timer: asyncio.TimerHandle | None = None
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.proceed()
        if timeouts.IDLE_TIMEOUT_S is not None:
            self.check()

    def get_buffer(self, _: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        try:
            self.session.receive(bytes(self.buffer[:count]))
        except MemoryError:
            self.session.abort()
        self.proceed()

    def eof_received(self) -> bool:
        self.session.receive(b"")
        self.proceed()
        return True  # or the loop would close, whatever is still owed

    def pause_writing(self) -> None:
        self.full = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        self.transport.resume_reading()
        # Not at once: it cannot be closed while it looks at its buffer.
        asyncio.get_running_loop().call_soon(self.proceed)

    def check(self) -> None:
        """Time the client out if it is silent, and look again later."""
        left_s = timeouts.left_s(
            self.transport.get_extra_info("socket"),
            self.session,
            self.transport.is_reading(),
            self.transport.get_write_buffer_size(),
        )
        if left_s is None:
            self.transport.abort()
            return
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(left_s, self.check)
        self.proceed()

    def connection_lost(self, _: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()
        self.session.abort()
        # The loop closes the socket after this.
        sock = socket.socket(
            fileno=self.transport.get_extra_info("socket").fileno()
        )
        common.finish(sock)
        sock.detach()

    def proceed(self) -> None:
        # The transport keeps what the socket does not take. Who takes too
        # little is not read from, see pause_writing().
        while (
            self.session.wants_write
            and not self.full
            and not self.transport.is_closing()
        ):
            data = self.session.outgoing
            self.session.sent(len(data))
            self.transport.write(data)
        if not self.session.wants_read and not self.session.wants_write:
            if self.timer and not self.transport.is_closing():
                self.session.linger()
            if self.session.wants_read:
                self.transport.write_eof()  # once everything is sent
            else:
                self.transport.close()  # as well


if __name__ == "__main__":
    common.main(serve)
