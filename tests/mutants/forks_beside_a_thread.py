"""Forks while a thread of it runs: what that one holds just then, a lock for one, stays held."""

import threading
import warnings

from servers import common, process
from servers import prefork_server as server

fork = process.fork


def fork_beside() -> int:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return fork()


warnings.simplefilter("ignore", DeprecationWarning)
process.fork = fork_beside
common.main(server.serve)
