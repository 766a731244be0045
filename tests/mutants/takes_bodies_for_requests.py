"""Overlooks that a request may have a body: what it says is the next request."""

from servers import common, http_session
from servers import epoll_et_server as server

http_session.body_length = lambda _: 0
common.main(server.serve)
