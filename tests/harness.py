"""A server in a process of its own, and clients that never wait for ever.

The tests know a server by its line in the catalog and by its command line. What they wait for is
always a condition with a deadline, never a length of time. The one exception is the proof that
something does *not* happen: it watches for a stretch (`QUIET_S`), and a slow machine can only make
such a test miss a defect, never report one that is not there.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import planting
import pytest

from servers.catalog import Model
from servers.protocol import GREETING, MAX_LINE_BYTES

ROOT = Path(__file__).resolve().parent.parent

# How long nothing must happen before a test believes that nothing will: several naps, because a
# virtual machine that is held for a while wakes up from all of it at once, and what should have
# happened meanwhile happens in the next nap.
QUIET_NAPS = 5
NAP_S = 0.05
QUIET_S = QUIET_NAPS * NAP_S

# A receive buffer this small (socket(7): the kernel doubles it) fills at once, so that the
# server meets a client that takes nothing more after a few kilobytes and not after megabytes.
TINY_BUFFER_BYTES = 4_096

# What the sender of a Unix socket may have on the way (unix(7): there is no other buffer).
UNIX_BUFFER_BYTES = 1_048_576

# How long a server may take to start. Not the deadline of the tests, which is short for mutants: an
# interpreter that starts on a busy machine has done nothing wrong.
START_S = 30.0

# What a stopped process may take to be gone. The contract, not a deadline of the tests.
STOP_S = 1.0

PIDFD_GETFD = 438  # the same number on every machine (asm-generic/unistd.h)

TOO_MANY = b"Error: too many connections\n"
TOO_LONG = b"Error: line longer than %d bytes\n"

Limits = Mapping[int, int]  # resource.RLIMIT_* => soft limit of the server


@dataclass
class Settings:
    """What the command line of pytest says about the servers under test.

    command     how a server is started; {python} and {name} are filled in
    deadline_s  how long a condition may take to come true
    """

    command: str = "{python} -m servers {name}"
    deadline_s: float = 30.0


settings = Settings()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as `condition()` is true; AssertionError past the deadline.

    Polling is how one waits for what no descriptor announces (an entry in /proc).
    """
    deadline = time.monotonic() + settings.deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"after {settings.deadline_s} s still not: {what}"
        select.poll().poll(1)


def stretch() -> None:
    """Let time pass to see what a server does with it."""
    for _ in range(QUIET_NAPS):
        select.poll().poll(1000 * NAP_S)


@contextmanager
def held_port() -> Iterator[int]:
    """A port that a server may listen on, and that nobody else is given meanwhile.

    Bound but not listening, with SO_REUSEADDR on both sides (socket(7)): so nobody is there yet,
    and the kernel chooses another one for whoever asks for any port.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def wait_for(sock: socket.socket, events: int, timeout_s: float | None = None) -> bool:
    """Has one of `events` (select.POLL*) come before the time is up? poll() because the tests
    hold more descriptors than select() can name."""
    poller = select.poll()
    poller.register(sock, events)
    return bool(poller.poll(1000 * (settings.deadline_s if timeout_s is None else timeout_s)))


def comes_soon(sock: socket.socket, events: int) -> bool:
    """Does one of `events` (select.POLL*) come within a stretch?"""
    return any(wait_for(sock, events, NAP_S) for _ in range(QUIET_NAPS))


def expect_said(said: bytes, owed: bytes) -> None:
    """That a server said what it owed, to the byte; else where it first differs.

    For long streams: where the environment says CI, pytest explains a comparison of bytes with
    all of their differences (library: pytest, truncation of explanations), and for eight
    megabytes it had not done so within the 120 s that a test has.
    """
    if said != owed:
        shorter = min(len(said), len(owed))
        at = next((at for at in range(shorter) if said[at] != owed[at]), shorter)
        pytest.fail(
            f"said {len(said):,} bytes and owed {len(owed):,}; from byte {at:,} on it said "
            f"{said[at : at + 60]!r} and owed {owed[at : at + 60]!r}"
        )


def answers_to(stream: bytes, limit_bytes: int = MAX_LINE_BYTES) -> bytes:
    """All that a server has to say to a client that sends `stream` and then ends.

    The oracle of the tests: written from the protocol's description, one byte after the other,
    and sharing nothing with the servers' own implementation.
    """
    said = bytearray(GREETING)
    line = bytearray()
    for byte in stream:
        if byte != ord("\n"):
            line.append(byte)
            if len(line) > limit_bytes:
                return bytes(said) + TOO_LONG % limit_bytes
            continue
        if line and line[-1] == ord("\r"):
            line.pop()
        if line == b"exit":
            break
        said += b"Hello, " + line + b"!\n"
        line.clear()
    return bytes(said)


class Client:
    """A connection whose every wait has the deadline of the tests.

    address         where the server listens: host and port, or the path of a Unix socket
    receive_buffer_bytes  SO_RCVBUF, set before connecting, because the window that the server
                    sees is fixed by then (tcp(7))
    """

    def __init__(
        self, address: tuple[str, int] | str, receive_buffer_bytes: int | None = None
    ) -> None:
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # What is not taken is kept by the sender: as much as TCP's both ends would.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_BUFFER_BYTES)
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(settings.deadline_s)
        if receive_buffer_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._read = bytearray()
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """This end's address and port."""
        host, port = self.sock.getsockname()[:2]
        return host, port

    @property
    def port(self) -> int:
        """This end's port; of a Unix socket its number here, as nobody else has that either."""
        if self.sock.family == socket.AF_UNIX:
            return self.sock.fileno()
        return self.address[1]

    def send(self, data: bytes) -> None:
        """Send all of it, or fail at the deadline."""
        self.sock.sendall(data)

    def line(self) -> bytes:
        """The next line with its newline; what there was, if the stream ends before."""
        while b"\n" not in self._read:
            data = self.sock.recv(65_536)
            if not data:
                rest = bytes(self._read)
                self._read.clear()
                return rest
            self._read += data
        end = self._read.index(b"\n") + 1
        line = bytes(self._read[:end])
        del self._read[:end]
        return line

    def ask(self, line: bytes) -> bytes:
        """The answer to one line."""
        self.send(line + b"\n")
        return self.line()

    def exactly(self, count: int) -> bytes:
        """So many bytes; what there was, if the stream ends before."""
        while len(self._read) < count and (data := self.sock.recv(65_536)):
            self._read += data
        data = bytes(self._read[:count])
        del self._read[:count]
        return data

    def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        while data := self.sock.recv(65_536):
            self._read += data
        rest = bytes(self._read)
        self._read.clear()
        return rest

    def half_close(self) -> None:
        """Say that nothing more will be sent; go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def converse(self, stream: bytes, turn: Callable[[], None] = lambda: None) -> bytes:
        """Send `stream`, then the end, and read at the same time: everything the server said.

        turn  called whenever it has received and sent what it could
        """
        unsent = memoryview(stream)
        sending = True
        self.sock.setblocking(False)
        try:
            while True:
                wanted = select.POLLIN | (select.POLLOUT if sending else 0)
                assert wait_for(self.sock, wanted), "neither readable nor writable any more"
                try:
                    data = self.sock.recv(65_536)
                except BlockingIOError:
                    pass
                except ConnectionResetError:
                    break  # it closed while there was more to send
                else:
                    if not data:
                        break
                    self._read += data
                if sending:
                    try:
                        unsent = unsent[self.sock.send(unsent[:65_536]) :]
                        if not unsent:
                            self.half_close()
                            sending = False
                    except BlockingIOError:
                        pass
                    except OSError:
                        sending = False  # it has closed; what it said may still be read
                turn()
        finally:
            self.sock.settimeout(settings.deadline_s)
        said = bytes(self._read)
        self._read.clear()
        return said

    def pour(self, stream: bytes) -> int:
        """Send without reading until nothing more is accepted: how much was."""
        self.sock.setblocking(False)
        accepted = 0
        try:
            while accepted < len(stream) and comes_soon(self.sock, select.POLLOUT):
                with suppress(BlockingIOError):
                    accepted += self.sock.send(stream[accepted : accepted + 65_536])
        finally:
            self.sock.settimeout(settings.deadline_s)
        return accepted

    def is_silent(self) -> bool:
        """Does nothing come in for a stretch?"""
        return not self._read and not comes_soon(self.sock, select.POLLIN)

    def reset(self) -> None:
        """Vanish: the other side gets a reset and not an end of file (socket(7), SO_LINGER)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        """Leave."""
        self.sock.close()


@dataclass
class Server:
    """A running server, and what can be seen of it from outside."""

    process: subprocess.Popen[bytes]
    errors: Path
    address: tuple[str, int] = ("", 0)
    path: str | None = None
    ready_line: bytes = b""
    clients: list[Client] = field(default_factory=list)
    planter: planting.Planter | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def connect(self, receive_buffer_bytes: int | None = None) -> Client:
        """A new client; closed at the end of the test at the latest."""
        client = Client(self.path or self.address, receive_buffer_bytes)
        self.clients.append(client)
        return client

    def greeted(self, receive_buffer_bytes: int | None = None) -> Client:
        """A new client that has read its greeting."""
        client = self.connect(receive_buffer_bytes)
        assert client.line() == GREETING
        return client

    def pids(self) -> list[int]:
        """Its processes, its own first; those that have ended and are not buried are among them."""
        return sorted({self.pid, *members(self.pid)})

    def cpu_s(self) -> float:
        """CPU time of all its threads so far, exact to nanoseconds (clock_getcpuclockid(3)); of
        processes that have ended nothing."""
        used_s = 0.0
        for pid in self.pids():
            with suppress(OSError):  # it has ended
                used_s += time.clock_gettime((~pid << 3) | 2)
        return used_s

    def descriptors(self) -> list[list[int]]:
        """The open descriptors of each process."""
        return [sorted(map(int, listed(pid, "fd"))) for pid in self.pids()]

    def threads(self) -> list[int]:
        """How many threads each process has; none if it has ended and is not buried."""
        return [len(listed(pid, "task")) for pid in self.pids()]

    def resident_bytes(self) -> int:
        """Its resident memory; what processes share counts once (proc(5), smaps_rollup)."""
        kib = 0
        for pid in self.pids():
            with suppress(FileNotFoundError, ProcessLookupError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                kib += int(rollup.partition("\nPss:")[2].split()[0])
        return 1024 * kib

    def footprint(self) -> tuple[int, int, int]:
        """What clients that have gone must not leave behind: descriptors, threads, processes."""
        descriptors, threads = self.descriptors(), self.threads()
        return sum(map(len, descriptors)), sum(threads), len(threads)

    def row(self, client: Client) -> "Row | None":
        """Its socket for a client, while that is connected."""
        if self.path is not None:
            return unix_row(client.sock)
        return socket_row(self.address, client.address)

    def unread_bytes(self, client: Client) -> int | None:
        """What has come in from a client and has not been received by the server; None before
        it is connected."""
        row = self.row(client)
        return row and row.unread_bytes

    def kept_bytes(self, client: Client, sent: bytes, answers: Callable[[bytes], bytes]) -> int:
        """How much of its answers a server keeps itself: neither its kernel has them, nor the
        client's. Exact while nothing moves.

        sent  what the client has sent, though it may be on its way
        """
        mine, other = self.row(client), socket_row(client.address, self.address)
        assert mine is not None
        assert other is not None
        received = sent[: len(sent) - other.unsent_bytes - mine.unread_bytes]
        return len(answers(received)) - mine.unsent_bytes - other.unread_bytes

    def holder(self, client: Client) -> int | None:
        """Which of its processes serves a client; None if none does (any more, or yet)."""
        row = self.row(client)
        if row is None or not row.inode:
            return None  # it is in the backlog, or has gone
        for pid in reversed(self.pids()):  # a child before its parent, who may have it, too
            for number in listed(pid, "fd"):
                if link(pid, number) == f"socket:[{row.inode}]":
                    return pid
        return None

    def socket_of(self, client: Client) -> socket.socket:
        """Its socket for a client, as it has it: a copy of the descriptor (pidfd_getfd(2))."""
        row = self.row(client)
        assert row is not None
        pid = self.holder(client)
        assert pid is not None
        number = next(
            int(fd) for fd in listed(pid, "fd") if link(pid, fd) == f"socket:[{row.inode}]"
        )
        process = os.pidfd_open(pid)
        try:
            copy: int = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, number, 0)
        finally:
            os.close(process)
        if copy < 0:
            pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        return socket.socket(fileno=copy)

    def fail(
        self, what: str, error: int, client: Client | None = None, times: int | None = 1
    ) -> None:
        """From now on a system call of it fails: "accept", or "receive" or "send" for a client.

        times  so often; None until planter.lift()
        """
        assert self.planter is not None
        row = client and self.row(client)
        inodes = [row.inode] if row else listening_inodes(self.address[1])
        names = {f"socket:[{inode}]" for inode in inodes}
        self.planter.plant(
            error,
            lambda call: call.what == what and link(call.thread, call.descriptor) in names,
            times,
        )

    def expect_read(self, client: Client) -> None:
        """Wait until the server has received all that was sent to it so far."""
        wait_until(lambda: self.unread_bytes(client) == 0, "the server has read everything")

    def hand_over(self, client: Client, stream: bytes) -> None:
        """Make all of it come in before the server receives the first of it.

        The kernel gives the server room for more input than one receive returns only once much
        has been received (tcp(7), tcp_moderate_rcvbuf): so the client has to have said much.
        """
        self.pause()
        client.send(stream)
        wait_until(lambda: self.unread_bytes(client) == len(stream), "all of it has come in")
        self.resume()

    def wake_ups(self) -> int:
        """How often its threads have waited for something and got it (proc(5), status)."""
        count = 0
        for pid in self.pids():
            for thread in listed(pid, "task"):
                with suppress(FileNotFoundError, ProcessLookupError):
                    status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
                    count += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        return count

    def limit_descriptors(self, count: int) -> None:
        """Change `ulimit -n` of the running server, of each of its processes."""
        for pid in self.pids():
            limit(pid, resource.RLIMIT_NOFILE, count)

    def allow_no_more_descriptors(self) -> None:
        """Set `ulimit -n` to what each of its processes has."""
        for pid, open_now in zip(self.pids(), self.descriptors(), strict=True):
            limit(pid, resource.RLIMIT_NOFILE, max(open_now, default=-1) + 1)

    def limit_memory(self, spare_bytes: int) -> None:
        """Leave each of its processes that much more address space than it has (`ulimit -v`)."""
        for pid in self.pids():
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            limit(pid, resource.RLIMIT_AS, pages * resource.getpagesize() + spare_bytes)

    def pause(self) -> None:
        """Hold it, so that what happens meanwhile reaches it as one batch of events.

        Each thread stops by itself: one may still be receiving when the first has stopped.
        """

        def stopped() -> bool:
            for pid in self.pids():  # one may just have been born
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            return self.thread_states() == {"T"}

        wait_until(stopped, "the server is stopped")

    def thread_states(self) -> set[str]:
        """What its threads are doing, a letter for each state; see proc(5)."""
        states = set()
        for thread in [thread for pid in self.pids() for thread in listed(pid, "task")]:
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                states.add(process_state(int(thread)))
        return states

    def resume(self) -> None:
        """Let it go on."""
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Stop it and assert that it ended as the contract says."""
        assert self.process.poll() is None, (
            f"the server died with status {self.process.returncode}: {self.log()}"
        )
        self.process.send_signal(by)
        started = time.monotonic()
        try:
            status = self.process.wait(settings.deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{by.name} does not stop the server") from None
        took_s = time.monotonic() - started
        assert status == 0, f"exit status {status} on {by.name}: {self.log()}"
        assert took_s < STOP_S, f"took {took_s:.2f} s to stop"
        while members(self.pid, living=True):
            assert time.monotonic() - started < STOP_S, "it left processes behind"
        assert self.log() == "", f"it wrote to standard error: {self.log()}"
        assert self.process.stdout is not None
        assert self.process.stdout.read() == b"", "more on standard output than the ready line"

    def log(self) -> str:
        """What it wrote to standard error."""
        return self.errors.read_text(errors="replace")

    def discard(self) -> None:
        """Leave nothing running, whatever happened."""
        for client in self.clients:
            client.close()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        if self.planter is not None:
            self.planter.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.unlink()


def start(
    model: Model,
    *options: str,
    limits: Limits | None = None,
    path: Path = ROOT,
    planted: bool = False,
) -> Server:
    """Start the server under test on a free port (if no option says --unix) and wait for its ready
    line.

    limits   soft limits set in the server's process before it starts (setrlimit(2))
    path     a folder that a server in Python imports from before all others
    planted  let its system calls fail when the tests want it, see Server.faults
    """

    def restrict() -> None:
        for limit, value in (limits or {}).items():
            _, hard = resource.getrlimit(limit)
            resource.setrlimit(limit, (value, hard))

    handle, errors = tempfile.mkstemp(suffix=".log")
    ours, theirs = socket.socketpair()
    prefix = (sys.executable, "-S", planting.__file__, str(theirs.fileno())) if planted else ()
    process = subprocess.Popen(
        [*prefix, *command(model), *(() if "--unix" in options else ("--port", "0")), *options],
        cwd=ROOT,
        # A socket that is forgotten instead of closed is then reported on standard error.
        env={**os.environ, "PYTHONPATH": f"{path}:{ROOT}", "PYTHONWARNINGS": "always"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=handle,
        start_new_session=True,  # what it leaves behind is found by its session id
        preexec_fn=restrict if limits else None,
        pass_fds=[theirs.fileno()] if planted else [],
    )
    os.close(handle)
    theirs.close()
    server = Server(process, Path(errors))
    try:
        with ours:
            if planted:
                ours.settimeout(START_S)
                _, listeners, _, _ = socket.recv_fds(ours, 1, 1)
                server.planter = planting.Planter(*listeners)
        server.ready_line = ready_line(server)
        where = os.fsdecode(server.ready_line).removeprefix("listening on ").removesuffix("\n")
        if where.startswith("unix:"):
            server.path = where.removeprefix("unix:")
        else:
            host, _, port = where.rpartition(":")
            server.address = host.strip("[]"), int(port)
    except BaseException:
        server.discard()
        raise
    return server


def command(model: Model) -> list[str]:
    """The command that starts the server under test, without options."""
    text = settings.command.format(python=sys.executable, name=model.name)
    return text.split()


def ready_line(server: Server) -> bytes:
    """The first line on standard output."""
    assert server.process.stdout is not None
    stream = server.process.stdout.fileno()
    poller = select.poll()
    poller.register(stream, select.POLLIN)
    deadline = time.monotonic() + START_S
    line = b""
    while not line.endswith(b"\n"):
        assert poller.poll(max(0, 1000 * (deadline - time.monotonic()))), "no ready line"
        data = os.read(stream, 1)
        assert data, f"it ended before it was ready: {server.log()}"
        line += data
    return line


@dataclass(frozen=True)
class Row:
    """What the kernel says of a connected socket."""

    unread_bytes: int
    unsent_bytes: int
    inode: int


# sock_diag(7); linux/inet_diag.h: family, protocol, extensions, states, then the socket's ports and
# addresses, interface and cookie.
SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NETLINK_ERROR = 4, 20, 2
DIAG_HEADER = struct.Struct("=IHHII")
DIAG_REQUEST = struct.Struct("=BBBxI2s2s16s16sI8s")
DIAG_ANSWER = struct.Struct("=4x48x4xII4xI")  # unread, unsent, inode


def socket_row(end: tuple[str, int], peer: tuple[str, int]) -> Row | None:
    """The connected socket with these ends, if there is one.

    Asked for by name: /proc/net/tcp lists all of the machine's, which takes long after thousands.
    """
    v6 = ":" in end[0]
    family = socket.AF_INET6 if v6 else socket.AF_INET
    ports = [one[1].to_bytes(2, "big") for one in (end, peer)]
    addresses = [socket.inet_pton(family, one[0]).ljust(16, b"\0") for one in (end, peer)]
    request = DIAG_REQUEST.pack(
        family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF, *ports, *addresses, 0, b"\xff" * 8
    )
    header = DIAG_HEADER.pack(DIAG_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, 1, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as sock:
        sock.send(header + request)
        answer = sock.recv(65_536)
    if DIAG_HEADER.unpack_from(answer)[1] == NETLINK_ERROR:
        return None
    return Row(*DIAG_ANSWER.unpack_from(answer, DIAG_HEADER.size))


# linux/unix_diag.h: family, states, inode, what to show, cookie. The attributes that come back have
# a length and a kind each (netlink(7)).
UNIX_DIAG_REQUEST = struct.Struct("=BBxxIII8s")
SHOW_PEER, SHOW_QUEUES = 1 << 2, 1 << 4
PEER, QUEUES = 2, 4


def unix_row(sock: socket.socket) -> Row | None:
    """The other end of a connected Unix socket, once it has been accepted."""
    if wait_for(sock, select.POLLRDHUP, 0):
        return Row(0, 0, 0)  # it has closed
    peer = unix_attributes(os.fstat(sock.fileno()).st_ino, SHOW_PEER).get(PEER)
    inode = int.from_bytes(peer or b"", sys.byteorder)
    queues = unix_attributes(inode, SHOW_QUEUES).get(QUEUES) if inode else None
    return Row(*struct.unpack("=II", queues), inode) if queues else None


def unix_attributes(inode: int, show: int) -> dict[int, bytes]:
    """What sock_diag(7) shows of a Unix socket; nothing if there is none."""
    request = UNIX_DIAG_REQUEST.pack(socket.AF_UNIX, 0, 0xFFFFFFFF, inode, show, b"\xff" * 8)
    header = DIAG_HEADER.pack(DIAG_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, 1, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as netlink:
        netlink.send(header + request)
        answer = netlink.recv(65_536)
    if DIAG_HEADER.unpack_from(answer)[1] == NETLINK_ERROR:
        return {}
    rest, found = answer[DIAG_HEADER.size + 16 :], {}
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        found[kind] = rest[4:length]
        rest = rest[(length + 3) // 4 * 4 :]
    return found


def listening_inodes(port: int) -> list[int]:
    """The inodes of the sockets that listen on a port (proc(5), /proc/net/tcp: IPv4 only)."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    return [
        int(columns[9])
        for columns in rows
        if columns[1].endswith(f":{port:04X}") and columns[2].endswith(":0000")
    ]


def link(pid: int, fd: int | str) -> str:
    """What a descriptor of a process or thread is: "socket:[INODE]"; "" if it has gone."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""


def process_state(pid: int) -> str:
    """One letter, of a process or of one thread; see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def listed(pid: int, what: str) -> list[str]:
    """The entries of /proc/PID/`what`; none when the process has ended."""
    try:
        return os.listdir(f"/proc/{pid}/{what}")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def members(session: int, living: bool = False) -> list[int]:
    """Processes that belong to a session: those of a server, or what it left running.

    living  leave out those that have ended and that nobody has waited for
    """
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                columns = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(columns[3]) == session and not (living and columns[0] in "ZX"):
                    found.append(int(entry))
    return found


def limit(pid: int, what: int, value: int) -> None:
    """Change a soft limit of a running process, if it still runs."""
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, what)
        resource.prlimit(pid, what, (value, hard))


def allow_descriptors(count: int) -> bool:
    """Raise `ulimit -n` of the tests (and of what they start) to `count` if that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return count <= hard
