"""Clients that are connected and not measured: silent ones, and those that harm the others.

They live in processes of their own, so that the descriptor limit of one process is not the limit
of the experiment, and come from many addresses of 127.0.0.0/8, so that neither are the ports of
one address pair (ip(7), ip_local_port_range).

    python -m loadgen.clients.crowd HOST PORT COUNT FIRST PATIENCE_S BEHAVIOUR

says `ready`, waits for a line, connects COUNT clients, prints one line of JSON when all of them
know where they stand, and keeps them until it is killed or its standard input closed. So what a
server and the kernel hold for the clients can be told from what they hold for the processes.
BEHAVIOUR says what the clients do once they were greeted:

    silent       nothing
    half_line    begin a line and never end it
    never_reads  send line after line until nothing more is accepted, and read no answer

Standard library only: it has to start fast.
"""

import errno
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, cast

Behaviour = Literal["silent", "half_line", "never_reads"]

GREETING = b"Welcome!\n"
PER_PROCESS = 10_000
PER_ADDRESS = 20_000
AT_ONCE = 256  # well below any backlog: nobody's SYN is dropped
PATIENCE_S = 5.0  # without any progress

HALF_LINE = b"half a line, and then"
# Long lines: the server's buffers are to be filled, not its CPU.
UNREAD = (b"x" * 4095 + b"\n") * 16
# tcp(7): what can wait to be read; small, so that the answers pile up in the server.
SMALL_RECEIVE_BYTES = 4096
# How long nothing is accepted of a client that never reads, before it counts as stuck.
STUCK_S = 0.3
# A server that accepts for ever has no back-pressure. That is for the tests to say, not for us.
STUFFING_S = 5.0


class Gathered(NamedTuple):
    """What became of a crowd; `sent_bytes` is what the server's side accepted from it."""

    greeted: int
    failed: dict[str, int]
    sent_bytes: int


class Crowd:
    """Processes that are ready to connect a share of the clients each."""

    def __init__(self) -> None:
        self._shares: list[tuple[subprocess.Popen[str], int]] = []

    def connect(self) -> Gathered:
        """Connect everybody, one process after the other; returns when all behave as they should,
        or have given up."""
        greeted, failed, sent_bytes = 0, Counter[str](), 0
        for process, share in self._shares:
            said = json.loads(_told(process) or NOTHING)
            missing = share - said["greeted"] - sum(said["failed"].values())
            greeted += said["greeted"]
            sent_bytes += said["sent_bytes"]
            failed.update(said["failed"])
            failed.update({"crowd process ended": missing} if missing else {})
        return Gathered(greeted, dict(failed), sent_bytes)

    def _start(self, arguments: list[str], share: int, cpus: set[int]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "loadgen.clients.crowd", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            # Ctrl-C in a terminal goes to our own group (setpgid(2)). We end them.
            process_group=0,
        )
        self._shares.append((process, share))
        os.sched_setaffinity(process.pid, cpus)

    def _await_ready(self) -> None:
        for process, _ in self._shares:
            assert process.stdout is not None
            process.stdout.readline()

    def _disperse(self) -> None:
        for process, _ in self._shares:
            process.kill()  # it may be connecting still, and its sockets are the kernel's business
        for process, _ in self._shares:
            process.communicate()


@contextmanager
def standing_by(
    address: tuple[str, int],
    count: int,
    *,
    cpus: set[int],
    behaviour: Behaviour = "silent",
    patience_s: float = PATIENCE_S,
) -> Iterator[Crowd]:
    """`count` clients around the block, who are there when it is entered and connect when told to.

    patience_s   how long they wait for a greeting without progress

    Raises OSError when a process cannot be started.
    """
    crowd = Crowd()
    try:
        for first in range(0, count, PER_PROCESS):
            share = min(PER_PROCESS, count - first)
            crowd._start([*map(str, (*address, share, first, patience_s)), behaviour], share, cpus)
        crowd._await_ready()
        yield crowd
    finally:
        crowd._disperse()


def _told(process: subprocess.Popen[str]) -> str:
    """Tell a process to connect its clients; returns its line of JSON, nothing if it has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()


NOTHING = '{"greeted": 0, "failed": {}, "sent_bytes": 0}'


def connect_all(
    host: str, port: int, count: int, first: int, patience_s: float, behaviour: Behaviour
) -> Gathered:
    """Connect and read the greeting, AT_ONCE clients at a time. The sockets stay open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    interest = select.epoll()
    waiting: dict[int, tuple[socket.socket, bytes]] = {}
    failed = Counter[str]()
    started = 0
    polite: list[socket.socket] = []
    deadline = time.monotonic() + patience_s
    while (started < count or waiting) and time.monotonic() < deadline:
        while started < count and len(waiting) < AT_ONCE:
            try:
                sock = _connecting(family, host, port, first + started, behaviour)
            except OSError as error:
                failed[_name(error)] += 1
            else:
                KEPT.append(sock)
                waiting[sock.fileno()] = sock, b""
                interest.register(sock, select.EPOLLIN)
            started += 1
        for fd, _ in interest.poll(0.1):
            sock, read = waiting[fd]
            try:
                piece = sock.recv(64)
            except BlockingIOError:
                continue
            except OSError as error:
                piece, reason = b"", _name(error)
            else:
                reason = "closed by the server" if not read else read.decode(errors="replace")
            read += piece
            waiting[fd] = sock, read
            deadline = time.monotonic() + patience_s
            if read != GREETING and piece:
                continue
            if read == GREETING:
                polite.append(sock)
            failed.update([reason.strip()] if read != GREETING else [])
            interest.unregister(fd)
            del waiting[fd]
    failed.update({"not greeted": len(waiting) + count - started})
    sent_bytes = 0
    if behaviour == "half_line":
        sent_bytes = sum(sock.send(HALF_LINE) for sock in polite)
    elif behaviour == "never_reads":
        sent_bytes = _stuff(polite)
    return Gathered(len(polite), dict(+failed), sent_bytes)


def _stuff(socks: list[socket.socket]) -> int:
    """Send until nobody's connection has accepted anything for STUCK_S; returns how many bytes."""
    sent_bytes = 0
    last_progress = time.monotonic()
    deadline = last_progress + STUFFING_S
    place = dict.fromkeys(socks, 0)
    with select.epoll() as writable:
        by_fd = {sock.fileno(): sock for sock in socks}
        for fd in by_fd:
            writable.register(fd, select.EPOLLOUT)
        while (now := time.monotonic()) < min(last_progress + STUCK_S, deadline):
            for fd, _ in writable.poll(STUCK_S):
                sock = by_fd[fd]
                try:
                    count = sock.send(UNREAD[place[sock] :])
                except BlockingIOError:
                    continue
                except OSError:
                    writable.unregister(fd)  # the server threw it out, which is its right
                    continue
                place[sock] = (place[sock] + count) % len(UNREAD)
                sent_bytes += count
                last_progress = now
    return sent_bytes


KEPT: list[socket.socket] = []


def _connecting(
    family: socket.AddressFamily, host: str, port: int, index: int, behaviour: Behaviour
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        if behaviour == "never_reads":
            # Before connecting: the window that is offered then depends on it (tcp(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_RECEIVE_BYTES)
        if host.startswith("127."):
            # ip(7): the port is then chosen in connect(), from all that this address pair has.
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.1.0.{1 + index // PER_ADDRESS}", 0))
        code = sock.connect_ex((host, port))
        if code != errno.EINPROGRESS and code:
            raise OSError(code, os.strerror(code))
    except OSError:
        sock.close()
        raise
    return sock


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown error")


def _say(line: str) -> None:
    try:
        os.write(sys.stdout.fileno(), f"{line}\n".encode())
    except BrokenPipeError:
        sys.exit()  # who started us was killed


def main() -> None:
    """The body of one process."""
    host, port, count, first, patience_s, behaviour = sys.argv[1:]
    _say("ready")
    if not sys.stdin.readline():
        return  # not needed after all
    outcome = connect_all(
        host, int(port), int(count), int(first), float(patience_s), cast(Behaviour, behaviour)
    )
    _say(json.dumps(outcome._asdict()))
    sys.stdin.read()


if __name__ == "__main__":
    main()
