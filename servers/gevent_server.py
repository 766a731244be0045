"""Give every client a thread that is none: a greenlet, switched where it waits.

After:  threaded_server.py
Waits:  in epoll_wait(), inside libev, for all greenlets at once.
Costs:  O(ready) per call, a small stack per client that is copied away, and
        two switches for every wait; a socket is tried before it waits.
Breaks: when one greenlet computes for long: everybody waits for it.
            python -m loadgen duel gevent threaded --connections 64
"""

import socket
from collections.abc import Callable
from typing import Any

import gevent.monkey
import gevent.server

from servers import common
from servers.protocol import Session

# Sleeping becomes letting the others go on.
gevent.monkey.patch_time()


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    def start(sock: socket.socket, _: Any) -> None:
        converse(sock, new_session())

    listener.setblocking(False)
    server = gevent.server.StreamServer(listener, start)
    server.max_accept = common.ACCEPTS_PER_WAKE_UP
    server.serve_forever()


def converse(sock: socket.socket, session: Session) -> None:
    while session.wants_read or session.wants_write:
        if session.wants_write:
            write(sock, session)
        else:
            read(sock, session)
    sock.setblocking(False)  # let it wait for nothing any more
    common.hang_up(sock)


def read(sock: socket.socket, session: Session) -> None:
    try:
        session.receive(sock.recv(common.RECEIVE_BYTES))
    except (OSError, MemoryError):
        session.abort()


def write(sock: socket.socket, session: Session) -> None:
    try:
        session.sent(sock.send(session.outgoing))
    except (OSError, MemoryError):
        session.abort()


if __name__ == "__main__":
    common.main(serve)
