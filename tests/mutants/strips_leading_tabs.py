"""Drops a tab at the beginning of a line."""

from servers import command_line, common
from servers import poll_server as server
from servers.protocol import hello

command_line.hello = lambda line: hello(line.lstrip(b"\t"))
common.main(server.serve)
