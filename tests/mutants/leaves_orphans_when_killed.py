"""Takes its workers along when it is told to stop, but has no chance to when it is killed."""

import os
import signal

from servers import common, process
from servers import prefork_server as server


def stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for child in children:
        os.kill(child, signal.SIGKILL)
    os._exit(0)


def fork() -> int:
    child = os.fork()
    if child:
        children.append(child)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return child


children: list[int] = []
process.fork = fork
process.stop_when_told = lambda: [signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)]
common.main(server.serve)
