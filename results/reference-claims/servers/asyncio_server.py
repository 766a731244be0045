r"""Let an event loop call back whenever a client has said something.

After:  epoll_server.py
Waits:  in epoll_wait(), inside the loop.
Costs:  O(ready) per call, three Python calls for everybody who is ready, and
        a receive of 256 KiB. By glibc's rules (mallopt(3), M_MMAP_THRESHOLD)
        that is an mmap(), an mremap() and a munmap() each time, unless the
        program happens to have freed as much in one piece before. Without
        that luck:
            MALLOC_MMAP_THRESHOLD_=131072 strace -c \
                python -m servers asyncio --port 8000
            python -m loadgen run --connect 127.0.0.1:8000
Breaks: when one callback takes long: everybody waits for it, as in any loop.
        When descriptors run out it calls accept() not once a second but as
        often as the backlog is long (_accept_connection() of CPython's
        asyncio/selector_events.py goes on after the error):
            ulimit -n 64; python -m servers asyncio --port 8000 &
            strace -ce accept4 -p $!
            python -m loadgen run --connect 127.0.0.1:8000 --connections 100 \
                --duration 5
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
    server = await loop.create_server(
        lambda: Conversation(new_session()),
        sock=listener,
        backlog=common.BACKLOG,
    )
    await server.serve_forever()


def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong, but in accept(): the loop goes on by itself."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


class Conversation(asyncio.Protocol):
    def __init__(self, session: Session) -> None:
        self.session = session
        self.timer: asyncio.TimerHandle | None = None
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.proceed()
        if timeouts.IDLE_TIMEOUT_S is not None:
            self.check()

    def data_received(self, data: bytes) -> None:
        try:
            self.session.receive(data)
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
