"""Let the event loop receive into a buffer of ours.

After:  asyncio_server.py
Waits:  in epoll_wait(), inside the loop.
Costs:  as asyncio, with one more Python call and without its receive of 256
        KiB: nothing is allocated, nothing given back.
Breaks: when one callback takes long: everybody waits for it.
            python -m loadgen duel asyncio_buffered asyncio --connections 64
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from servers import common
from servers.protocol import HIGH_WATER_BYTES, Session

# One for everybody: what was received is taken out before anybody else is.
BUFFER = memoryview(bytearray(common.RECEIVE_BYTES))


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


class Conversation(asyncio.BufferedProtocol):
    def __init__(self, session: Session) -> None:
        self.session = session
        self.taken = True  # does the client take what is said to it?

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.proceed()

    def get_buffer(self, _: int) -> memoryview:
        return BUFFER

    def buffer_updated(self, count: int) -> None:
        try:
            self.session.receive(bytes(BUFFER[:count]))
        except MemoryError:
            self.session.abort()
        self.proceed()

    def eof_received(self) -> bool:
        self.session.receive(b"")
        self.proceed()
        return True  # what is owed may still be sent

    def pause_writing(self) -> None:
        self.taken = False
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.taken = True
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
