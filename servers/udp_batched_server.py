"""Receive many datagrams by one system call, and send all answers by another.

After:  udp_server.py
Waits:  in recvmmsg(), for the first datagram; what else has come in by then
        comes with it (recvmmsg(2), MSG_WAITFORONE).
Costs:  O(received), two system calls for up to 64 datagrams. Python has no
        function for either, so ctypes calls them, with the structures that
        the kernel wants: made once, then read and written as plain numbers.
Breaks: as udp_server.py, at a higher rate. A call by ctypes takes longer
        than one of Python's own, so one client alone is better off there:
            python -m servers udp_batched --port 8000
            python -m loadgen run --udp --connect 127.0.0.1:8000
"""

import ctypes
import mmap
import socket
import struct
import sys
from collections.abc import Callable

from servers import datagrams

# Datagrams per call. Each has a buffer of 64 KiB, so 4 MiB for receiving and
# as much for sending; pages that were never used take no memory.
BATCH = 64

# struct mmsghdr on machines with 64 bits (recvmmsg(2), recvmsg(2)): where the
# address is and how long, where the iovec is and how many, no ancillary data,
# flags; how many bytes there were. And struct iovec: where and how many.
MESSAGE = struct.Struct("=QI4xQQ24xI4x")
WORDS, POINTERS = MESSAGE.size // 4, MESSAGE.size // 8
LENGTH = WORDS - 2  # which of the words
VECTOR = struct.Struct("=QQ")

# struct sockaddr_in6, of which the first bytes are as of struct sockaddr_in:
# the family, then the port (ip(7), ipv6(7)).
ADDRESS = struct.Struct("!2xH24x")
PORT = ADDRESS.unpack_from

WAIT_FOR_ONE = 0x10000

DESCRIPTOR = FLAGS = ctypes.c_int
POINTER, COUNT = ctypes.c_size_t, ctypes.c_uint
libc = ctypes.CDLL(None)
libc.sendmmsg.argtypes = [DESCRIPTOR, POINTER, COUNT, FLAGS]
libc.recvmmsg.argtypes = [*libc.sendmmsg.argtypes, POINTER]


def serve(
    sock: socket.socket, answer: Callable[[bytes, int], bytes | None]
) -> None:
    fd = sock.fileno()
    received, sent = Batch(sock.family), Batch(sock.family)
    slots = list(
        enumerate(zip(received.starts, received.senders, strict=True))
    )

    while True:
        # Nobody has to look at an error: it is of one datagram, which is lost.
        count = libc.recvmmsg(fd, received.start, BATCH, WAIT_FOR_ONE, 0)
        answers = 0
        for at, (start, sender) in slots[: max(count, 0)]:
            end = start + received.words[at * WORDS + LENGTH]
            (port,) = PORT(received.addresses, at * ADDRESS.size)
            try:
                said = answer(received.memory[start:end], port)
            except MemoryError:
                continue
            if said is None:
                continue
            start = received.starts[answers]
            sent.memory[start : start + len(said)] = said
            sent.lengths[answers * 2 + 1] = len(said)
            sent.pointers[answers * POINTERS] = sender
            answers += 1
        send(fd, sent, answers)


def send(fd: int, batch: "Batch", count: int) -> None:
    start, end = batch.start, batch.start + count * MESSAGE.size
    while start < end:
        left = (end - start) // MESSAGE.size
        done = libc.sendmmsg(fd, start, left, 0)
        # An error is that of the first of them.
        start += max(done, 1) * MESSAGE.size


class Batch:
    """Memory that we share with the kernel: messages, and a buffer for each.

    start     where the first struct mmsghdr is
    starts    where in `memory` each buffer begins
    senders   where each address is
    words, pointers   the messages, as numbers of 32 and of 64 bits
    lengths   the struct iovec, as numbers of 64 bits
    """

    def __init__(self, family: int) -> None:
        size = datagrams.RECEIVE_BYTES
        self.memory = mmap.mmap(-1, BATCH * size)
        self.addresses = mmap.mmap(-1, BATCH * ADDRESS.size)
        vectors = mmap.mmap(-1, BATCH * VECTOR.size)
        messages = mmap.mmap(-1, BATCH * MESSAGE.size)
        self.start = address_of(messages)
        self.starts = [at * size for at in range(BATCH)]
        self.senders = [self.sender(at) for at in range(BATCH)]
        self.words = memoryview(messages).cast("I")
        self.pointers = memoryview(messages).cast("Q")
        self.lengths = memoryview(vectors).cast("Q")
        length = ADDRESS.size if family == socket.AF_INET6 else 16
        for at in range(BATCH):
            vector = address_of(vectors) + at * VECTOR.size
            where = address_of(self.memory) + self.starts[at]
            VECTOR.pack_into(vectors, at * VECTOR.size, where, size)
            message = self.senders[at], length, vector, 1, 0
            MESSAGE.pack_into(messages, at * MESSAGE.size, *message)

    def sender(self, at: int) -> int:
        """Where in memory the address is that a datagram came from."""
        return address_of(self.addresses) + at * ADDRESS.size


def why_not() -> str | None:
    """Why it cannot run here, in words; None if it can."""
    if sys.maxsize < 2**32:
        return "its structures are those of machines with 64 bits"
    return None


def address_of(buffer: bytearray | mmap.mmap) -> int:
    """Where a buffer lies that can be written to."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


if __name__ == "__main__":
    datagrams.main(serve)
