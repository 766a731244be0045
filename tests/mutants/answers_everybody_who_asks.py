"""Is announced without a limit: a flood of questions is followed by a flood of answers."""

from servers import announce, common
from servers import epoll_server as server

announce.rate_limit = lambda: lambda: True
common.main(server.serve)
