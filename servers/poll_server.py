"""Hand the kernel an array of all sockets, and get the events back.

After:  select_server.py
Waits:  in poll(), for all clients at once.
Costs:  O(clients) per call, however few of them are ready.
Breaks: by getting slower with every client that is merely connected.
            python -m loadgen bench --experiments idle --servers poll,epoll
"""

import select
import socket
import time
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    interest = select.poll()
    interest.register(listener, select.POLLIN)
    listener.setblocking(False)
    accepting = True
    silence = timeouts.silence()

    while True:
        arrivals = not accepting
        timeout_s = None if accepting else common.RETRY_S
        if silence:
            timeout_s = silence.wait_s(timeout_s)
        # The whole list is handed over at every call, and the kernel looks at
        # every socket in it, ready or not.
        try:
            ready = interest.poll(timeout_s and 1000 * timeout_s)
        except OSError:
            # More sockets than `ulimit -n`, which fell (poll(2), EINVAL). So
            # ask each of them, as nonblocking_server.py does, now and then.
            time.sleep(common.RETRY_S)
            everybody = listener.fileno(), *clients
            ready = [(fd, select.POLLIN) for fd in everybody]
        if silence:
            ready += [(fd, 0) for fd in silence.due()]
        for fd, events in ready:
            if fd not in clients:
                arrivals = True
                continue
            sock, session = clients[fd]
            before = wanted(session)
            # Hang-ups and errors come unasked; the next read or write tells
            # what happened (poll(2)).
            if session.wants_read and events & ~select.POLLOUT:
                read(sock, session)
            if session.wants_write:
                write(sock, session)
            if silence:
                silence.linger(sock, session)
            after = wanted(session)
            if not after:
                del clients[fd]
                interest.unregister(fd)
                common.hang_up(sock)
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
                interest.register(sock, wanted(session))
                clients[sock.fileno()] = sock, session
                if silence:
                    silence.welcome(sock, session)
            if accepting != could:
                interest.modify(listener, select.POLLIN if accepting else 0)


def wanted(session: Session) -> int:
    return (session.wants_read and select.POLLIN) | (
        session.wants_write and select.POLLOUT
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
