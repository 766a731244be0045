"""Does not ask for its children when they have ended."""

from servers import common
from servers import fork_server as server

server.bury = lambda *_: None
common.main(server.serve)
