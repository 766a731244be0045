"""Its workers remove the name of the Unix socket when they end, though the others go on."""

from servers import common, process
from servers import prefork_server as server

process.leave_it_to_the_parent = lambda: None
common.main(server.serve)
