"""Both ends of a connection, for small programs."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Every wait of a program ends by then, on any machine (s).
PATIENCE_S = 20.0


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Who sends and who receives, over TCP on loopback, as tutorials have it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname(), PATIENCE_S)
        with sender:
            sender.settimeout(None)
            receiver, _ = listener.accept()
            with receiver:
                receiver.settimeout(PATIENCE_S)
                yield sender, receiver
