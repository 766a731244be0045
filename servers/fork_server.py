"""Give every client a process of its own, and let each of them block.

After:  threaded_server.py
Waits:  in accept(), recv() and send(), in as many processes as clients.
Costs:  O(1) per call, and no GIL is shared; but a process per client, whose
        start (page tables are copied) costs as much as some fifty answers.
Breaks: with clients that come and go, and when there are no more processes:
        that client is refused.
            python -m loadgen bench --experiments churn --servers epoll,fork
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from servers import common, process, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    signal.signal(signal.SIGCHLD, bury)
    while True:
        sock = accept(listener)
        if sock is not None:
            start(listener, sock, new_session())


def accept(listener: socket.socket) -> socket.socket | None:
    try:
        sock, _ = listener.accept()
    except OSError as error:
        if common.exhausted(error):
            time.sleep(common.RETRY_S)
        return None
    return sock


def start(
    listener: socket.socket, sock: socket.socket, session: Session
) -> None:
    try:
        child = process.fork()
    except OSError:  # no more processes, or no memory for one
        common.refuse(sock)
        return
    if child:
        sock.close()  # only this copy of it; the child has its own
        return
    listener.close()
    converse(sock, session)
    os._exit(0)


def bury(*_: object) -> None:
    """Ask for every child that has ended: until then it is a zombie.

    One signal may stand for many. To ignore SIGCHLD would do as well, but
    then nobody hears what the children used (wait(2), getrusage(2)).
    """
    with suppress(ChildProcessError):  # there are none at all
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


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
