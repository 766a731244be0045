"""Ask the kernel to receive and to send, and hear when it has been done.

After:  epoll_server.py
Waits:  in io_uring_enter(), for whatever is completed first.
Costs:  O(completed) per call, and one call for all of it (io_uring(7)). epoll
        says who could be received from, and a recv() for each has to follow.
        Here we share two queues in memory with the kernel. We write into one
        what is to be done (submissions), and read from the other what became
        of it (completions). For whoever knows epoll:
            EPOLL_CTL_ADD     a receive that is asked for once and completes
                              whenever something has come in (multishot)
            epoll_wait()      io_uring_enter(): hand over, and wait
            an event          a completion: the mark of its submission, and
                              the result that recv() or send() would have had
            recv()            it is done: the bytes lie in one of the buffers
                              that we lent to the kernel, and want back
            without EPOLLIN   cancel the receive; what has come in until it
                              ends is held for later
            close()           not before the kernel has let go of the client
Breaks: where the kernel does not offer it: before Linux 6.1, and wherever it
        is forbidden, as in most containers. As root:
            sysctl kernel.io_uring_disabled=2; python -m servers io_uring
            sysctl kernel.io_uring_disabled=0
"""

import ctypes
import errno
import math
import mmap
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator

from servers import common, timeouts
from servers.protocol import Session

# What was completed. It stands beside the descriptor in the mark that every
# submission bears, and that its completions have, too.
ACCEPTED, RECEIVED, SENT, CANCELLED = range(4)


def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:
    clients: dict[int, Client] = {}
    ring = Ring()
    ring.accept(listener.fileno())
    silence = timeouts.silence()

    while True:
        timeout_s = silence.wait_s(None) if silence else None
        # One call hands over all that was asked for since the last one, and
        # waits until something is done, whoever asked for it and when.
        for mark, result, flags in ring.completions(timeout_s):
            fd, what = mark >> 2, mark & 3
            if what == ACCEPTED:
                if result >= 0:
                    sock = socket.socket(
                        listener.family, listener.type, fileno=result
                    )
                    clients[result] = Client(sock, new_session())
                    proceed(ring, result, clients[result])
                    if silence:
                        silence.welcome(sock, clients[result].session)
                if not flags & GOES_ON:
                    if -result in common.EXHAUSTED:
                        ring.pause(fd)  # it completes as if nobody had come
                    else:
                        ring.accept(fd)
                continue
            client = clients.get(fd)
            if client is None:
                continue  # a client that was gone before it was cancelled
            session = client.session
            try:
                if what == SENT:
                    client.sending = b""
                    if result < 0:
                        session.abort()
                    elif session.wants_write:
                        session.sent(result)
                elif what == CANCELLED:
                    client.unwanted = False  # in vain: it came too late
                else:
                    client.receiving = bool(flags & GOES_ON)
                    if result >= 0:
                        client.held.append(ring.taken(result, flags))
                    elif -result not in (errno.ECANCELED, errno.ENOBUFS):
                        session.abort()
                if silence:
                    silence.linger(client.sock, session)
                while client.held and session.wants_read:
                    session.receive(client.held.pop(0))
                    if silence:
                        silence.linger(client.sock, session)
                if client.held:
                    client.ahead = False
            except MemoryError:
                session.abort()
            proceed(ring, fd, client)
            # Whatever the kernel does for a client keeps the connection open.
            if not client.receiving and not client.sending:
                del clients[fd]
                common.hang_up(client.sock)

        for fd in silence.due() if silence else ():
            proceed(ring, fd, clients[fd])


class Client:
    """A client, and what the kernel does for it.

    receiving  it goes on receiving
    unwanted   and has been told to stop, which may come too late
    held       what came in after the session had wanted no more
    ahead      it may receive more than once per request; no longer after it
               was too much, else a flood would fill the memory
    sending    it reads these bytes, which have to stay where they are
    """

    def __init__(self, sock: socket.socket, session: Session) -> None:
        self.sock = sock
        self.session = session
        self.receiving = False
        self.unwanted = False
        self.held: list[bytes] = []
        self.ahead = True
        self.sending = b""


def proceed(ring: "Ring", fd: int, client: Client) -> None:
    """Ask for what the session wants next."""
    session = client.session
    if session.wants_write:
        if not client.sending:
            client.sending = session.outgoing
            ring.send(fd, client.sending)
    elif client.sending:  # aborted
        ring.cancel(fd, SENT)
    if session.wants_read and not client.receiving:
        client.receiving = True
        client.unwanted = False
        ring.receive(fd, client.ahead)
    elif client.receiving and not session.wants_read and not client.unwanted:
        client.unwanted = True
        ring.cancel(fd, RECEIVED)


# How many requests may be waiting to be handed over, and completions to be
# read (one more is kept by the kernel until there is room).
SUBMISSIONS = 1_024
COMPLETIONS = 8_192

# The kernel receives into one of these when something has come in, so that
# thousands of silent clients need none. 4 MiB.
BUFFERS = 64

# The kernel's include/uapi/linux/io_uring.h. The numbers of the system calls
# are the same on every machine.
SETUP, ENTER, REGISTER = 425, 426, 427
SUBMIT_ALL, SINGLE_ISSUER, DEFER_TASKRUN = 1 << 7, 1 << 12, 1 << 13
CQSIZE = 1 << 3
GET_EVENTS, EXTENDED = 1 << 0, 1 << 3
TIMEOUT, ACCEPT, ASYNC_CANCEL, SEND, RECV = 11, 13, 14, 26, 27
ACCEPT_MULTISHOT, RECV_MULTISHOT = 1 << 0, 1 << 1
BUFFER_SELECT, CQE_SKIP_SUCCESS = 1 << 5, 1 << 6
GOES_ON = 1 << 1  # IORING_CQE_F_MORE
SUBMISSION_ARRAY = 0x10000000  # IORING_OFF_SQES
REGISTER_BUFFERS = 22  # IORING_REGISTER_PBUF_RING

# operation, flags, how often, descriptor, address, length, flags of the
# operation, mark
SUBMISSION = struct.Struct("=BBHi8xQIIQ24x")
COMPLETION = struct.Struct("=QiI")  # mark, result, flags
LIMIT = struct.Struct("=QI4xQ")  # signals, their size, how long to wait
BUFFER = struct.Struct("=QIH")  # address, length, number

system_call = ctypes.CDLL(None, use_errno=True).syscall
system_call.restype = ctypes.c_long
system_call.argtypes = [ctypes.c_long] * 7

# An object's id is its address (CPython), and bytes stand at its end, before
# a zero. A call of PyBytes_AsString() says the same and takes five times as
# long, for every answer.
BYTES = bytes.__basicsize__ - 1


class Ring:
    """Two queues in memory that we share with the kernel.

    We write at the tail of the submissions and read at the head of the
    completions; the kernel has the two other ends. It looks at them while we
    are in io_uring_enter(), and at no other time (DEFER_TASKRUN).
    """

    def __init__(self) -> None:
        parameters = bytearray(120)
        struct.pack_into(
            "=III",
            parameters,
            0,
            0,
            COMPLETIONS,
            CQSIZE | SUBMIT_ALL | SINGLE_ISSUER | DEFER_TASKRUN,
        )
        self._fd = call(SETUP, SUBMISSIONS, address_of(parameters))
        sq = struct.unpack_from("=7I", parameters, 40)
        cq = struct.unpack_from("=6I", parameters, 80)
        _, sq_tail, _, _, _, _, order = sq
        cq_head, cq_tail, _, _, _, cqes = cq
        ends = cqes + COMPLETIONS * COMPLETION.size, order + 4 * SUBMISSIONS
        ring = memoryview(mmap.mmap(self._fd, max(ends)))
        self._words = ring.cast("I")
        self._sq_tail = sq_tail // 4
        self._cq_head, self._cq_tail = cq_head // 4, cq_tail // 4
        self._completions = ring[cqes : ends[0]]
        self._submissions = mmap.mmap(
            self._fd, SUBMISSIONS * SUBMISSION.size, offset=SUBMISSION_ARRAY
        )
        self._asked = 0
        self._handed_over = 0
        # Submissions are taken in the order in which they stand.
        for at in range(SUBMISSIONS):
            self._words[order // 4 + at] = at

        self._memory = mmap.mmap(
            -1,
            BUFFERS * common.RECEIVE_BYTES,
            mmap.MAP_SHARED | mmap.MAP_POPULATE,  # no page faults later on
        )
        self._address = address_of(self._memory)
        self._free = mmap.mmap(-1, mmap.PAGESIZE)
        # The tail of this queue stands in a gap of its first entry.
        self._free_tail = memoryview(self._free).cast("H")[7:8]
        self._freed = 0
        group = struct.pack("=QIHH24x", address_of(self._free), BUFFERS, 0, 0)
        call(REGISTER, self._fd, REGISTER_BUFFERS, id(group) + BYTES, 1)
        size = common.RECEIVE_BYTES
        self._buffers = [
            BUFFER.pack(self._address + number * size, size, number)
            for number in range(BUFFERS)
        ]
        for number in range(BUFFERS):
            self._give(number)
        self._pause = struct.pack("=qq", 0, int(common.RETRY_S * 10**9))

    def close(self) -> None:
        """Give everything back."""
        os.close(self._fd)

    def accept(self, fd: int) -> None:
        """Accept whoever comes, until it fails."""
        mark = fd << 2 | ACCEPTED
        flags = socket.SOCK_CLOEXEC
        self._submit(ACCEPT, 0, ACCEPT_MULTISHOT, fd, 0, 0, flags, mark)

    def pause(self, fd: int) -> None:
        """Fail to accept, a little later."""
        mark = fd << 2 | ACCEPTED
        address = id(self._pause) + BYTES
        self._submit(TIMEOUT, 0, 0, -1, address, 1, 0, mark)

    def receive(self, fd: int, ahead: bool) -> None:
        """Receive whatever comes, until it ends or fails; or but once."""
        mark = fd << 2 | RECEIVED
        how = RECV_MULTISHOT if ahead else 0
        self._submit(RECV, BUFFER_SELECT, how, fd, 0, 0, 0, mark)

    def send(self, fd: int, data: bytes) -> None:
        """Send as much of it as there is room for, and some at least."""
        mark = fd << 2 | SENT
        address = id(data) + BYTES
        self._submit(SEND, 0, 0, fd, address, len(data), 0, mark)

    def cancel(self, fd: int, what: int) -> None:
        """Let it fail soon, if it is not completed before."""
        mark, which = fd << 2 | CANCELLED, fd << 2 | what
        self._submit(ASYNC_CANCEL, CQE_SKIP_SUCCESS, 0, -1, which, 0, 0, mark)

    def completions(
        self, timeout_s: float | None
    ) -> Iterator[tuple[int, int, int]]:
        """Hand over, wait, and take (mark, result, flags) of what is done."""
        self._enter(1, timeout_s)
        head, tail = self._words[self._cq_head], self._words[self._cq_tail]
        start = head % COMPLETIONS * COMPLETION.size
        length = (tail - head) % 2**32 * COMPLETION.size
        done = bytes(self._completions[start : start + length])
        done += self._completions[: length - len(done)]  # from the beginning
        self._words[self._cq_head] = tail
        return COMPLETION.iter_unpack(done)

    def taken(self, length: int, flags: int) -> bytes:
        """What a completed receive has brought; b"" if it was the end."""
        if not length:
            return b""
        number = flags >> 16
        start = number * common.RECEIVE_BYTES
        data = self._memory[start : start + length]
        self._give(number)
        return data

    def _give(self, number: int) -> None:
        """Let the kernel have this buffer (again)."""
        at = self._freed % BUFFERS * 16
        self._free[at : at + BUFFER.size] = self._buffers[number]
        self._freed += 1

    def _submit(
        self,
        code: int,
        flags: int,
        how: int,
        fd: int,
        address: int,
        length: int,
        options: int,
        mark: int,
    ) -> None:
        while self._asked - self._handed_over == SUBMISSIONS:
            self._enter(0)
        at = self._asked % SUBMISSIONS * SUBMISSION.size
        SUBMISSION.pack_into(
            self._submissions,
            at,
            code,
            flags,
            how,
            fd,
            address,
            length,
            options,
            mark,
        )
        self._asked += 1

    def _enter(self, wait_for: int, timeout_s: float | None = None) -> None:
        self._words[self._sq_tail] = self._asked % 2**32
        self._free_tail[0] = self._freed % 2**16
        waiting = self._asked - self._handed_over
        how, limit, size = GET_EVENTS, 0, 0
        if timeout_s is not None:
            time = struct.pack("=qq", 0, math.ceil(timeout_s * 10**9))
            argument = LIMIT.pack(0, 0, id(time) + BYTES)
            how |= EXTENDED
            limit, size = id(argument) + BYTES, LIMIT.size
        try:
            self._handed_over += call(
                ENTER, self._fd, waiting, wait_for, how, limit, size
            )
        except InterruptedError:
            pass
        except OSError as error:  # it has no room for what is completed
            if error.errno not in (errno.EAGAIN, errno.EBUSY, errno.ETIME):
                raise


def why_not() -> str | None:
    """Why it cannot run here, in words; None if it can."""
    if sys.implementation.name != "cpython":
        return "only CPython says where bytes are"
    try:
        Ring().close()
    except OSError as error:
        return f"io_uring: {error.strerror}"
    return None


def call(
    number: int, a: int, b: int, c: int = 0, d: int = 0, e: int = 0, f: int = 0
) -> int:
    """A system call that Python has no function for. Raises OSError."""
    result: int = system_call(number, a, b, c, d, e, f)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def address_of(buffer: bytearray | mmap.mmap) -> int:
    """Where a buffer lies that can be written to."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


if __name__ == "__main__":
    common.main(serve)
