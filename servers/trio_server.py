"""Give every client a coroutine, in a nursery that lets none of them escape.

After:  asyncio_streams_server.py
Waits:  in epoll_wait(), inside the loop, for all coroutines at once.
Costs:  O(ready) per call; before a socket is waited for it is tried, and a
        checkpoint after every call gives the others their turn.
Breaks: when one coroutine computes for long: everybody waits for it. And a
        nursery ends as a whole: an error that nobody catches cancels all
        conversations and ends the server (asyncio's would log it and go on).
        Here is one that strikes when a client leaves:
            sed 's/_BYTES)/& or 1/' servers/trio_server.py |
                python - --port 8000
            python -m servers client --port 8000     # in two terminals;
                                                     # Ctrl-D in one
"""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import trio

from servers import common, process, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    # It tries again by itself when descriptors run out, and complains.
    logging.getLogger("trio.serve_listeners").disabled = True
    trio.run(listen, listener, new_session)


async def listen(
    listener: socket.socket, new_session: Callable[[], Session]
) -> None:
    process.stop_when_told()  # again: it has reset SIGINT while it started

    async def welcome(stream: trio.SocketStream) -> None:
        await converse(stream, new_session())

    source = trio.socket.from_stdlib_socket(listener)
    await trio.serve_listeners(welcome, [trio.SocketListener(source)])


async def converse(stream: trio.SocketStream, session: Session) -> None:
    while session.wants_read or session.wants_write:
        if session.wants_write:
            await write(stream, session)
        else:
            await read(stream, session)
    await hang_up(stream, session)


async def read(stream: trio.SocketStream, session: Session) -> None:
    try:
        if timeouts.IDLE_TIMEOUT_S is None:
            session.receive(await stream.receive_some(common.RECEIVE_BYTES))
            return
        with trio.move_on_after(timeouts.IDLE_TIMEOUT_S) as wait:
            session.receive(await stream.receive_some(common.RECEIVE_BYTES))
        if wait.cancelled_caught:
            timeouts.time_out(stream.socket, session)
    except (trio.BrokenResourceError, MemoryError):
        session.abort()


async def write(stream: trio.SocketStream, session: Session) -> None:
    try:
        data = session.outgoing
        if timeouts.IDLE_TIMEOUT_S is None:
            await stream.send_all(data)  # waits while the kernel is full
            session.sent(len(data))
            return
        # How much of it send_all() has sent, it does not say in time.
        with trio.move_on_after(timeouts.IDLE_TIMEOUT_S) as wait:
            session.sent(await stream.socket.send(data))
        if wait.cancelled_caught:
            timeouts.time_out(stream.socket, session)
    except (trio.BrokenResourceError, OSError, MemoryError):
        session.abort()


async def hang_up(stream: trio.SocketStream, session: Session) -> None:
    if timeouts.IDLE_TIMEOUT_S is not None:
        await see_off(stream, session)
    # serve_listeners() closes the stream after this.
    sock = socket.socket(fileno=stream.socket.fileno())
    common.finish(sock)
    sock.detach()


async def see_off(stream: trio.SocketStream, session: Session) -> None:
    """Wait for the client's end of file, as long as it may be silent."""
    session.linger()
    if session.wants_read:
        with suppress(trio.BrokenResourceError):
            await stream.send_eof()
            with trio.move_on_after(timeouts.IDLE_TIMEOUT_S or 0):
                while await stream.receive_some(common.RECEIVE_BYTES):
                    pass


if __name__ == "__main__":
    common.main(serve)
