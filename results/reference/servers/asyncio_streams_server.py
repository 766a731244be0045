"""Give every client a coroutine, which reads as if nobody else were there.

After:  asyncio_server.py
Waits:  in epoll_wait(), inside the loop, for all coroutines at once.
Costs:  as asyncio, and for every answer two more rounds: a future that wakes
        a task, and the buffers of two streams.
Breaks: when one coroutine computes for long: everybody waits for it. And
        without drain(), which is easily forgotten, because all works without
        it until a client does not take its answers. They fill the memory:
            sed '/await writer.drain/d' servers/asyncio_streams_server.py |
                python - --port 8000 & top -p $!
            yes >/dev/tcp/127.0.0.1/8000
            python -m servers client --port 8000
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from servers import common
from servers.protocol import HIGH_WATER_BYTES, Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    asyncio.run(listen(listener, new_session))


async def listen(
    listener: socket.socket, new_session: Callable[[], Session]
) -> None:
    async def welcome(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await converse(reader, writer, new_session())

    asyncio.get_running_loop().set_exception_handler(complain)
    server = await asyncio.start_server(
        welcome, sock=listener, backlog=common.BACKLOG
    )
    await server.serve_forever()


def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong, but in accept(): the loop goes on by itself."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


async def converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    session: Session,
) -> None:
    writer.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
    while session.wants_read or session.wants_write:
        if session.wants_write:
            await write(writer, session)
        else:
            await read(reader, session)
    await hang_up(writer)


async def read(reader: asyncio.StreamReader, session: Session) -> None:
    try:
        session.receive(await reader.read(common.RECEIVE_BYTES))
    except (OSError, MemoryError):
        session.abort()


async def write(writer: asyncio.StreamWriter, session: Session) -> None:
    try:
        data = session.outgoing
        writer.write(data)
        await writer.drain()  # waits while the buffer is full
        session.sent(len(data))
    except (OSError, MemoryError):
        session.abort()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    # From now on drain() waits until the buffer is empty.
    writer.transport.set_write_buffer_limits(high=0)
    with suppress(OSError):
        await writer.drain()
        sock = socket.socket(fileno=writer.get_extra_info("socket").fileno())
        common.finish(sock)
        sock.detach()
    writer.close()


if __name__ == "__main__":
    common.main(serve)
