"""Ports below 1,024.

A reader learns that not root is asked for but a right, CAP_NET_BIND_SERVICE, and that where the
protected ports end is a setting of each network namespace.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.claims.claim import Claim, Seen, Verdict

if TYPE_CHECKING:
    from loadgen.claims.evidence import Evidence

START = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
# The kernel's limit of old (IPPORT_RESERVED, netinet/in.h).
RESERVED = 1_024
# Some that are free on most machines, and one just beyond.
PORTS = (7, 81, 601, 1_021, 1_022)
NOBODY = 65_534
# linux/prctl.h, linux/capability.h
PR_SET_KEEPCAPS, CAP_NET_BIND_SERVICE, CAPABILITIES_3 = 8, 10, 0x20080522
LIBC = ctypes.CDLL(None, use_errno=True)

# How a child that tried says what came out.
BOUND, REFUSED, IN_USE, CANNOT_TRY = 0, 1, 2, 3


def program() -> Seen:
    """Bind ports below 1,024 as a user who is not root: is it refused?

    plain       without any right
    capability  with CAP_NET_BIND_SERVICE and nothing else
    lowered     without any right, where net.ipv4.ip_unprivileged_port_start is 0

    Each try has a child of its own, in a network namespace of its own where it has to change
    something. Where one cannot be made (`why_not_X` says why), the case has no tries.
    """
    seen: Seen = {"unprivileged_port_start": int(START.read_text()) if START.exists() else None}
    cases: dict[str, Callable[[], None]] = {
        "plain": become_nobody,
        "capability": become_nobody_who_may_bind,
        "lowered": become_nobody_where_all_may_bind,
    }
    for case, become in cases.items():
        found = [attempt(port, become) for port in PORTS]
        tried = [status for status in found if status in (BOUND, REFUSED)]
        seen[f"tries_{case}"] = len(tried)
        seen[f"held_{case}"] = tried.count(REFUSED)
        if len(tried) < len(PORTS):
            taken = IN_USE in found
            seen[f"why_not_{case}"] = "the ports are in use" if taken else "not allowed here"
    if not any(seen[f"tries_{case}"] for case in cases):
        seen["why_not"] = "no case could be tried here"
    return seen


def attempt(port: int, become: Callable[[], None]) -> int:
    """Bind in a child that has become somebody else; returns what it says."""
    child = os.fork()
    if not child:
        status = CANNOT_TRY
        try:
            become()
            status = bind(port)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def bind(port: int) -> int:
    """Listen on a port, if that is allowed."""
    with socket.socket() as listener:
        # Beside what is in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            return {errno.EACCES: REFUSED, errno.EADDRINUSE: IN_USE}.get(
                error.errno or 0, CANNOT_TRY
            )
    return BOUND


def become_nobody() -> None:
    """Give up root, if we are root: with it go all rights (capabilities(7)). Raises OSError."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def become_nobody_who_may_bind() -> None:
    """The same, but keep one right. Raises OSError: we are not root, or do not have it."""
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, "only root can give a right away")
    checked(LIBC.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    become_nobody()
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0)
    right = 1 << CAP_NET_BIND_SERVICE
    # Effective, permitted, inheritable; of capabilities 0 to 31, then of 32 to 63 (capset(2)).
    checked(LIBC.capset(header, (ctypes.c_uint32 * 6)(right, right, 0, 0, 0, 0)))


def become_nobody_where_all_may_bind() -> None:
    """Lower the start of the ports that are free for all, in a network namespace of our own; as a
    user who is not root, in a user namespace too, which one leaves by losing all rights.
    Raises OSError."""
    user = os.geteuid()
    if user == 0:
        unshare(network=True)
        START.write_text("0")
        become_nobody()
        return
    unshare(network=True, user=True)
    START.write_text("0")
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0)
    checked(LIBC.capset(header, (ctypes.c_uint32 * 6)(0, 0, 0, 0, 0, 0)))


def unshare(*, network: bool, user: bool = False) -> None:
    """Namespaces of our own (unshare(2); os.unshare is of Python 3.12), with loopback up.
    Raises OSError."""
    checked(LIBC.unshare(0x40000000 * network | 0x10000000 * user))


def checked(result: int) -> None:
    """Raises OSError where a call of the C library failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def verdict(evidence: "Evidence") -> Verdict:
    """Who is not root and binds all the same refutes it; where somebody else is refused, it
    depends on what they have."""
    words = {
        "plain": "without any right",
        "capability": "with CAP_NET_BIND_SERVICE alone",
        "lowered": "without any right, where net.ipv4.ip_unprivileged_port_start is 0",
    }
    shares = {case: found for case in words if (found := evidence.share(case))}
    missing = [
        f"{words[case]} ({evidence.text(f'why_not_{case}') or 'not tried'})"
        for case in words
        if case not in shares
    ]
    if not shares:
        return Verdict("not decided", evidence.text("why_not") or "No run of the program counts.")
    told = "; ".join(f"{words[case]} in {found}" for case, found in shares.items())
    sentence = f"A user who is not root was refused {told} tries."
    if start := evidence.figure("unprivileged_port_start"):
        sentence += f" The setting is {start.value:,.0f} here."
    if missing:
        sentence += f" Not tried: {'; '.join(missing)}."
    if all(each.never for each in shares.values()):
        return Verdict("false", sentence)
    if any(each.never for each in shares.values()):
        return Verdict("it depends", sentence, "on a capability and on a setting")
    if missing:
        return Verdict("not decided", sentence)
    return Verdict("true", sentence)


CLAIM = Claim(
    name="ports",
    says="You must be root for ports below 1,024.",
    tried=(
        "Children that have given up root bind such ports: without any right, with one right, and"
        " in a network namespace whose setting was lowered."
    ),
    why=(
        "bind() asks for CAP_NET_BIND_SERVICE below net.ipv4.ip_unprivileged_port_start (ip(7)),"
        " which is 1,024 unless somebody lowered it; systemd and setcap give that right to a"
        " program, and containers often lower the setting."
    ),
    verdict=verdict,
    program=program,
)
