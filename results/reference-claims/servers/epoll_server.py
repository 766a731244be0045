"""Let the kernel keep the list of sockets, and hear of the ready ones only.

After:  poll_server.py
Waits:  in epoll_wait(), for all clients at once; level-triggered, as poll()
        is: who is ready is named again until there is nothing left to do.
Costs:  O(ready) per call, and a system call for every change of interest.
Breaks: when descriptors run out: newcomers wait in the backlog.
            ulimit -n 64; python -m servers epoll --port 8000
            python -m loadgen run --connect 127.0.0.1:8000 --connections 100
"""

import select
import socket
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    interest = select.epoll()
    interest.register(listener, select.EPOLLIN)
    listener.setblocking(False)
    accepting = True
    silence = timeouts.silence()

    while True:
        arrivals = not accepting
        timeout_s = None if accepting else common.RETRY_S
        if silence:
            timeout_s = silence.wait_s(timeout_s)
        # Nothing is handed over: the kernel has the list, notes who becomes
        # ready as it happens, and gives back those only.
        ready = interest.poll(timeout_s)
        if silence:
            ready += [(fd, 0) for fd in silence.due()]
        for fd, events in ready:
            if fd not in clients:
                arrivals = True
                continue
            sock, session = clients[fd]
            before = wanted(session)
            # Hang-ups and errors come unasked; the next read or write tells
            # what happened (epoll_ctl(2)).
            if session.wants_read and events & ~select.EPOLLOUT:
                read(sock, session)
            if session.wants_write:
                write(sock, session)
            if silence:
                silence.linger(sock, session)
            after = wanted(session)
            if not after:
                del clients[fd]
                common.hang_up(sock)  # ends the interest too (epoll(7))
            elif after != before:
                interest.modify(fd, after)

        # Newcomers come last: whoever is inside goes first. They may get the
        # descriptors of those who left. A batch names each descriptor once,
        # and clients leave at their own entry, so nobody is mixed up.
        if arrivals:
            could = accepting
            arrived, accepting = accept(listener)
            for sock in arrived:
                session = new_session()
                write(sock, session)
                if not session.wants_read:  # the greeting failed
                    common.hang_up(sock)
                    continue
                try:
                    interest.register(sock, wanted(session))
                except OSError:  # the list may be full (epoll_ctl(2))
                    common.refuse(sock)
                    continue
                clients[sock.fileno()] = sock, session
                if silence:
                    silence.welcome(sock, session)
            if accepting != could:
                interest.modify(listener, select.EPOLLIN if accepting else 0)


def wanted(session: Session) -> int:
    return (session.wants_read and select.EPOLLIN) | (
        session.wants_write and select.EPOLLOUT
    )


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
