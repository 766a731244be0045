"""Let the standard library's framework give every client a thread.

After:  threaded_server.py
Waits:  in poll() for newcomers, and in recv() and send(), in every thread.
Costs:  as threaded, and a few Python calls and an object per connection.
Breaks: as threaded; and as it comes, without what is overridden here, it
        spins when descriptors run out, wakes up twice a second while idle,
        and has a backlog of 5.
            ulimit -n 64; python -m servers socketserver --port 8000
            python -m loadgen run --connect 127.0.0.1:8000 --connections 100
"""

import socket
import socketserver
import time
from collections.abc import Callable
from typing import Any

from servers import common
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

    def shutdown_request(self, request: Any) -> None:
        common.hang_up(request)


def converse(sock: socket.socket, session: Session) -> None:
    while session.wants_read or session.wants_write:
        if session.wants_write:
            write(sock, session)
        else:
            read(sock, session)
    common.hang_up(sock)


def read(sock: socket.socket, session: Session) -> None:
    try:
        session.receive(sock.recv(common.RECEIVE_BYTES))
    except (OSError, MemoryError):
        session.abort()


def write(sock: socket.socket, session: Session) -> None:
    try:
        session.sent(sock.send(session.outgoing))
    except (OSError, MemoryError):
        session.abort()


if __name__ == "__main__":
    common.main(serve)
