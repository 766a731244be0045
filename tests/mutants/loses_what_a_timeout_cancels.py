"""Waits a second for a whole line; what came of it is lost when the wait is cancelled."""

import trio

from servers import common
from servers import trio_server as server
from servers.protocol import Session


async def read(stream: trio.SocketStream, session: Session) -> None:
    data = b""
    with trio.move_on_after(1):
        try:
            while not data.endswith(b"\n"):
                received = await stream.receive_some(common.RECEIVE_BYTES)
                data += received
                if not received:
                    break
            session.receive(data)
            if data and not received:
                session.receive(b"")
        except trio.BrokenResourceError:
            session.abort()


server.read = read
common.main(server.serve)
