"""Is announced by a child of its own: when that one has gone, it looks for it among its workers."""

import os

from servers import announce, common
from servers import reuseport_server as server

fork, become = os.fork, announce.become


def become_at_once(*arguments: object) -> None:
    os.fork = lambda: 0
    become(*arguments)


announce.become = become_at_once
os.waitpid = lambda pid, options: (pid, 0)
common.main(server.serve)
