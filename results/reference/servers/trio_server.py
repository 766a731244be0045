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

import trio

from servers import common
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    # It tries again by itself when descriptors run out, and complains.
    logging.getLogger("trio.serve_listeners").disabled = True
    trio.run(listen, listener, new_session)


async def listen(
    listener: socket.socket, new_session: Callable[[], Session]
) -> None:
    common.stop_when_told()  # again: it has reset SIGINT while it started

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
    hang_up(stream)


async def read(stream: trio.SocketStream, session: Session) -> None:
    try:
        session.receive(await stream.receive_some(common.RECEIVE_BYTES))
    except (trio.BrokenResourceError, MemoryError):
        session.abort()


async def write(stream: trio.SocketStream, session: Session) -> None:
    try:
        data = session.outgoing
        await stream.send_all(data)  # waits while the kernel's buffer is full
        session.sent(len(data))
    except (trio.BrokenResourceError, MemoryError):
        session.abort()


def hang_up(stream: trio.SocketStream) -> None:
    # serve_listeners() closes the stream after this.
    sock = socket.socket(fileno=stream.socket.fileno())
    common.finish(sock)
    sock.detach()


if __name__ == "__main__":
    common.main(serve)
