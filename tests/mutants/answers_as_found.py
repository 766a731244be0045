"""Has a pool find the answers to the lines of a receive, and takes them as they are found."""

import concurrent.futures

from servers import common
from servers import epoll_server as server
from servers.protocol import Session

pool = concurrent.futures.ThreadPoolExecutor(16)


class Impatient(Session):
    def receive(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        tasks = {pool.submit(self.respond, line): line + b"\n" for line in lines}
        found = concurrent.futures.as_completed(tasks)
        super().receive(b"".join(tasks[one] for one in found) + rest)


common.Session = Impatient
common.main(server.serve)
