"""Start a fixed number of processes that share one listening socket.

After:  epoll_server.py
Waits:  in epoll_wait(), in every worker; whoever is woken accepts.
Costs:  O(ready) per call. A newcomer would wake every worker that sleeps, and
        all but one in vain: the thundering herd. EPOLLEXCLUSIVE lets the
        kernel stop at the first one that it could wake (epoll_ctl(2) promises
        "one or more"). The herd, as accept4() that fail:
            sed 's/ | select.EPOLLEXCLUSIVE//' servers/prefork_server.py |
                strace -fce accept4 python - --workers 8 --port 8000
            for i in {1..50}; do : </dev/tcp/127.0.0.1/8000; sleep .05; done
Breaks: nothing is shared, so nothing is balanced. The kernel asks the workers
        in the order in which they began to watch (fs/eventpoll.c): the first
        gets everybody who comes while it sleeps.
            python -m servers prefork --workers 4 --port 8000
            (for i in {1..64}; do exec {fd}<>/dev/tcp/127.0.0.1/8000; done
            ss -tnpH sport = :8000 | grep -o pid=.*, | sort | uniq -c)
"""

import os
import select
import socket
import time
from collections.abc import Callable

from servers import common, process, timeouts
from servers.protocol import Session


def serve(
    listener: socket.socket,
    new_session: Callable[[], Session],
    workers: int | None = None,
) -> None:
    for _ in range(workers or len(os.sched_getaffinity(0))):
        hire(listener, new_session)
    while True:
        os.wait()  # who ends is replaced
        time.sleep(common.RETRY_S)  # one that ends at once must not be all
        hire(listener, new_session)


def hire(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    while True:
        try:
            child = process.fork()
            break
        except OSError:  # no more processes now, or no memory for one
            time.sleep(common.RETRY_S)
    if not child:
        work(listener, new_session)


def work(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    interest = select.epoll()
    interest.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
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
            # What is exclusive cannot be modified (epoll_ctl(2), EINVAL).
            if could and not accepting:
                interest.unregister(listener)
            elif accepting and not could:
                try:
                    interest.register(
                        listener, select.EPOLLIN | select.EPOLLEXCLUSIVE
                    )
                except OSError:  # the list may be full (epoll_ctl(2))
                    accepting = False


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
