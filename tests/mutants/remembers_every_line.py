"""Keeps a history of all that it has ever been told."""

from servers import command_line, common
from servers import epoll_server as server
from servers.protocol import hello

history = []


def remember(line: bytes) -> bytes:
    history.append(line)
    return hello(line)


command_line.hello = remember
common.main(server.serve)
