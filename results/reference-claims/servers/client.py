"""The plain blocking client of the tutorials: one line out, one answer in.

python -m servers client --port 8000
python -m servers client --unix PATH
python -m servers client --port 8000 --udp
"""

import argparse
import socket
import sys

from servers import command_line, common, http_client

# How long the answer to a datagram is awaited: it may never come.
DATAGRAM_S = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the client understands."""
    parser.add_argument(
        "--host",
        help="where the server is (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        type=command_line.port_number,
        help="the port it listens on",
    )
    parser.add_argument(
        "--unix",
        type=command_line.socket_path,
        metavar="PATH",
        help="the name of the Unix socket it listens on instead",
    )
    parser.add_argument(
        "--udp",
        action="store_true",
        help="send datagrams: there is no greeting, and no end",
    )
    parser.add_argument(
        "--http",
        metavar="URL",
        help="get a page from there instead, like http://127.0.0.1:8000/",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="with --http: save the page there (default: print it)",
    )


def run(options: argparse.Namespace) -> None:
    """Print the greeting, send each line of stdin, print each answer."""
    if options.http is not None:
        if (options.host, options.port, options.unix) != (None, None, None):
            command_line.misused(
                "--http has the address in its URL: leave others out"
            )
        http_client.run(options.http, options.output)
        return
    if options.output is not None:
        command_line.misused("--output needs --http")
    command_line.one_address_only(options)
    if options.udp and options.unix is not None:
        command_line.misused("--udp does not go with --unix")
    if options.unix is None and options.port is None:
        command_line.misused("one of --port, --unix and --http is required")
    if sys.stdin is None:  # it was closed before we started
        sys.exit("error: there is no standard input")
    where = command_line.place(options)
    if options.udp:
        exchange_datagrams(options.host or "127.0.0.1", options.port, where)
        return
    try:
        with connect(options) as sock:
            converse(sock)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"error: cannot talk to {where}: {reason}")
    except KeyboardInterrupt:
        pass


def connect(options: argparse.Namespace) -> socket.socket:
    """A connection to where the options say. Raises OSError, UnicodeError."""
    if options.unix is None:
        host = options.host or "127.0.0.1"
        return socket.create_connection((host, options.port))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(options.unix)
    except OSError:
        sock.close()
        raise
    return sock


def converse(sock: socket.socket) -> None:
    """One conversation, until either side has had enough."""
    answers = sock.makefile("rb")
    show(answers.readline())
    for line in sys.stdin.buffer:
        line = line.rstrip(b"\n")
        try:
            sock.sendall(line + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has hung up; what it said before can still be read
        answer = answers.readline()
        if not answer and line in (b"exit", b"exit\r"):
            return
        show(answer)


def show(answer: bytes) -> None:
    """Print what came, whatever the bytes are, even if it is not all."""
    common.say(answer)
    if not answer.endswith(b"\n"):
        raise ConnectionError("it hung up before it had answered")


def exchange_datagrams(host: str, port: int, where: str) -> None:
    """Send each line of stdin, print each answer; status 1 if one is missing.

    The socket is connected, although nobody hears of it: then it takes what
    comes from there and nothing else, and is told when nobody is there.
    """
    lost = 0
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.connect(address)
            for line in sys.stdin.buffer:
                show_late(sock)
                sock.send(line.rstrip(b"\n") + b"\n")
                sock.settimeout(DATAGRAM_S)
                try:
                    common.say(sock.recv(65_536))
                except TimeoutError:
                    lost += 1
                    what = f"no answer from {where} within {DATAGRAM_S:.0f} s"
                    print(f"error: {what}", file=sys.stderr, flush=True)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"error: cannot talk to {where}: {reason}")
    except KeyboardInterrupt:
        pass
    if lost:
        sys.exit(1)


def show_late(sock: socket.socket) -> None:
    """Print answers that nobody waited for any more."""
    sock.setblocking(False)
    try:
        while True:
            common.say(sock.recv(65_536))
    except BlockingIOError:
        pass
