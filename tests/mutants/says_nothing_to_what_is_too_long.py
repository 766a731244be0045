"""Tries to send an answer that fits into no datagram, and shrugs."""

from servers import datagrams
from servers import udp_server as server

datagrams.MOST_LINE_BYTES = 2**30
datagrams.main(server.serve)
