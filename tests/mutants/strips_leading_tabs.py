"""Drops a tab at the beginning of a line."""

from servers import common
from servers import poll_server as server
from servers.protocol import hello

common.hello = lambda line: hello(line.lstrip(b"\t"))
common.main(server.serve)
