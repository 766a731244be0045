"""Answers whatever comes, another server's answers too."""

from servers import datagrams
from servers import udp_server as server

datagrams.BEGINNINGS = (b"\0never",)
datagrams.main(server.serve)
