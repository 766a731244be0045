"""Clients that only look on, at a listener that is a plain socket here."""

import socket
import struct

from loadgen.clients.onlookers import coming, state, states
from loadgen.target.address import Address

# How long what is due may take; what is not due is not waited for.
PATIENCE_S = 10.0
RESET = struct.pack("ii", 1, 0)  # close() sends one (socket(7), SO_LINGER)


def test_each_sees_what_the_server_does_to_it() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        coming(Address(*listener.getsockname()[:2]), 4) as socks,
    ):
        assert states(socks, 0.0) == {"waiting": 4}
        served = {peer: sock for sock, peer in (listener.accept() for _ in socks)}
        greeted, ended, reset, waiting = (served[sock.getsockname()] for sock in socks)
        greeted.send(b"hello")
        ended.close()
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        reset.close()

        assert states(socks[:3], PATIENCE_S) == {"greeted": 1, "broken": 2}
        assert [state(sock) for sock in socks] == ["greeted", "broken", "broken", "waiting"]
        assert states(socks[:1], PATIENCE_S) == {"greeted": 1}, "what was seen is not taken"
        greeted.close()
        waiting.close()
