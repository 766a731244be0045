"""Remembers an answer, and so the work that it is to cost is done once."""

import functools

from servers import common, http_session
from servers import epoll_threads_server as server
from servers.http_session import HttpSession


class Remembering(HttpSession):
    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        work = functools.cache(self.respond)
        self.respond = lambda name: work(b"name").replace(b"name", name)


http_session.HttpSession = Remembering
common.main(server.serve)
