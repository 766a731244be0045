"""Counts the time that it takes to answer as silence of the client."""

from servers import common, timeouts
from servers import epoll_threads_server as server
from servers.protocol import Session


class Unfair(Session):
    def time_out(self) -> None:
        self.abort() if self._finished else super().time_out()


def is_silent(sock: object, session: Session, reads: bool, unsent: int = 0) -> bool:
    if session.request is not None:
        session._finish()
        session.outgoing += b"Error: timed out\n"
        session._update()
        return False
    return silent(sock, session, reads, unsent)


silent = timeouts.is_silent
timeouts.is_silent = is_silent
common.Session = Unfair
common.main(server.serve)
