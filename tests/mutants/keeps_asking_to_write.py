"""Once a client did not take everything, it asks for ever when it may write to it."""

import select

from servers import common
from servers import epoll_server as server
from servers.protocol import Session

wanted = server.wanted
slow: set[Session] = set()


def wanted_for_ever(session: Session) -> int:
    if session.wants_write:
        slow.add(session)
    usual = wanted(session)
    return usual and usual | (session in slow and select.EPOLLOUT)


server.wanted = wanted_for_ever
common.main(server.serve)
