"""Does not stop reading when it is told that the client takes nothing."""

from servers import asyncio_server as server
from servers import common

server.Conversation.pause_writing = lambda self: None
server.Conversation.resume_writing = lambda self: None
common.main(server.serve)
