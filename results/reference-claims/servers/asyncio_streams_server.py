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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from servers import common, timeouts
from servers.protocol import HIGH_WATER_BYTES, Session

T = TypeVar("T")


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
            await read(reader, writer, session)
    await hang_up(reader, writer, session)


async def read(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    session: Session,
) -> None:
    try:
        if timeouts.IDLE_TIMEOUT_S is None:
            session.receive(await reader.read(common.RECEIVE_BYTES))
            return
        data = await in_time(
            lambda: reader.read(common.RECEIVE_BYTES), writer, session
        )
        if data is not None:
            session.receive(data)
    except (OSError, MemoryError):
        session.abort()


async def write(writer: asyncio.StreamWriter, session: Session) -> None:
    try:
        data = session.outgoing
        writer.write(data)
        if timeouts.IDLE_TIMEOUT_S is None:
            await writer.drain()  # waits while the buffer is full
        else:
            await in_time(writer.drain, writer, session)
        session.sent(len(data))
    except (OSError, MemoryError):
        session.abort()


async def hang_up(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    session: Session,
) -> None:
    # From now on drain() waits until the buffer is empty.
    writer.transport.set_write_buffer_limits(high=0)
    with suppress(OSError):
        if timeouts.IDLE_TIMEOUT_S is None:
            await writer.drain()
        else:
            await in_time(writer.drain, writer, session)
            await see_off(reader, writer, session)
        sock = socket.socket(fileno=writer.get_extra_info("socket").fileno())
        common.finish(sock)
        sock.detach()
    writer.close()


async def in_time(
    call: Callable[[], Awaitable[T]],
    writer: asyncio.StreamWriter,
    session: Session,
) -> T | None:
    """What the call returns; None if the client is too silent for it."""
    reads = session.wants_read and not session.wants_write
    left_s = timeouts.IDLE_TIMEOUT_S
    while left_s is not None:
        for limit_s in (left_s, 0):  # it may have come at the last moment
            try:
                async with asyncio.timeout(limit_s):
                    return await call()
            except TimeoutError as error:
                if error.errno is not None:  # the network's
                    raise
        left_s = timeouts.left_s(
            writer.get_extra_info("socket"),
            session,
            reads,
            writer.transport.get_write_buffer_size(),
        )
        if reads and not session.wants_read:
            return None
    writer.transport.abort()
    return None


async def see_off(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    session: Session,
) -> None:
    """Wait for the client's end of file, as long as it may be silent."""
    session.linger()
    if session.wants_read:
        writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeouts.IDLE_TIMEOUT_S):
                while await reader.read(common.RECEIVE_BYTES):
                    pass


if __name__ == "__main__":
    common.main(serve)
