"""Plants faults between a server and its kernel: chosen system calls fail with a chosen error.

Run as a program, it puts a filter on itself and becomes the server. From then on the kernel asks
the tests before each of the calls that can bring a client's trouble, whoever makes it: Python, a
framework in C, a child (seccomp_unotify(2)). It needs no right that an ordinary user has not.

What the kernel does for io_uring are no system calls, so nothing can be planted there.
"""

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

# The numbers of the calls (asm/unistd_64.h, asm-generic/unistd.h): whatever accepts, receives or
# sends. But for sendmsg, by which the question's descriptor itself has to get out.
MACHINES: dict[str, tuple[int, dict[str, list[int]]]] = {
    "x86_64": (
        317,  # seccomp
        {
            "accept": [43, 288],  # accept, accept4
            "receive": [0, 19, 45, 299],  # read, readv, recvfrom, recvmmsg
            "send": [1, 20, 44, 307],  # write, writev, sendto, sendmmsg
        },
    ),
    "aarch64": (
        277,
        {"accept": [202, 242], "receive": [63, 65, 207, 243], "send": [64, 66, 206, 269]},
    ),
}
SECCOMP, CALLS = MACHINES.get(platform.machine(), (0, {}))

# linux/seccomp.h, linux/filter.h
NO_NEW_PRIVILEGES = 38
SET_FILTER, NEW_LISTENER = 1, 1 << 3
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ASK, ALLOW = 0x7FC00000, 0x7FFF0000
RECEIVE_QUESTION, SEND_REPLY = 0xC0502100, 0xC0182101
QUESTION = struct.Struct("=QIIiIQ6Q")  # id, thread, flags, call, architecture, address, arguments
REPLY = struct.Struct("=QqiI")  # id, result, error, flags
GO_ON = 1


class Call(NamedTuple):
    """A system call that is about to be made."""

    what: str
    thread: int
    descriptor: int


class Planter:
    """Answers the kernel's questions, in a thread of its own.

    hits  how many calls have failed because they were told to
    """

    def __init__(self, listener: int) -> None:
        self.hits = 0
        self._listener = listener
        self._names = {number: what for what in CALLS for number in CALLS[what]}
        self._fault: tuple[Callable[[Call], bool], int, int | None] | None = None
        self._over, self._bell = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def plant(self, error: int, concerns: Callable[[Call], bool], times: int | None = None) -> None:
        """From now on calls that it `concerns` fail; so many `times`, or until lift()."""
        self.hits = 0
        self._fault = concerns, error, times

    def lift(self) -> None:
        """From now on all calls go on as they would."""
        self._fault = None

    def close(self) -> None:
        """End. The server must have ended: nobody would answer its questions any more."""
        os.write(self._bell, b"\0")
        self._thread.join()
        for fd in (self._listener, self._over, self._bell):
            os.close(fd)

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._over, select.POLLIN)
        while True:
            for fd, events in poller.poll():
                if fd == self._over:
                    return
                if events & select.POLLHUP:  # all that had the filter have ended
                    poller.unregister(fd)
                else:
                    with suppress(FileNotFoundError):  # who asked has ended, or was interrupted
                        self._reply()

    def _reply(self) -> None:
        question = bytearray(QUESTION.size)
        fcntl.ioctl(self._listener, RECEIVE_QUESTION, question)
        mark, thread, _, number, _, _, descriptor, *_ = QUESTION.unpack(question)
        error = self._error(Call(self._names[number], thread, descriptor))
        self.hits += bool(error)  # before anybody can see what it does
        reply = REPLY.pack(mark, 0, -error, 0 if error else GO_ON)
        fcntl.ioctl(self._listener, SEND_REPLY, reply)

    def _error(self, call: Call) -> int:
        """What this call is to fail with; 0 if it is to go on."""
        if self._fault is None:
            return 0
        concerns, error, times = self._fault
        if not concerns(call):
            return 0
        if times is not None:
            self._fault = (concerns, error, times - 1) if times > 1 else None
        return error


def why_not() -> str | None:
    """Why nothing can be planted here, in words; None if it can."""
    if not CALLS:
        return f"the numbers of the system calls of {platform.machine()} are not known"
    child = os.fork()
    if child == 0:
        try:
            put_filter([])
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return f"seccomp: {os.strerror(code)}" if code else None


def put_filter(numbers: list[int]) -> int:
    """Have these calls asked for, for ever: the descriptor on which the questions come."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [(LOAD, 0, 0, 0)]  # the number of the call
    for at, number in enumerate(numbers):
        steps.append((JUMP_IF_EQUAL, len(numbers) - at, 0, number))
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ASK)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    listener: int = libc.syscall(SECCOMP, SET_FILTER, NEW_LISTENER, program)
    if listener < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return listener


def main() -> None:
    """planting.py SOCKET COMMAND...: hand over the descriptor, then become the command."""
    number, *command = sys.argv[1:]
    with socket.socket(fileno=int(number)) as sock:
        listener = put_filter([number for numbers in CALLS.values() for number in numbers])
        socket.send_fds(sock, [b"\0"], [listener])
    os.close(listener)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
