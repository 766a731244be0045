"""Serve one client until it leaves, then take the next.

After:  nothing; this is where everybody starts.
Waits:  in accept(), recv() and send(), each for one client.
Costs:  O(1) per call, and nothing at all while it waits.
Breaks: with the second client. It waits in the backlog, unanswered:
            python -m servers blocking --port 8000
            python -m servers client --port 8000     # in two terminals
"""

import socket
import time
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    while True:
        sock = accept(listener)
        if sock is not None:
            converse(sock, new_session())


def accept(listener: socket.socket) -> socket.socket | None:
    try:
        sock, _ = listener.accept()
    except OSError as error:
        if common.exhausted(error):
            time.sleep(common.RETRY_S)
        return None
    return sock


def converse(sock: socket.socket, session: Session) -> None:
    sock.settimeout(timeouts.IDLE_TIMEOUT_S)
    while session.wants_read or session.wants_write:
        if session.wants_write:
            write(sock, session)
        else:
            read(sock, session)
    common.hang_up(sock)


def read(sock: socket.socket, session: Session) -> None:
    try:
        session.receive(sock.recv(common.RECEIVE_BYTES))
    except TimeoutError as error:
        timeouts.time_out(sock, session, error)
    except (OSError, MemoryError):
        session.abort()


def write(sock: socket.socket, session: Session) -> None:
    try:
        session.sent(sock.send(session.outgoing))
    except TimeoutError as error:
        timeouts.time_out(sock, session, error)
    except (OSError, MemoryError):
        session.abort()


if __name__ == "__main__":
    common.main(serve)
