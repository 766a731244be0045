"""Ask every socket in turn, again and again, and never wait.

After:  blocking_server.py
Waits:  nowhere: recv() and accept() that have nothing say so at once.
Costs:  O(clients) system calls per sweep, and a whole core even when idle.
Breaks: at once, as it uses a whole core while idle; then by getting slower
        with every client that is merely connected.
            python -m servers nonblocking --port 8000 & top -p $!
"""

import socket
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    listener.setblocking(False)
    silence = timeouts.silence()

    while True:
        if silence:
            silence.due()
        for fd, (sock, session) in list(clients.items()):
            if session.wants_read:
                read(sock, session)
            if session.wants_write:
                write(sock, session)
            if silence:
                silence.linger(sock, session)
            if not session.wants_read and not session.wants_write:
                del clients[fd]
                common.hang_up(sock)

        arrived, _ = accept(listener)
        for sock in arrived:
            session = new_session()
            write(sock, session)
            clients[sock.fileno()] = sock, session
            if silence:
                silence.welcome(sock, session)


def accept(listener: socket.socket) -> tuple[list[socket.socket], bool]:
    """Who has come; and False when there were no descriptors for more."""
    arrived: list[socket.socket] = []
    for _ in range(common.ACCEPTS_PER_WAKE_UP):
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            break
        except OSError as error:
            if common.exhausted(error):
                return arrived, False
            continue  # that one has gone; others may have come
        sock.setblocking(False)
        arrived.append(sock)
    return arrived, True


def read(sock: socket.socket, session: Session) -> None:
    try:
        session.receive(sock.recv(common.RECEIVE_BYTES))
    except BlockingIOError:
        pass
    except (OSError, MemoryError):
        session.abort()


def write(sock: socket.socket, session: Session) -> None:
    try:
        session.sent(sock.send(session.outgoing))
    except BlockingIOError:
        pass
    except (OSError, MemoryError):
        session.abort()


if __name__ == "__main__":
    common.main(serve)
