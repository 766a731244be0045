"""Writes into the stream's buffer and does not wait until it has been emptied."""

import asyncio

from servers import asyncio_streams_server as server
from servers import common
from servers.protocol import Session


async def write(writer: asyncio.StreamWriter, session: Session) -> None:
    writer.write(session.outgoing)
    session.sent(len(session.outgoing))
    await asyncio.sleep(0)


server.write = write
common.main(server.serve)
