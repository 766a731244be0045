r"""Let the standard library choose among select, poll and epoll.

After:  epoll_server.py
Waits:  in whatever selectors.DefaultSelector found: epoll_wait() on Linux,
        kqueue() on BSD and macOS.
Costs:  as what it found, and a named tuple for everybody who is ready. What
        only one of them can do (edges, EPOLLEXCLUSIVE) it cannot ask for.
Breaks: as what it found. The face is the same, the limits are not: on top of
        select() this very file dies of the first descriptor above 1,023.
            ulimit -n 4096; sed 's/DefaultSelector/SelectSelector/' \
                servers/selectors_server.py | python - --port 8000
            python -m loadgen run --connect 127.0.0.1:8000 --connections 1100
"""

import selectors
import socket
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    interest = selectors.DefaultSelector()
    interest.register(listener, selectors.EVENT_READ)
    listener.setblocking(False)
    accepting = True
    silence = timeouts.silence()

    while True:
        arrivals = not accepting
        timeout_s = None if accepting else common.RETRY_S
        if silence:
            timeout_s = silence.wait_s(timeout_s)
        # What was given to register() comes back with the socket: there is no
        # need for a dictionary of clients.
        ready = interest.select(timeout_s)
        if silence:
            ready += [(interest.get_key(fd), 0) for fd in silence.due()]
        for key, events in ready:
            if key.data is None:
                arrivals = True
                continue
            sock, session = key.data
            before = wanted(session)
            # Hang-ups and errors come as whatever was asked for; the next
            # read or write tells what happened.
            if session.wants_read and events & selectors.EVENT_READ:
                read(sock, session)
            if session.wants_write:
                write(sock, session)
            if silence:
                silence.linger(sock, session)
            after = wanted(session)
            if not after:
                interest.unregister(sock)
                common.hang_up(sock)
            elif after != before:
                interest.modify(sock, after, key.data)

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
                    interest.register(sock, wanted(session), (sock, session))
                except OSError:  # the list may be full (epoll_ctl(2))
                    common.refuse(sock)
                    continue
                if silence:
                    silence.welcome(sock, session)
            if accepting != could:
                # Somebody who is asked nothing has no place in it (events
                # must not be 0); no listener is ever ready to be written to.
                interest.modify(
                    listener,
                    selectors.EVENT_READ
                    if accepting
                    else selectors.EVENT_WRITE,
                )


def wanted(session: Session) -> int:
    return (session.wants_read and selectors.EVENT_READ) | (
        session.wants_write and selectors.EVENT_WRITE
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
