"""What is the same in every server and not the lesson.

The command line, the listening socket, the socket policy, the ready line and
stopping. The policy moves numbers more than the I/O model does, so it stands
here once, for all of them.
"""

import argparse
import errno
import fcntl
import functools
import inspect
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from servers import command_line, process, timeouts
from servers.protocol import Session

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


def listen_at(path: str) -> socket.socket:
    """A listening Unix socket with this name in the file system.

    A name that is left over is removed first: that of a socket on which
    nobody listens any more, because its server was killed. Nothing else is.

    Raises OSError: somebody listens there, it is not a socket, no such folder,
    not permitted.
    """
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # One server at a time: else two that start at once could both find
        # the old name, and the second would remove the new name of the first.
        fcntl.flock(folder, fcntl.LOCK_EX)
        remove_if_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    finally:
        os.close(folder)  # and with it the lock
    return listener


def remove_if_stale(path: str) -> None:
    """Remove the name of a Unix socket if nobody listens on it.

    Raises OSError: somebody does, it cannot be known, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # its backlog may be full, and it lives
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


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
    if sock.gettimeout():  # it blocks, and somebody said for how long
        see_off(sock)
    finish(sock)
    sock.close()


def see_off(sock: socket.socket) -> None:
    """Wait for the client's end of file, as long as it may be silent."""
    assert timeouts.IDLE_TIMEOUT_S is not None
    until_s = time.monotonic() + timeouts.IDLE_TIMEOUT_S
    try:
        sock.shutdown(socket.SHUT_WR)
        while (left_s := until_s - time.monotonic()) > 0:
            sock.settimeout(left_s)
            if not sock.recv(RECEIVE_BYTES):
                break
    except (OSError, MemoryError):
        pass  # it has left, or goes on for too long
    sock.settimeout(0)


def finish(sock: socket.socket) -> None:
    """Make ready to close.

    close() with unread input sends a reset (RFC 1122, 4.2.2.13), and then the
    answers that the client's kernel has not taken yet are lost. (What it has
    taken can still be read, on Linux.) So finish the sending side, throw away
    what has come in, then close. What comes in later is answered by a reset
    all the same, at the same price. Only waiting for the client's end of file
    prevents that (RFC 9112, 9.6). With --idle-timeout that has been done.
    """
    try:
        sock.shutdown(socket.SHUT_WR)
        for _ in range(DISCARDS):
            if not sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT):
                break
    except (OSError, MemoryError):
        pass  # nothing (more) has come in, or it cannot be received


def main(serve: Serve, arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve as the command line says, until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser()
    command_line.add_options(parser, RECEIVE_BYTES)
    command_line.add_parameters(
        parser, set(inspect.signature(serve).parameters)
    )
    run(serve, parser.parse_args(arguments))


def run(serve: Serve, options: argparse.Namespace) -> NoReturn:
    """Listen, say so in one line, serve; status 1 if one of them fails, and 2
    if the options do not go together."""
    global RECEIVE_BYTES
    RECEIVE_BYTES = options.receive_bytes
    timeouts.IDLE_TIMEOUT_S = options.idle_timeout
    if options.root is not None and options.protocol != "http":
        command_line.misused("--root needs --protocol http")
    if options.announce and options.unix is not None:
        command_line.misused(
            "--announce and --unix exclude each other: no network has it"
        )
    module = sys.modules[serve.__module__]  # says what is special about it
    reuse_port = getattr(module, "REUSE_PORT", False)
    command_line.one_address_only(options)
    if options.unix is not None and reuse_port:
        command_line.misused("--unix: no two Unix sockets have the same name")
    process.stop_when_told()
    missing = getattr(module, "why_not", lambda: None)()
    if missing:
        sys.exit(f"error: cannot serve: {missing}")
    try:
        if options.unix is not None:
            listener = listen_at(options.unix)
            process.remove_at_the_end(options.unix)
        else:
            host, port = options.host or "127.0.0.1", options.port or 0
            listener = listen(host, port, reuse_port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(
            f"error: cannot listen on {command_line.place(options)}: {reason}"
        )
    # A model that cannot wait for every descriptor says so in its file.
    limit = getattr(module, "FD_SETSIZE", sys.maxsize)
    if listener.fileno() >= limit:
        sys.exit(f"error: cannot serve: no free descriptor below {limit:,}")
    if options.announce:
        announce(listener, module, options)
    say(b"listening on %b\n" % name_of(listener))
    kind: Any = Session
    more = {}
    if options.protocol == "http":
        from servers.http_session import HttpSession

        kind, more = HttpSession, {"root": options.root}
    if timeouts.IDLE_TIMEOUT_S is not None:
        kind = timeouts.watched(kind)
    new_session = functools.partial(
        kind, respond=options.work, max_line_bytes=options.max_line, **more
    )
    chosen = {
        name: value
        for name in command_line.PARAMETERS
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


def name_of(listener: socket.socket) -> bytes:
    """Where it listens: ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return b"unix:" + os.fsencode(name)
    host, port = name[:2]
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


def announce(
    listener: socket.socket, module: ModuleType, options: argparse.Namespace
) -> None:
    """From now on tell who asks that this server is here; status 1 if that
    cannot be."""
    from servers import announce  # a server that is not told to needs none

    path = getattr(module, "__file__", None) or "server"
    name = os.path.basename(path).removesuffix(".py").removesuffix("_server")
    try:
        announce.start(listener, name, getattr(options, "protocol", "hello"))
    except OSError as error:
        sys.exit(f"error: cannot announce: {error.strerror or error}")


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


# The name of our Unix socket, while this process is to remove it at its end.
