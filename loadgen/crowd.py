"""Clients that are connected and not measured: they fill the server's list of sockets.

They live in processes of their own, so that the descriptor limit of one process is not the limit
of the experiment, and come from many addresses of 127.0.0.0/8, so that neither are the ports of
one address pair (ip(7), ip_local_port_range).

    python -m loadgen.crowd HOST PORT COUNT FIRST

connects COUNT clients, prints one line of JSON when all of them know where they stand, and keeps
them until its standard input is closed. Standard library only: it has to start fast.
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

GREETING = b"Welcome!\n"
PER_PROCESS = 10_000
PER_ADDRESS = 20_000
AT_ONCE = 256  # well below any backlog: nobody's SYN is dropped
PATIENCE_S = 5.0  # without any progress


@contextmanager
def gathered(
    address: tuple[str, int], count: int, *, cpus: set[int]
) -> Iterator[tuple[int, dict[str, int]]]:
    """`count` silent clients around the block: how many were greeted, and what became of the rest.

    Raises OSError when a process cannot be started.
    """
    processes: list[subprocess.Popen[str]] = []
    greeted, failed = 0, Counter[str]()
    try:
        for first in range(0, count, PER_PROCESS):
            share = min(PER_PROCESS, count - first)
            arguments = [address[0], str(address[1]), str(share), str(first)]
            process = subprocess.Popen(
                [sys.executable, "-m", "loadgen.crowd", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            processes.append(process)
            os.sched_setaffinity(process.pid, cpus)
            assert process.stdout is not None
            said = json.loads(process.stdout.readline() or '{"greeted": 0, "failed": {}}')
            missing = share - said["greeted"] - sum(said["failed"].values())
            greeted += said["greeted"]
            failed.update(said["failed"])
            failed.update({"crowd process ended": missing} if missing else {})
        yield greeted, dict(failed)
    finally:
        for process in processes:
            process.communicate()


def connect_all(host: str, port: int, count: int, first: int) -> dict[str, object]:
    """Connect and read the greeting, AT_ONCE clients at a time. The sockets stay open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    interest = select.epoll()
    waiting: dict[int, tuple[socket.socket, bytes]] = {}
    failed = Counter[str]()
    greeted = started = 0
    deadline = time.monotonic() + PATIENCE_S
    while (started < count or waiting) and time.monotonic() < deadline:
        while started < count and len(waiting) < AT_ONCE:
            try:
                sock = _connecting(family, host, port, first + started)
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
            deadline = time.monotonic() + PATIENCE_S
            if read != GREETING and piece:
                continue
            greeted += read == GREETING
            failed.update([reason.strip()] if read != GREETING else [])
            interest.unregister(fd)
            del waiting[fd]
    failed.update({"not greeted": len(waiting) + count - started})
    return {"greeted": greeted, "failed": +failed}


KEPT: list[socket.socket] = []


def _connecting(family: socket.AddressFamily, host: str, port: int, index: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
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


def main() -> None:
    """The body of one process."""
    host, port, count, first = sys.argv[1:]
    print(json.dumps(connect_all(host, int(port), int(count), int(first))), flush=True)
    sys.stdin.read()
    os._exit(0)  # closing ten thousand sockets one by one is the kernel's business


if __name__ == "__main__":
    main()
