"""The program that some background clients live in: silent ones, and those that harm the others.

    python -m loadgen.clients.background_process ADDRESS COUNT FIRST PATIENCE_S BEHAVIOUR PROTOCOL

says `ready`, waits for a line, connects COUNT clients, prints one line of JSON when it is known of
each of them whether it was greeted, and keeps them until it is killed or its standard input closed.
So what a server and the kernel hold for the clients can be told from what they hold for the
processes. The clients come from many addresses of 127.0.0.0/8, so that the ports of one address
pair are no limit (ip(7), ip_local_port_range); FIRST is how many clients other processes have.
Over HTTP nobody is greeted: there, who is connected counts as greeted. BEHAVIOUR says what the
clients do then:

    silent       nothing
    half_line    begin a line and never end it
    never_reads  send line after line until nothing more is accepted, and read no answer

It has to start fast, and so loads nothing but the standard library.
"""

import errno
import json
import os
import resource
import select
import socket
import sys
import time
from collections import Counter
from typing import Literal, NamedTuple, cast

from loadgen.target.address import Address
from loadgen.workload.load import Protocol

Behaviour = Literal["silent", "half_line", "never_reads"]

GREETING = b"Welcome!\n"
PER_ADDRESS = 20_000
AT_ONCE = 256  # well below any backlog: no SYN is dropped

HALF_LINE = b"half a line, and then"
# Long lines: the server's buffers are to be filled, not its CPU.
UNREAD = (b"x" * 4095 + b"\n") * 16
# tcp(7): what can wait to be read; small, so that the answers pile up in the server.
SMALL_RECEIVE_BYTES = 4096
# How long nothing is accepted of a client that never reads, before it counts as stuck.
STUCK_S = 0.15
# A server that accepts for ever has no back-pressure. That is for the tests to say, not for us.
FILLING_S = 5.0


class ConnectResult(NamedTuple):
    """What became of background clients.

    greeted      how many were greeted
    failed       how many were not, by reason
    sent_bytes   what the server's side accepted from them
    """

    greeted: int
    failed: dict[str, int]
    sent_bytes: int


def connect_all(
    address: Address,
    count: int,
    first: int,
    patience_s: float,
    behaviour: Behaviour,
    protocol: Protocol = "hello",
) -> tuple[list[socket.socket], list[socket.socket], dict[str, int]]:
    """Connect clients and read their greetings, AT_ONCE of them at a time.

    The parameters are those of the command line.

    Returns all sockets that were opened, those that were greeted, and how many failed by reason.
    """
    socks: list[socket.socket] = []
    greeted: list[socket.socket] = []
    failed = Counter[str]()
    waiting: dict[int, tuple[socket.socket, bytes]] = {}
    started = 0
    ready = select.EPOLLIN if protocol == "hello" else select.EPOLLOUT
    deadline = time.monotonic() + patience_s
    with select.epoll() as interest:
        while (started < count or waiting) and time.monotonic() < deadline:
            while started < count and len(waiting) < AT_ONCE:
                try:
                    sock = _connecting(address, first + started, behaviour)
                except OSError as error:
                    failed[_name(error)] += 1
                else:
                    socks.append(sock)
                    waiting[sock.fileno()] = sock, b""
                    interest.register(sock, ready)
                started += 1
            for fd, _ in interest.poll(0.1):
                sock, heard = waiting[fd]
                try:
                    # Over HTTP the first event says that it is connected, or why it is not.
                    piece = sock.recv(64) if protocol == "hello" else _connected(sock)
                except BlockingIOError:
                    continue
                except OSError as error:
                    piece, reason = b"", _name(error)
                else:
                    reason = "closed by the server" if not heard else heard.decode(errors="replace")
                heard += piece
                waiting[fd] = sock, heard
                deadline = time.monotonic() + patience_s
                if heard == GREETING:
                    greeted.append(sock)
                elif piece:
                    continue
                else:
                    failed[reason.strip()] += 1
                interest.unregister(fd)
                del waiting[fd]
    failed.update({"not greeted": len(waiting) + count - started})
    return socks, greeted, dict(+failed)


def behave(socks: list[socket.socket], behaviour: Behaviour) -> int:
    """Have greeted clients do what they are there for; returns how many bytes were accepted."""
    if behaviour == "half_line":
        return sum(sock.send(HALF_LINE) for sock in socks)
    if behaviour == "never_reads":
        return _fill(socks)
    return 0


def _fill(socks: list[socket.socket]) -> int:
    """Send until nothing was accepted on any connection for STUCK_S; returns how many bytes."""
    sent_bytes = 0
    last_progress = time.monotonic()
    deadline = last_progress + FILLING_S
    position = dict.fromkeys(socks, 0)
    with select.epoll() as writable:
        by_fd = {sock.fileno(): sock for sock in socks}
        for fd in by_fd:
            writable.register(fd, select.EPOLLOUT)
        while (now := time.monotonic()) < min(last_progress + STUCK_S, deadline):
            for fd, _ in writable.poll(STUCK_S):
                sock = by_fd[fd]
                try:
                    count = sock.send(UNREAD[position[sock] :])
                except BlockingIOError:
                    continue
                except OSError:
                    writable.unregister(fd)  # the server threw it out, which is its right
                    continue
                position[sock] = (position[sock] + count) % len(UNREAD)
                sent_bytes += count
                last_progress = now
    return sent_bytes


def _connecting(address: Address, number: int, behaviour: Behaviour) -> socket.socket:
    """A socket that is being connected, for the client of this number. Raises OSError."""
    sock = socket.socket(address.family)
    sock.setblocking(False)
    try:
        if behaviour == "never_reads":
            # Before connecting: the window that is offered then depends on it (tcp(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_RECEIVE_BYTES)
        if address.host.startswith("127."):
            # ip(7): the port is then chosen in connect(), from all that this address pair has.
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.1.0.{1 + number // PER_ADDRESS}", 0))
        code = sock.connect_ex(address.sockaddr)
        if code != errno.EINPROGRESS and code:
            raise OSError(code, os.strerror(code))
    except OSError:
        sock.close()
        raise
    return sock


def _connected(sock: socket.socket) -> bytes:
    """What counts as its greeting, now that something has happened to it. Raises OSError."""
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))
    return GREETING


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown error")


def _say(line: str) -> None:
    try:
        os.write(sys.stdout.fileno(), f"{line}\n".encode())
    except BrokenPipeError:
        sys.exit()  # who started us was killed


def main() -> None:
    """The body of one process."""
    where, count, first, patience_s, word, spoken = sys.argv[1:]
    address = Address.parse(where)
    behaviour, protocol = cast(Behaviour, word), cast(Protocol, spoken)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _say("ready")
    if not sys.stdin.readline():
        return  # not needed after all
    socks, greeted, failed = connect_all(
        address, int(count), int(first), float(patience_s), behaviour, protocol
    )
    sent_bytes = behave(greeted, behaviour)
    _say(json.dumps(ConnectResult(len(greeted), failed, sent_bytes)._asdict()))
    sys.stdin.read()
    for sock in socks:  # they have to stay open until here, those that were not greeted too
        sock.close()


if __name__ == "__main__":
    main()
