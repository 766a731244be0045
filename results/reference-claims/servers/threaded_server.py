"""Give every client a thread of its own, and let each of them block.

After:  blocking_server.py
Waits:  in accept(), recv() and send(), in as many threads as clients.
Costs:  O(1) per call, but a stack and a scheduler entry per client, a thread
        start per connection, and the GIL passed around at every wake-up.
Breaks: with a thousand busy clients. A thread that waits for the GIL asks
        for it every 5 ms (sys.setswitchinterval), and asking takes the CPU.
            python -m loadgen run --server threaded --connections 1000
        Later, when there are no more threads: that client is refused.
            ulimit -v 2000000; python -m servers threaded --port 8000
            python -m loadgen run --connect 127.0.0.1:8000 --connections 200
"""

import socket
import threading
import time
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    while True:
        sock = accept(listener)
        if sock is not None:
            start(sock, new_session())


def accept(listener: socket.socket) -> socket.socket | None:
    try:
        sock, _ = listener.accept()
    except OSError as error:
        if common.exhausted(error):
            time.sleep(common.RETRY_S)
        return None
    return sock


def start(sock: socket.socket, session: Session) -> None:
    client = threading.Thread(
        target=converse, args=(sock, session), daemon=True
    )
    try:
        client.start()
    except RuntimeError:  # "can't start new thread"
        common.refuse(sock)


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
