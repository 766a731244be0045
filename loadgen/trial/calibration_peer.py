"""The leanest peer there is, for `calibrate`: compiled, one CPU, epoll_wait, recv and send.

    python -m loadgen.trial.calibration_peer POLL_MS

It knows no more of the protocol than one whole line per receive.
"""

import select
import socket
import sys
import threading

import numpy as np

from loadgen.engine.syscalls import (
    EPOLL_DATA_WORD,
    EPOLL_EVENT_WORDS,
    MSG_NOSIGNAL,
    Bytes,
    Int32s,
    Int64s,
    close,
    compiled,
    epoll_wait,
    recv,
    send,
)
from loadgen.workload.dialogue import GREETING, PREFIX

_EVENTS = 64
_RECEIVE_BYTES = 65_536
_NEWLINE, _MARK = ord("\n"), ord("!")


@compiled
def _respond(
    epoll: int, timeout_ms: int, events: Int32s, text: Bytes, start: int, stop: Int64s
) -> None:
    """Answer until told to stop. `text` begins with `start` bytes that every answer begins with."""
    while stop[0] == 0:
        for event in range(epoll_wait(epoll, events.ctypes.data, _EVENTS, timeout_ms)):
            fd = events[event * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD]
            count = recv(fd, text.ctypes.data + start, _RECEIVE_BYTES, 0)
            if count <= 0:
                close(fd)
                continue
            text[start + count - 1] = _MARK
            text[start + count] = _NEWLINE
            send(fd, text.ctypes.data, start + count + 1, MSG_NOSIGNAL)


def main() -> None:
    """The peer, until it is terminated."""
    prefix = np.frombuffer(PREFIX, np.uint8)
    text = np.zeros(len(prefix) + _RECEIVE_BYTES + 1, np.uint8)
    text[: len(prefix)] = prefix
    events = np.zeros(_EVENTS * EPOLL_EVENT_WORDS, np.int32)
    interest = select.epoll()
    arguments = interest.fileno(), int(sys.argv[1]), events, text, len(prefix)
    _respond(*arguments, np.ones(1, np.int64))  # compiles it, before anybody waits
    respond = threading.Thread(
        target=_respond, args=(*arguments, np.zeros(1, np.int64)), daemon=True
    )
    respond.start()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            sock, _ = listener.accept()
            interest.register(sock, select.EPOLLIN)  # who was greeted is answered
            sock.sendall(GREETING)
            sock.detach()


if __name__ == "__main__":
    main()
