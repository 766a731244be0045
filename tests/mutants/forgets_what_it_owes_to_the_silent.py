"""Tells a silent client at once, in the middle of what it is owed."""

from servers import common
from servers import epoll_server as server
from servers.protocol import TIMED_OUT, Session


class Rude(Session):
    def time_out(self) -> None:
        super().time_out()
        if self.outgoing:
            self.outgoing = TIMED_OUT


common.Session = Rude
common.main(server.serve)
