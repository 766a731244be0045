"""Hear of a socket only when something new happens to it, and then drain it.

After:  epoll_server.py
Waits:  in epoll_wait(), for all clients at once; edge-triggered: who became
        ready is named once, and not again for what was left undone.
Costs:  O(ready) per call, one call that fails with EAGAIN for each client
        named, and no change of interest ever. (A receive that fills less
        than was offered says "drained" as well, but leaves open whether
        there is an end of file behind it: epoll(7), EPOLLRDHUP.)
Breaks: without TURNS. A client that sends and takes as fast as the server
        never lets it see EAGAIN, and nobody else has a turn, newcomers
        neither:
            sed 's/^TURNS =.*/TURNS = 10**9/' servers/epoll_et_server.py |
                python - --port 8000
            exec 3<>/dev/tcp/127.0.0.1/8000; yes >&3 & cat <&3 >/dev/null &
            python -m servers client --port 8000
"""

import select
import socket
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session

# Receives and sends for one client before the others have their turn. Whoever
# is cut off there is not named again: the server has to remember it.
TURNS = 32


def serve(
    listener: socket.socket,
    new_session: Callable[[], Session],
    turns: int = TURNS,
) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    unfinished: set[int] = set()
    interest = select.epoll()
    # The listener stays level-triggered: newcomers who did not get in yet are
    # to be named again.
    interest.register(listener, select.EPOLLIN)
    listener.setblocking(False)
    accepting = True
    silence = timeouts.silence(by_turns=True)

    while True:
        arrivals = not accepting
        timeout_s = None if accepting else common.RETRY_S
        if silence:
            timeout_s = silence.wait_s(timeout_s)
        # Nobody waits for an edge who has not been drained since the last.
        events = interest.poll(0 if unfinished else timeout_s)
        ready = unfinished.union(fd for fd, _ in events)
        unfinished.clear()
        if silence:
            ready.update(silence.due())
        for fd in ready:
            if fd not in clients:
                arrivals = True
                continue
            sock, session = clients[fd]
            if not converse(sock, session, turns) or (
                silence and silence.linger(sock, session)
            ):
                unfinished.add(fd)
            elif not session.wants_read and not session.wants_write:
                del clients[fd]
                common.hang_up(sock)  # ends the interest too (epoll(7))

        # Newcomers come last: whoever is inside goes first. They may get the
        # descriptors of those who left. A batch names each descriptor once,
        # and clients leave at their own entry, so nobody is mixed up.
        if arrivals:
            could = accepting
            arrived, accepting = accept(listener)
            for sock in arrived:
                session = new_session()
                try:
                    # Once and for all. Who is ready by now is named at once.
                    interest.register(
                        sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
                    )
                except OSError:  # the list may be full (epoll_ctl(2))
                    common.refuse(sock)
                    continue
                clients[sock.fileno()] = sock, session
                if silence:
                    silence.welcome(sock, session)
            if accepting != could:
                interest.modify(listener, select.EPOLLIN if accepting else 0)


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


def converse(sock: socket.socket, session: Session, turns: int) -> bool:
    """As with a thread of its own, until it would have to wait; False when
    it was cut off before."""
    try:
        for _ in range(turns):
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
