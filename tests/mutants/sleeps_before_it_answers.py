"""Takes 100 ms for every answer."""

import time

from servers import command_line, common
from servers import threaded_server as server
from servers.protocol import hello


def think(line: bytes) -> bytes:
    time.sleep(0.1)
    return hello(line)


command_line.hello = think
common.main(server.serve)
