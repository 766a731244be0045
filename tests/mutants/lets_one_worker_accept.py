"""Has several workers, and only the first of them ever accepts anybody."""

import select
import socket
from collections.abc import Callable

from servers import common
from servers import prefork_server as server
from servers.protocol import Session

hire, work = server.hire, server.work
hired = []


def hire_and_count(listener: socket.socket, full: int, new_session: Callable[[], Session]) -> None:
    hired.append(listener)
    hire(listener, full, new_session)


def work_or_wait(listener: socket.socket, full: int, new_session: Callable[[], Session]) -> None:
    if len(hired) > 1:
        select.poll().poll()
    work(listener, full, new_session)


server.hire, server.work = hire_and_count, work_or_wait
common.main(server.serve)
