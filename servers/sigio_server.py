"""Sleep until a signal says that something new happened to some socket.

After:  epoll_et_server.py
Waits:  in sigwaitinfo(), for SIGIO.
Costs:  O(clients) system calls per wake-up, because the signal does not say
        who. A real-time signal would (F_SETSIG and si_fd, fcntl(2)), but
        Python leaves si_fd out; and of those only so many are kept. When
        there are more (RLIMIT_SIGPENDING) the kernel sends SIGIO instead, and
        everybody has to be asked after all. So nobody uses it: epoll keeps a
        list that cannot overflow, and names them.
Breaks: slower with every client, as nonblocking; it only sleeps in between.
            python -m loadgen run --server sigio --connections 8 --idle 1000
            python -m loadgen run --server epoll --connections 8 --idle 1000
"""

import fcntl
import os
import signal
import socket
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session

# Receives and sends for one client before the others have their turn.
TURNS = 32


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    # Blocked, it waits until it is asked for, and so none is missed between
    # the last look at a socket and the wait. However often it comes, it is
    # remembered once: one may stand for many.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    watch(listener)
    listener.setblocking(False)
    accepting = True
    unfinished = True  # they may have come before anybody watched
    silence = timeouts.silence(by_turns=True)

    while True:
        timeout_s = None if accepting else common.RETRY_S
        if silence:
            timeout_s = silence.wait_s(timeout_s)
        if unfinished:
            pass
        elif timeout_s is None:
            signal.sigwaitinfo({signal.SIGIO})
        else:
            signal.sigtimedwait({signal.SIGIO}, timeout_s)
        # Something happened, and that is all there is to know.
        unfinished = False
        if silence:
            silence.due()
        for fd, (sock, session) in list(clients.items()):
            if not converse(sock, session) or (
                silence and silence.linger(sock, session)
            ):
                unfinished = True
            elif not session.wants_read and not session.wants_write:
                del clients[fd]
                common.hang_up(sock)

        arrived, accepting = accept(listener)
        for sock in arrived:
            unfinished = True  # they may have spoken before they were watched
            try:
                watch(sock)
            except OSError:  # no memory for one more
                common.refuse(sock)
                continue
            session = new_session()
            clients[sock.fileno()] = sock, session
            if silence:
                silence.welcome(sock, session)


def watch(sock: socket.socket) -> None:
    """Have SIGIO sent to us whenever something happens to this socket."""
    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(sock, fcntl.F_GETFL)
    fcntl.fcntl(sock, fcntl.F_SETFL, flags | os.O_ASYNC)


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


def converse(sock: socket.socket, session: Session) -> bool:
    """As with a thread of its own, until it would have to wait; False when
    it was cut off before."""
    try:
        for _ in range(TURNS):
            if session.wants_write:
                session.sent(sock.send(session.outgoing))
            elif session.wants_read:
                session.receive(sock.recv(common.RECEIVE_BYTES))
            else:
                break
        else:
            return False
    except BlockingIOError:
        pass  # an edge will tell when there is more
    except (OSError, MemoryError):
        session.abort()
    return True


if __name__ == "__main__":
    common.main(serve)
