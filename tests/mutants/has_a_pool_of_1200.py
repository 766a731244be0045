"""Starts 1,200 threads before anybody has come, and has none for client 1,201."""

import threading

from servers import common, threadpool_server
from servers import threaded_server as server

threading.stack_size(65_536)


def serve(listener: object, new_session: object) -> None:
    threadpool_server.serve(listener, new_session, 1_200)


server.serve = serve
common.main(server.serve)
