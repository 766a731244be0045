"""Ask about all sockets at once: which can be read or written?

After:  nonblocking_server.py
Waits:  in select(), for all clients at once.
Costs:  O(highest descriptor) per call, however few clients are ready.
Breaks: at descriptor 1,024 (FD_SETSIZE): those clients are refused, and
        raising `ulimit -n` does not help (select(2), BUGS).
            ulimit -n 4096; python -m servers select --port 8000
            python -m loadgen run --connect 127.0.0.1:8000 --connections 1100
"""

import select
import socket
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session

# The fd_set of select(2) is an array of this many bits, fixed by glibc.
FD_SETSIZE = 1024


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    reading = {listener.fileno()}
    writing: set[int] = set()
    listener.setblocking(False)
    accepting = True
    silence = timeouts.silence()

    while True:
        arrivals = not accepting
        timeout_s = None if accepting else common.RETRY_S
        if silence:
            timeout_s = silence.wait_s(timeout_s)
        # Both sets are handed over at every call, and the kernel looks at
        # every descriptor in them, ready or not, up to the highest.
        readable, writable, _ = select.select(reading, writing, (), timeout_s)
        if silence:
            writable += silence.due()
        to_read = set(readable)
        for fd in to_read.union(writable):
            if fd not in clients:
                arrivals = True
                continue
            sock, session = clients[fd]
            if fd in to_read:
                read(sock, session)
            if session.wants_write:
                write(sock, session)
            if silence:
                silence.linger(sock, session)
            watch(fd, session.wants_read, reading)
            watch(fd, session.wants_write, writing)
            if fd not in reading and fd not in writing:
                del clients[fd]
                common.hang_up(sock)

        # Newcomers come last: whoever is inside goes first. They may get the
        # descriptors of those who left. A batch names each descriptor once,
        # and clients leave at their own entry, so nobody is mixed up.
        if arrivals:
            could = accepting
            arrived, accepting = accept(listener)
            for sock in arrived:
                fd = sock.fileno()
                if fd >= FD_SETSIZE:
                    common.refuse(sock)
                    continue
                session = new_session()
                write(sock, session)
                if not session.wants_read:  # the greeting failed
                    common.hang_up(sock)
                    continue
                watch(fd, True, reading)
                watch(fd, session.wants_write, writing)
                clients[fd] = sock, session
                if silence:
                    silence.welcome(sock, session)
            if accepting != could:
                watch(listener.fileno(), accepting, reading)


def watch(fd: int, wanted: bool, interest: set[int]) -> None:
    if wanted:
        interest.add(fd)
    else:
        interest.discard(fd)


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
