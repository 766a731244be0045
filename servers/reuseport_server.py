"""Start a fixed number of processes, each with a listening socket of its own.

After:  prefork_server.py
Waits:  in epoll_wait(), in every worker, each with a backlog of its own.
Costs:  O(ready) per call; no herd: the kernel hashes a newcomer's address and
        port to one of the sockets (SO_REUSEPORT, socket(7)), busy or not.
Breaks: with few clients: the hash spreads them badly.
            python -m servers reuseport --workers 4 --port 8000
            (for i in {1..8}; do exec {fd}<>/dev/tcp/127.0.0.1/8000; done
            ss -tnpH sport = :8000 | grep -o pid=.*, | sort | uniq -c)
        And who waits in the backlog of a socket that is closed is reset, as
        it is when its only owner dies (unless net.ipv4.tcp_migrate_req is
        set). Here the parent holds all sockets, and they wait for the
        worker's successor. A client that comes after STOP, if it is hashed to
        that worker, gets its Welcome! after KILL:
            kill -STOP $(pgrep -nf servers.reuseport)
            python -m servers client --port 8000
            kill -KILL $(pgrep -nf servers.reuseport)
"""

import os
import select
import socket
import time
from collections.abc import Callable

from servers import common, process, timeouts
from servers.protocol import Session

# All sockets that share an address have to say so before bind(), the first
# one too (socket(7)), so common.py asks for this.
REUSE_PORT = True


def serve(
    listener: socket.socket,
    new_session: Callable[[], Session],
    workers: int | None = None,
) -> None:
    others = (workers or len(os.sched_getaffinity(0))) - 1
    listeners = [listener, *(another(listener) for _ in range(others))]
    at_work = {hire(one, new_session): one for one in listeners}
    while True:
        child, _ = os.wait()  # who ends is replaced
        time.sleep(common.RETRY_S)  # one that ends at once must not be all
        orphan = at_work.pop(child)
        at_work[hire(orphan, new_session)] = orphan


def another(listener: socket.socket) -> socket.socket:
    """One more socket that listens where this one does."""
    other = socket.socket(listener.family, listener.type, listener.proto)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    other.bind(listener.getsockname())
    other.listen(common.BACKLOG)
    return other


def hire(listener: socket.socket, new_session: Callable[[], Session]) -> int:
    while True:
        try:
            child = process.fork()
            break
        except OSError:  # no more processes now, or no memory for one
            time.sleep(common.RETRY_S)
    if not child:
        work(listener, new_session)
    return child


def work(listener: socket.socket, new_session: Callable[[], Session]) -> None:
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
