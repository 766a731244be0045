"""What is the same in every server and not the lesson.

The command line, the listening socket, the socket policy, the ready line and
stopping. The policy moves numbers more than the I/O model does, so it stands
here once, for all of them.
"""

import argparse
import errno
import functools
import inspect
import os
import re
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from servers.protocol import MAX_LINE_BYTES, Session, hello

Serve = Callable[..., object]

# CPython allocates this much for every recv() and then gives back what was
# not used. Beyond glibc's mmap threshold (128 KiB, mallopt(3)) each of them
# would be an mmap and page faults. `--receive-bytes` sets it.
RECEIVE_BYTES = 65_536

# Clients that may wait to be accepted. The kernel caps it at
# net.core.somaxconn (listen(2)); too small a value drops connections.
BACKLOG = 4_096

# New clients per wake-up, so that a rush of them cannot starve the others.
ACCEPTS_PER_WAKE_UP = 64

# How long a server that ran out of descriptors waits before it tries again.
RETRY_S = 0.1

# Receives thrown away by finish() at most: 1 MiB, because a client that
# sends without end must not hold up the others.
DISCARDS = 16

# Of `serve`, besides the listener and the sessions, where it takes them.
PARAMETERS = {
    "workers": "threads or processes that share the clients",
    "turns": "receives and sends for one client in a row",
}

TOO_MANY = b"Error: too many connections\n"

# accept(2): out of descriptors or memory, whoever comes next. EAGAIN says that
# nobody has come, and EPERM that a firewall is in the way. Every other error
# concerns one client, whose connection broke before it was accepted.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def listen(host: str, port: int, reuse_port: bool = False) -> socket.socket:
    """A listening TCP socket with the policy all servers share.

    Raises OSError: name unknown, address not ours, port taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
        # Accepted sockets inherit it (Linux: tcp_create_openreq_child), which
        # saves a system call per client. Without it an answer may wait for
        # the acknowledgement of the one before (RFC 896, Nagle).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def exhausted(error: OSError) -> bool:
    """Did accept() fail for want of descriptors or memory?"""
    return error.errno in EXHAUSTED


def refuse(sock: socket.socket) -> None:
    """Tell a client that there is no room for it, and close."""
    try:
        sock.send(TOO_MANY)
    except OSError:
        pass  # it has left by itself
    hang_up(sock)


def hang_up(sock: socket.socket) -> None:
    """Close in such a way that the last answers still arrive."""
    finish(sock)
    sock.close()


def finish(sock: socket.socket) -> None:
    """Make ready to close.

    close() with unread input sends a reset (RFC 1122, 4.2.2.13), and then the
    answers that the client's kernel has not taken yet are lost. (What it has
    taken can still be read, on Linux.) So finish the sending side, throw away
    what has come in, then close. What comes in later is answered by a reset
    all the same, at the same price. Only waiting for the client's end of file
    would prevent that (RFC 9112, 9.6), and nobody waits here for one client.
    """
    try:
        sock.shutdown(socket.SHUT_WR)
        for _ in range(DISCARDS):
            if not sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT):
                break
    except (OSError, MemoryError):
        pass  # nothing (more) has come in, or it cannot be received


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every server understands."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=0,
        help="port to listen on; 0, the default, lets the kernel choose",
    )
    parser.add_argument(
        "--work",
        type=work,
        default=hello,
        metavar="KIND:TIME",
        help="cost of an answer: cpu:100us or sleep:10ms (default: none)",
    )
    parser.add_argument(
        "--max-line",
        type=line_limit,
        default=MAX_LINE_BYTES,
        metavar="BYTES",
        help="a longer line, \\r included, is an error (default: %(default)s)",
    )
    parser.add_argument(
        "--receive-bytes",
        type=receive_size,
        default=RECEIVE_BYTES,
        metavar="BYTES",
        help="received at once, at most (default: %(default)s); what a"
        " framework receives by itself is its own affair",
    )


def add_parameters(parser: argparse.ArgumentParser, names: set[str]) -> None:
    """Add the options that only some servers understand: those of PARAMETERS
    that are among `names`."""
    for name, meaning in PARAMETERS.items():
        if name in names:
            parser.add_argument(
                f"--{name}",
                type=small_number,
                metavar="N",
                help=f"{meaning} (default: see the file)",
            )


def small_number(text: str) -> int:
    """An argparse type: 1 to 1,000."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 1000")
    return int(text)


def receive_size(text: str) -> int:
    """An argparse type: 1 byte to 16 MiB."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 2**24:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to {2**24} bytes")
    return int(text)


def port_number(text: str) -> int:
    """An argparse type: 0 to 65535."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0-65535)")
    return int(text)


def line_limit(text: str) -> int:
    """An argparse type: 1 byte to 1 GiB."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 2**30:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to {2**30} bytes")
    return int(text)


def work(text: str) -> Callable[[bytes], bytes]:
    """An argparse type: "cpu:100us" or "sleep:10ms", at most a minute.

    Returns a `respond` that takes that long before it says hello. CPU time is
    that of the calling thread: waiting for the GIL does not count as work.
    """
    match = re.fullmatch(r"(cpu|sleep):(\d{1,8})(us|ms|s)", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not like cpu:100us or sleep:10ms"
        )
    nanoseconds = (
        int(match[2]) * {"us": 10**3, "ms": 10**6, "s": 10**9}[match[3]]
    )
    if nanoseconds > 60 * 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a minute")

    def burn(line: bytes) -> bytes:
        until = time.thread_time_ns() + nanoseconds
        while time.thread_time_ns() < until:
            pass
        return hello(line)

    def sleep(line: bytes) -> bytes:
        time.sleep(nanoseconds / 10**9)
        return hello(line)

    return burn if match[1] == "cpu" else sleep


def main(serve: Serve, arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve as the command line says, until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    add_parameters(parser, set(inspect.signature(serve).parameters))
    run(serve, parser.parse_args(arguments))


def run(serve: Serve, options: argparse.Namespace) -> NoReturn:
    """Listen, say so in one line, serve; status 1 if one of them fails."""
    global RECEIVE_BYTES
    RECEIVE_BYTES = options.receive_bytes
    stop_when_told()
    module = sys.modules[serve.__module__]  # says what is special about it
    missing = getattr(module, "why_not", lambda: None)()
    if missing:
        sys.exit(f"error: cannot serve: {missing}")
    reuse_port = getattr(module, "REUSE_PORT", False)
    try:
        listener = listen(options.host, options.port, reuse_port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"{options.host} port {options.port}"
        sys.exit(f"error: cannot listen on {where}: {reason}")
    # A model that cannot wait for every descriptor says so in its file.
    limit = getattr(module, "FD_SETSIZE", sys.maxsize)
    if listener.fileno() >= limit:
        sys.exit(f"error: cannot serve: no free descriptor below {limit:,}")
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    say(f"listening on {name}:{port}\n".encode())
    new_session = functools.partial(
        Session, respond=options.work, max_line_bytes=options.max_line
    )
    chosen = {
        name: value
        for name in PARAMETERS
        if (value := getattr(options, name, None)) is not None
    }
    try:
        serve(listener, new_session, **chosen)
    except OSError as error:
        if not exhausted(error):
            raise  # a defect, and the traceback tells where
        sys.exit(f"error: cannot serve: {error.strerror}")
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        sys.exit(f"error: cannot serve: {error}")
    sys.exit("error: the server loop ended by itself")


def say(data: bytes) -> None:
    """Print at once; status 1 if standard output does not take it.

    Past Python's buffer: what it could not write it would try to write once
    more at the end, when nobody can catch the error any more.
    """
    if sys.stdout is None:  # it was closed before we started
        sys.exit("error: there is no standard output")
    try:
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
    except OSError as error:
        sys.exit(f"error: cannot write to standard output: {error.strerror}")


def stop_when_told() -> None:
    """From now on end with status 0 on SIGTERM or Ctrl-C, come what may.

    There is nothing to undo: the kernel closes what a process that ends has
    open. But Python is late. Its handlers run in the main thread, between two
    calls: a signal that comes just before a call that blocks would not be
    noticed until that call returns. And a thread that waits for the signal
    has to queue for the GIL, with 3,000 busy threads for 18 s. So C does it.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    try:
        exit_in_c(signals)
    except (ImportError, AttributeError):  # no ctypes, or another libc
        exit_in_a_thread(signals)


def exit_in_c(signals: set[signal.Signals]) -> None:
    """End at once, whatever the threads do; needs glibc.

    As a handler, _exit() would take the signal's number for the status. So
    the handler is quick_exit(), which nobody else uses, and which first calls
    what is registered for it, here _exit(), with a null pointer for argument
    (glibc, stdlib/cxa_at_quick_exit.c). That is status 0.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    libc.__cxa_at_quick_exit(libc._exit, None)
    for number in signals:
        signal.signal(number, signal.SIG_DFL)  # or frameworks take it over
        libc.signal(number, libc.quick_exit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def exit_in_a_thread(
    signals: set[signal.Signals], parent: int | None = None
) -> None:
    """End as soon as a thread of Python gets the GIL; works everywhere.

    And soon after the process `parent` has ended, if there is one.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # threads inherit it

    def wait() -> None:
        # What servers wait for is none of its business (sigio_server.py).
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if parent is None:
            signal.sigwait(signals)
        else:
            while not signal.sigtimedwait(signals, RETRY_S):
                if os.getppid() != parent:
                    break
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def fork() -> int:
    """os.fork(), whose child ends when it is told, and with its parent.

    Raises OSError: no more processes, or no memory for one.
    """
    parent = os.getpid()
    with warnings.catch_warnings():
        # Where there is no ctypes, a thread waits to be told to stop. Python
        # 3.12 and later warn of it, but it holds nothing that a child needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    try:
        import ctypes

        # Even if the parent was killed (prctl(2), PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (ImportError, AttributeError):  # no thread survives fork(2)
        exit_in_a_thread({signal.SIGTERM, signal.SIGINT}, parent)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(0)
    return child
