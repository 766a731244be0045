"""Lets one client's error out of its coroutine: the nursery ends, and with it everybody else."""

import trio

from servers import common
from servers import trio_server as server
from servers.protocol import Session


async def read(stream: trio.SocketStream, session: Session) -> None:
    session.receive(await stream.receive_some(common.RECEIVE_BYTES))


server.read = read
common.main(server.serve)
