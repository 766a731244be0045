"""A thread that has served its client waits for ever instead of ending."""

import threading

from servers import common
from servers import threaded_server as server

converse = server.converse


def converse_and_stay(*args: object) -> None:
    converse(*args)
    threading.Event().wait()


server.converse = converse_and_stay
common.main(server.serve)
