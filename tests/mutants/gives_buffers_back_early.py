"""Lets the kernel have a buffer again before it has taken out what is in it."""

from servers import common
from servers import io_uring_server as server


class Hasty(server.Ring):
    def taken(self, length: int, flags: int) -> bytes:
        if not length:
            return b""
        start = (flags >> 16) * common.RECEIVE_BYTES
        self._give(flags >> 16)
        self._enter(0)
        return self._memory[start : start + length]


server.BUFFERS = 1
server.Ring = Hasty
common.main(server.serve)
