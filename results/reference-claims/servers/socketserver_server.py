r"""Let the standard library's framework give every client a thread.

After:  threaded_server.py
Waits:  in poll() for newcomers, and in recv() and send(), in every thread.
Costs:  as threaded, and a few Python calls and an object per connection.
Breaks: as threaded. As it comes, without what is set and overridden here, it
        also wakes up twice a second while idle (poll_interval), lets five
        clients wait (request_queue_size), and uses a whole core when
        descriptors run out:
            ulimit -n 64; sed 's/def get_request/def unused/' \
                servers/socketserver_server.py | python - --port 8000 &
            top -p $!
            python -m loadgen run --connect 127.0.0.1:8000 --connections 100 \
                --duration 5
"""

import socket
import socketserver
import time
from collections.abc import Callable
from typing import Any

from servers import common, timeouts
from servers.protocol import Session


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    class Conversation(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            converse(self.request, new_session())

    with Server(
        listener.getsockname(), Conversation, bind_and_activate=False
    ) as server:
        server.socket.close()
        server.socket = listener
        server.serve_forever(poll_interval=None)  # type: ignore[arg-type]


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return self.socket.accept()
        except OSError as error:
            if common.exhausted(error):
                time.sleep(common.RETRY_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # "can't start new thread"
            common.refuse(request)


def converse(sock: socket.socket, session: Session) -> None:
    sock.settimeout(timeouts.IDLE_TIMEOUT_S)
    while session.wants_read or session.wants_write:
        if session.wants_write:
            write(sock, session)
        else:
            read(sock, session)
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
