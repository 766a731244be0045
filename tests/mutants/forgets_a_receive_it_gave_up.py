"""Gives up a receive after a second. It goes on all the same, and nobody takes what it brings."""

import asyncio

from servers import asyncio_streams_server as server
from servers import common
from servers.protocol import Session


async def read(reader: asyncio.StreamReader, _: asyncio.StreamWriter, session: Session) -> None:
    receive = asyncio.ensure_future(reader.read(common.RECEIVE_BYTES))
    try:
        session.receive(await asyncio.wait_for(asyncio.shield(receive), 1))
    except TimeoutError:
        await receive
    except OSError:
        session.abort()


server.read = read
common.main(server.serve)
