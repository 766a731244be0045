"""Waits half a second for the end of file of a client that it has said goodbye to."""

import select
import socket

from servers import common
from servers import epoll_server as server

finish = common.finish


def finish_and_wait(sock: socket.socket) -> None:
    finish(sock)
    select.select([sock], [], [], 0.5)


common.finish = finish_and_wait
common.main(server.serve)
