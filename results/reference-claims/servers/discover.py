"""Asks the local network which servers there are.

python -m servers discover

Everybody on a link hears such a question, and those who know the answer
answer at the same time. That is why it is asked a few times and not for ever,
of a link and not of a network, and why servers answer only if they were told
to, and seldom (announce.py).
"""

import argparse
import errno
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time
from typing import NamedTuple

from servers import announce, common

# UDP may lose a question or an answer, and a server answers only so often.
# When it is asked again, as shares of the wait.
ASKED_AT = (0.0, 0.25, 0.5)

# Who answers more often than that is not worth listing.
MOST_SERVERS = 1_000

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS, IFF_UP, IFF_LOOPBACK = 0x8913, 0x1, 0x8


class Found(NamedTuple):
    """A server that answered."""

    name: str
    protocol: str
    host: str
    port: int


class Interface(NamedTuple):
    """A way to a link."""

    number: int
    name: str
    is_loopback: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what it understands."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=1.0,
        metavar="S",
        help="how long answers are awaited (default: %(default)s)",
    )
    parser.add_argument(
        "--interface",
        metavar="NAME",
        help="ask through this one only (default: all that are up)",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def seconds(text: str) -> float:
    """An argparse type: 0.1 to 60 seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0.1 to 60 seconds")
    return value


def run(options: argparse.Namespace) -> None:
    """List who answers; status 1 if nobody does."""
    try:
        asked = (
            interfaces()
            if options.interface is None
            else [interface(options.interface)]
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        found = discover(asked, options.wait)
    except OSError as error:
        sys.exit(f"error: cannot ask: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(0)
    if options.json:
        rows = [server._asdict() for server in found]
        common.say(json.dumps(rows, indent=2).encode() + b"\n")
    else:
        common.say(table(found).encode())
    if not found:
        names = ", ".join(one.name for one in asked)
        sys.exit(
            f"error: no server answered within {options.wait:g} s on {names}"
        )


def table(found: list[Found]) -> str:
    """A line for each."""
    rows = [(one.name, one.protocol, where(one)) for one in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows
    )


def where(server: Found) -> str:
    """As servers say where they listen."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{host}:{server.port}"


def interface(name: str) -> Interface:
    """The one of that name. Raises ValueError: it is not there, or down."""
    try:
        number, flags = socket.if_nametoindex(name), flags_of(name)
    except (OSError, ValueError):
        raise ValueError(f"there is no interface {name!r}") from None
    if not flags & IFF_UP:
        raise ValueError(f"interface {name} is down")
    return Interface(number, name, bool(flags & IFF_LOOPBACK))


def interfaces() -> list[Interface]:
    """All that are up."""
    found = []
    for _, name in socket.if_nameindex():
        try:
            found.append(interface(name))
        except ValueError:
            pass
    return found


def flags_of(name: str) -> int:
    """See netdevice(7). Raises OSError."""
    request = struct.pack("16s24x", os.fsencode(name))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
    flags: int = struct.unpack_from("=H", answer, 16)[0]
    return flags


def discover(asked: list[Interface], wait_s: float) -> list[Found]:
    """Who answers, by name and address.

    Raises OSError if nobody could be asked.
    """
    nonce = os.urandom(8).hex().encode()
    socks = open_sockets()
    try:
        poller = select.poll()
        for sock in socks:
            poller.register(sock, select.POLLIN)
        by_fd = {sock.fileno(): sock for sock in socks}
        found: set[Found] = set()
        started = time.monotonic()
        due = [started + share * wait_s for share in ASKED_AT]
        end = started + wait_s
        while (now := time.monotonic()) < end:
            if due and due[0] <= now:
                del due[0]
                ask(socks, asked, nonce)
            until = min([end, *due])
            for fd, _ in poller.poll(max(0, 1000 * (until - now))):
                server = take(by_fd[fd], nonce)
                if server is not None and len(found) < MOST_SERVERS:
                    found.add(server)
        return sorted(found)
    finally:
        for sock in socks:
            sock.close()


def open_sockets() -> list[socket.socket]:
    """One for IPv4, and one for IPv6 where there is any; of the same port,
    because a server on this host may be asked in one and answer in the
    other. Raises OSError."""
    v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    v4.setblocking(False)
    v4.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    v4.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, announce.HOPS)
    v4.bind(("", 0))
    try:
        v6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError:
        return [v4]
    v6.setblocking(False)
    for option, value in (
        (socket.IPV6_V6ONLY, 1),
        (socket.IPV6_MULTICAST_HOPS, announce.HOPS),
    ):
        v6.setsockopt(socket.IPPROTO_IPV6, option, value)
    try:
        v6.bind(("::", v4.getsockname()[1]))
    except OSError:  # taken, or IPv6 is switched off
        v6.close()
        return [v4]
    return [v4, v6]


def ask(
    socks: list[socket.socket], asked: list[Interface], nonce: bytes
) -> None:
    """Once through every interface. Raises OSError if none takes it."""
    question = announce.question(nonce)
    failed: OSError | None = None
    sent = 0
    for one in asked:
        for sock in socks:
            try:
                if sock.family == socket.AF_INET6:
                    to = (announce.GROUP, announce.PORT, 0, one.number)
                    sock.sendto(question, to)
                else:
                    ask_v4(sock, one, question)
                sent += 1
            except OSError as error:
                failed = error
    if not sent:
        raise failed or OSError(errno.ENETDOWN, "no interface is up")


def ask_v4(sock: socket.socket, one: Interface, question: bytes) -> None:
    """To all on a link, whatever network they believe to be in (RFC 919, 7),
    through an interface that is named (ip(7), IP_PKTINFO)."""
    host = (
        announce.LOOPBACK_BROADCAST if one.is_loopback else "255.255.255.255"
    )
    through = struct.pack("=I8x", one.number)
    sock.sendmsg(
        [question],
        [(socket.IPPROTO_IP, announce.IP_PKTINFO, through)],
        0,
        (host, announce.PORT),
    )


def take(sock: socket.socket, nonce: bytes) -> Found | None:
    """The next answer to our question; None: something else came. What it
    says goes to a terminal, so it has to be what we know, to the byte."""
    try:
        data, sender = sock.recvfrom(announce.QUESTION_BYTES + 1)
    except OSError:
        return None
    match = announce.ANSWER.fullmatch(data)
    if match is None or match[1] != nonce or int(match[4]) > 65_535:
        return None
    host = sender[0]
    if len(sender) == 4 and sender[3] and "%" not in host:
        host += f"%{socket.if_indextoname(sender[3])}"
    return Found(match[2].decode(), match[3].decode(), host, int(match[4]))
