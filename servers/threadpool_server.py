"""Start a fixed number of threads, and let each serve one client at a time.

After:  threaded_server.py
Waits:  in accept(), recv() and send(), in every thread.
Costs:  O(1) per call, as many stacks as there are threads, and no thread
        start per connection; the GIL is passed around at every wake-up.
Breaks: with one client more than there are threads: it waits in the backlog,
        unanswered, until another one leaves.
            python -m servers threadpool --workers 2 --port 8000
            python -m servers client --port 8000     # in three terminals
"""

import socket
import threading
import time
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session


def serve(
    listener: socket.socket,
    new_session: Callable[[], Session],
    workers: int = 16,
) -> None:
    for _ in range(workers - 1):
        hire(listener, new_session)
    work(listener, new_session)


def hire(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    worker = threading.Thread(
        target=work, args=(listener, new_session), daemon=True
    )
    worker.start()


def work(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    # All of them wait in accept(), and the kernel wakes one for a newcomer:
    # no herd (net/ipv4/inet_connection_sock.c, inet_csk_wait_for_connect).
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
