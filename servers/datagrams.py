"""What is the same in the servers without connections and not the lesson.

    client: world\\n          one datagram is one line; the \\n may be missing
    server: Hello, world!\\n  and is answered by one datagram, or it is lost

There is no greeting, as nobody connects, and `exit` is a line like others.
"""

import argparse
import functools
import inspect
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from servers import command_line, common, process
from servers.protocol import MAX_LINE_BYTES, hello

# A longer datagram than this there is none (IPv6 has a length of 16 bits, the
# header of UDP's 8 bytes included): none is cut off that is received whole.
RECEIVE_BYTES = 65_536

# The longest datagram of IPv4: its length of 16 bits counts two headers, too
# (RFC 791, RFC 768). And the longest line whose answer is no longer.
MOST_BYTES = 65_535 - 20 - 8
MOST_LINE_BYTES = MOST_BYTES - len(hello(b""))

# How answers begin and end. Whoever sends in somebody else's name, which is
# easy with UDP, could make two servers answer each other for ever (CERT/CC
# VU#417980), or one itself. So what looks like an answer is not answered.
BEGINNINGS, ENDS = (b"Hello, ", b"Error: "), (b"!\n", b" bytes\n")

# Nor are ports whose services answer whatever comes, echo (7) and chargen
# (19) first of all (CVE-1999-0103). No client has such a port, unless root
# gives it one; port 0 is no port at all. inetd does the same.
RESERVED_PORTS = 1_024


def answer(
    data: bytes,
    port: int,
    respond: Callable[[bytes], bytes] = hello,
    most_bytes: int = MOST_LINE_BYTES,
) -> bytes | None:
    """What is sent back for a datagram from a port; None: nothing.

    most_bytes  limit for the bytes before a newline, a \\r included
    """
    if port < RESERVED_PORTS:
        return None
    if data.startswith(BEGINNINGS) and data.endswith(ENDS):
        return None
    line = data.removesuffix(b"\n")
    if len(line) > most_bytes:
        return b"Error: line longer than %d bytes\n" % most_bytes
    if len(line) < len(data):
        line = line.removesuffix(b"\r")
    return respond(line)


def listen(host: str, port: int) -> socket.socket:
    """A UDP socket that receives what is sent to an address.

    Without SO_REUSEADDR: no port waits for a while until it may be bound
    again (TIME_WAIT is TCP's), and two servers could have the same one.

    Raises OSError: name unknown, address not ours, port taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that these servers understand.

    How much is received at once is no choice: what does not fit is lost.
    """
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to receive at (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=command_line.port_number,
        default=0,
        help="port to receive at; 0, the default, lets the kernel choose",
    )
    parser.add_argument(
        "--work",
        type=command_line.work,
        default=hello,
        metavar="KIND:TIME",
        help="cost of an answer: cpu:100us or sleep:10ms (default: none)",
    )
    parser.add_argument(
        "--max-line",
        type=command_line.line_limit,
        default=MAX_LINE_BYTES,
        metavar="BYTES",
        help="a longer line, \\r included, is an error; one of more than"
        f" {MOST_LINE_BYTES} bytes is in any case, as its answer would fit"
        " into no datagram",
    )
    parser.add_argument(
        "--announce",
        action="store_true",
        help="answer `python -m servers discover` on the local network",
    )


def main(
    serve: Callable[..., object], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Serve as the command line says, until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    command_line.add_parameters(
        parser, set(inspect.signature(serve).parameters)
    )
    run(serve, parser.parse_args(arguments))


def run(serve: Callable[..., object], options: argparse.Namespace) -> NoReturn:
    """Bind, say so in one line, serve; status 1 if one of them fails."""
    process.stop_when_told()
    module = sys.modules[serve.__module__]  # says what is special about it
    missing = getattr(module, "why_not", lambda: None)()
    if missing:
        sys.exit(f"error: cannot serve: {missing}")
    try:
        sock = listen(options.host, options.port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"{options.host} port {options.port}"
        sys.exit(f"error: cannot listen on {where}: {reason}")
    if options.announce:
        common.announce(sock, module, options)
    host, port = sock.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    common.say(f"listening on {name}:{port}\n".encode())
    serve(
        sock,
        functools.partial(
            answer,
            respond=options.work,
            most_bytes=min(options.max_line, MOST_LINE_BYTES),
        ),
    )
    sys.exit("error: the server loop ended by itself")
