"""Gives every second line to another thread, and sends what each of them has found."""

import concurrent.futures

from servers import common
from servers import epoll_server as server
from servers.protocol import Session

pool = concurrent.futures.ThreadPoolExecutor(2)


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


class Shared(Session):
    def receive(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        super().receive(b"".join(pool.map(joined, (lines[::2], lines[1::2]))) + rest)


common.Session = Shared
common.main(server.serve)
