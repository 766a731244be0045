"""Stops by an exception and then waits for its threads, one of whose clients may stay for ever."""

import signal

from servers import common, process
from servers import socketserver_server as server


def stop(*_: object) -> None:
    raise SystemExit(0)


server.Server.daemon_threads = False
process.stop_when_told = lambda: [signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)]
common.main(server.serve)
