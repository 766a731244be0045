"""Reads a file as a whole before it sends it."""

from servers import common, http_session
from servers import threaded_server as server

http_session.PIECE_BYTES = 2**40
common.main(server.serve)
