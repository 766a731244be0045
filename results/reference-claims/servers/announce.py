"""Answers whoever asks the local network which servers there are.

A question goes to everybody on a link, and must not become a storm. So a
server gives few answers a second, however many ask; no answer is longer than
its question, so whoever asks in another's name multiplies nothing; and what
came through a router is not answered. An answer says the name, the protocol
and the port; the address that it comes from says the host.

The answers come from a process of their own. So every server is announced
without a change to its file, whether it waits in threads, forks or busy
loops, and no flood of questions takes its time.
"""

import errno
import ipaddress
import os
import re
import select
import signal
import socket
import struct
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

# UDP. Among the ports that nobody is assigned (RFC 6335, 6), and above those
# that Linux hands out to clients (ip(7), ip_local_port_range).
PORT = 64_646

# IPv6: on the link only, and transient, because no authority assigned it
# (RFC 4291, 2.7; RFC 3307, 4.3 has such numbers).
GROUP = "ff12::8000:1ab"

# What is sent there is heard on this host only (RFC 1122, 3.2.1.3 g).
LOOPBACK_BROADCAST = "127.255.255.255"
LOOPBACK_INDEX = 1  # in every namespace (linux/net.h, LOOPBACK_IFINDEX)

# Of a server, to all who ask together and not to each of them: an address is
# soon invented.
ANSWERS_PER_S = 5.0
BURST = 5

# A question is padded to this; an answer is never longer.
QUESTION_BYTES = 128
QUESTION = re.compile(rb"io-lab 1 who ([0-9a-f]{16})\n\0*")
ANSWER = re.compile(
    rb"io-lab 1 here ([0-9a-f]{16}) ([a-z0-9_]{1,40})"
    rb" ((?:hello|http)/(?:tcp|udp)) ([1-9][0-9]{0,4})\n"
)
NAME_CHARACTERS = 40

# Every router takes one off, so what has still as many as a packet can have
# came through none (RFC 5082). And what has one left reaches no other link.
HOPS = 255

# Constants of linux/in.h and linux/in6.h that Python does not name.
IP_PKTINFO, IP_RECVTTL, IPV6_MULTICAST_ALL = 8, 12, 29
# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h.
NETLINK_ROUTE, NLMSG_ERROR, NLMSG_DONE, RTM_GETADDR = 0, 2, 3, 22
NLM_F_REQUEST, NLM_F_DUMP, IFA_ADDRESS, IFA_LOCAL = 0x1, 0x300, 1, 2


class Announced(NamedTuple):
    """A server.

    home  the number of the interface that has its address; 0: it listens on
          all addresses
    """

    family: int
    host: str
    port: int
    name: str
    protocol: str
    home: int


class Heard(NamedTuple):
    """A datagram: who sent it, the number of the interface it came in on, and
    how many hops it has left; 0 where the kernel does not say."""

    data: bytes
    sender: Any
    interface: int
    hops: int


def question(nonce: bytes) -> bytes:
    """What is asked. The nonce, 16 hexadecimal digits, is in every answer."""
    return (b"io-lab 1 who %s\n" % nonce).ljust(QUESTION_BYTES, b"\0")


def nonce_of(data: bytes) -> bytes | None:
    """The nonce of a question; None: it is none, down to the last byte."""
    match = QUESTION.fullmatch(data)
    return match[1] if match and len(data) == QUESTION_BYTES else None


def answer(nonce: bytes, server: Announced) -> bytes:
    """What a server says of itself."""
    said = f"{server.name} {server.protocol} {server.port}".encode()
    return b"io-lab 1 here %s %s\n" % (nonce, said)


def rate_limit(
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[], bool]:
    """A function that says whether one more answer may be given: BURST of
    them at once, ANSWERS_PER_S in the long run. `clock` tells seconds."""
    tokens, then = float(BURST), clock()

    def may_answer() -> bool:
        nonlocal tokens, then
        now = clock()
        tokens = min(BURST, tokens + ANSWERS_PER_S * (now - then))
        then = now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return may_answer


def concerns(server: Announced, heard: Heard, is_here: bool) -> bool:
    """Can the server be reached by who sent this?

    is_here  it was sent from this host
    """
    if heard.hops != HOPS:
        return False  # it came through a router
    if server.home == LOOPBACK_INDEX:
        return is_here
    return server.home in (0, heard.interface)


def start(listener: socket.socket, name: str, protocol: str) -> None:
    """Announce a server from now on, for as long as this process lives.

    name      up to NAME_CHARACTERS letters, digits and underscores
    protocol  "hello" or "http"

    Raises OSError: the port is taken by others, or the kernel is too old.
    """
    server = announced(listener, name, protocol)
    ears = listen(server, is_dual(listener))
    mouth = socket.socket(server.family, socket.SOCK_DGRAM)
    # It becomes readable when this process ends, of whatever (pidfd_open(2)).
    life = os.pidfd_open(os.getpid())
    with warnings.catch_warnings():
        # As in process.fork(): a thread that waits for a signal may be there.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        become(server, ears, mouth, life)
    # Its child is nobody's here: servers that count their workers and bury
    # them must not find one more (reuseport_server.py).
    _, status = os.waitpid(child, 0)
    os.close(life)
    for sock in (*ears, mouth):
        sock.close()
    if status:
        raise OSError(errno.EAGAIN, "no process can be started")


def become(
    server: Announced,
    ears: list[socket.socket],
    mouth: socket.socket,
    life: int,
) -> NoReturn:
    """Be the process that answers, by way of one that only starts it."""
    status = 1
    try:
        if os.fork():
            os._exit(0)
        keep_only({2, life, mouth.fileno(), *(s.fileno() for s in ears)})
        answer_all(server, ears, mouth, life)
        status = 0
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ENOMEM):  # of fork(2)
            traceback.print_exc()
    finally:
        os._exit(status)


def announced(listener: socket.socket, name: str, protocol: str) -> Announced:
    """Where a server can be reached. Raises OSError."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # an IPv6 socket that speaks IPv4
    if address.is_unspecified:
        home = 0
    elif address.is_loopback:
        home = LOOPBACK_INDEX
    else:
        home = interfaces().get(str(address), 0)
        if not home:
            raise OSError(None, f"no interface has the address {address}")
    kind = "udp" if listener.type == socket.SOCK_DGRAM else "tcp"
    return Announced(
        socket.AF_INET6 if address.version == 6 else socket.AF_INET,
        str(address),
        port,
        re.sub("[^a-z0-9_]", "_", name.lower())[:NAME_CHARACTERS],
        f"{protocol}/{kind}",
        home,
    )


def is_dual(listener: socket.socket) -> bool:
    """Does an IPv6 socket take clients over IPv4 too?"""
    return listener.family == socket.AF_INET6 and not listener.getsockopt(
        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
    )


def interfaces() -> dict[str, int]:
    """This host's addresses => the number of the interface that has each, as
    the kernel lists them (rtnetlink(7), RTM_GETADDR). Raises OSError."""
    found: dict[str, int] = {}
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE
    ) as sock:
        flags = NLM_F_REQUEST | NLM_F_DUMP
        sock.send(struct.pack("=IHHII4xI", 24, RTM_GETADDR, flags, 1, 0, 0))
        while True:
            rest = sock.recv(65_536)
            while rest:
                length, kind = struct.unpack_from("=IH", rest)
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                index = struct.unpack_from("=I", rest, 20)[0]
                for address in addresses(rest[24:length]):
                    found[address] = index
                rest = rest[-(-length // 4) * 4 :]


def addresses(attributes: bytes) -> Iterable[str]:
    """The addresses among the attributes of an RTM_NEWADDR message."""
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind in (IFA_ADDRESS, IFA_LOCAL) and length in (8, 20):
            yield str(ipaddress.ip_address(attributes[4:length]))
        attributes = attributes[-(-max(length, 4) // 4) * 4 :]


def listen(server: Announced, dual: bool) -> list[socket.socket]:
    """Sockets that hear the questions about a server, and no others where
    that can be had from the kernel. Raises OSError."""
    if server.home == LOOPBACK_INDEX:
        return [listen_v4(LOOPBACK_BROADCAST)]
    if server.family == socket.AF_INET:
        return [listen_v4("")]
    if server.home:
        return [listen_v6([server.home])]
    # IPv6 has no multicast on the loopback interface of Linux.
    return [
        listen_v6([index for index, _ in socket.if_nameindex()]),
        listen_v4("" if dual else LOOPBACK_BROADCAST),
    ]


def listen_v4(host: str) -> socket.socket:
    """Of a port that sockets share by SO_REUSEADDR each gets every broadcast
    (Linux: net/ipv4/udp.c, __udp4_lib_mcast_deliver). SO_REUSEPORT, too,
    would do that, but for the servers of one user only (socket(7))."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        sock.bind((host, PORT))
    except OSError:
        sock.close()
        raise
    return sock


def listen_v6(indexes: list[int]) -> socket.socket:
    """As `listen_v4`, for the group on these interfaces: multicast is shared
    out like broadcasts. Interfaces without IPv6 are left out."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option, value in (
            (socket.IPV6_V6ONLY, 1),
            (socket.IPV6_RECVPKTINFO, 1),
            (socket.IPV6_RECVHOPLIMIT, 1),
            (socket.IPV6_UNICAST_HOPS, 1),
            (IPV6_MULTICAST_ALL, 0),  # what others have joined is theirs
        ):
            sock.setsockopt(socket.IPPROTO_IPV6, option, value)
        sock.bind(("::", PORT))
        for index in indexes:
            group = socket.inet_pton(socket.AF_INET6, GROUP)
            membership = group + struct.pack("=I", index)
            try:
                sock.setsockopt(
                    socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership
                )
            except OSError:
                pass
    except OSError:
        sock.close()
        raise
    return sock


def keep_only(descriptors: set[int]) -> None:
    """Close all others, so that nothing is held that is the server's own."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in descriptors:
            try:
                os.close(int(name))
            except OSError:
                pass  # that of the listing itself


def answer_all(
    server: Announced,
    ears: list[socket.socket],
    mouth: socket.socket,
    life: int,
) -> None:
    """Answer until the server has ended."""
    signals = {signal.SIGTERM, signal.SIGINT}
    for number in signals:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    may_answer = rate_limit()
    by_fd = {sock.fileno(): sock for sock in ears}
    poller = select.poll()
    for fd in (life, *by_fd):
        poller.register(fd, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == life:
                return
            try:
                reply(server, by_fd[fd], mouth, may_answer)
            except OSError:
                pass  # gone, or out of reach: who asks asks again


def reply(
    server: Announced,
    ear: socket.socket,
    mouth: socket.socket,
    may_answer: Callable[[], bool],
) -> None:
    """Take one datagram, and answer if it is due. Raises OSError."""
    heard = hear(ear)
    nonce = nonce_of(heard.data)
    if nonce is None:
        return
    is_here = is_ours(ear.family, heard.sender)
    if not concerns(server, heard, is_here) or not may_answer():
        return
    said = answer(nonce, server)
    if is_here and server.home in (0, LOOPBACK_INDEX):
        # By one address only, however many it asked through. Who asks uses
        # the same port in both families.
        loop = "::1" if server.family == socket.AF_INET6 else "127.0.0.1"
        mouth.sendto(said, (loop, heard.sender[1]))
    elif not server.home:
        ear.sendto(said, heard.sender)  # from where it would be reached
    elif server.family == socket.AF_INET:
        local = struct.pack("=I4s4x", 0, socket.inet_aton(server.host))
        source = (socket.IPPROTO_IP, IP_PKTINFO, local)
        ear.sendmsg([said], [source], 0, heard.sender)
    else:
        local = socket.inet_pton(socket.AF_INET6, server.host)
        local += struct.pack("=I", server.home)
        source = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local)
        ear.sendmsg([said], [source], 0, heard.sender)


def hear(ear: socket.socket) -> Heard:
    """The next datagram. Raises OSError: there is none after all."""
    data, ancillary, _, sender = ear.recvmsg(QUESTION_BYTES + 1, 128)
    interface = hops = 0
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            interface = struct.unpack_from("=I", value)[0]
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            interface = struct.unpack_from("=I", value, 16)[0]
        elif (level, kind) in (
            (socket.IPPROTO_IP, socket.IP_TTL),
            (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT),
        ):
            hops = struct.unpack_from("=i", value)[0]
    return Heard(data, sender, interface, hops)


def is_ours(family: int, sender: Any) -> bool:
    """Is it an address of this host? Nobody else can be bound to it."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((sender[0], 0, *sender[2:]))
        except OSError:
            return False
    return True
