"""Give every client a greenlet: a thread that is switched where it waits.

After:  threaded_server.py
Waits:  in epoll_wait(), inside libev, for all greenlets at once.
Costs:  O(ready) per call, a small stack per client that is copied away, and
        two switches for every wait; a socket is tried before it waits.
Breaks: when one greenlet computes for long, or waits in a call that gevent
        knows nothing about: everybody waits for it. Without the patch below
        clients sleep one after the other, with it all at once:
            sed /patch_time/d servers/gevent_server.py |
                python - --port 8000 --work sleep:100ms
            python -m loadgen run --connect 127.0.0.1:8000 --connections 10
"""

import socket
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey
import gevent.server

from servers import common, timeouts
from servers.protocol import Session

# Sleeping becomes letting the others go on.
gevent.monkey.patch_time()

# Receives and sends after which a greenlet lets the others go on: as long as
# its socket is ready it would not.
TURNS = 8


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    def welcome(sock: socket.socket, _: Any) -> None:
        converse(sock, new_session())

    listener.setblocking(False)
    Server(listener, welcome).serve_forever()


class Server(gevent.server.StreamServer):  # type: ignore[misc]
    max_accept = common.ACCEPTS_PER_WAKE_UP

    def do_read(self) -> tuple[socket.socket, Any] | None:
        try:
            arrived: tuple[socket.socket, Any] | None = super().do_read()
        except OSError as error:
            if common.exhausted(error):
                self.stop_accepting()
                gevent.spawn_later(common.RETRY_S, self.start_accepting)
            return None
        return arrived


def converse(sock: socket.socket, session: Session) -> None:
    sock.settimeout(timeouts.IDLE_TIMEOUT_S)
    turns = 0
    while session.wants_read or session.wants_write:
        if session.wants_write:
            write(sock, session)
        else:
            read(sock, session)
        turns += 1
        if turns % TURNS == 0:
            gevent.sleep(0)
    if timeouts.IDLE_TIMEOUT_S is None:
        sock.setblocking(False)  # let it wait for nothing any more
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
