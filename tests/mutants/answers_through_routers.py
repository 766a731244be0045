"""Is announced to whoever a router lets ask."""

from servers import announce, common
from servers import epoll_server as server

concerns = announce.concerns

announce.concerns = lambda server, heard, is_here: concerns(
    server, heard._replace(hops=announce.HOPS), is_here
)
common.main(server.serve)
