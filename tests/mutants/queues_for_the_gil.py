"""Is told to stop in a thread of Python, which has to queue behind all others that are busy."""

import signal

from servers import common, process
from servers import threaded_server as server

process.stop_when_told = lambda: process.exit_in_a_thread({signal.SIGTERM, signal.SIGINT})
common.main(server.serve)
