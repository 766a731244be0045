"""Receives as much as tutorials do: the rest of a longer datagram is gone."""

from servers import datagrams
from servers import udp_server as server

datagrams.RECEIVE_BYTES = 2_048
datagrams.main(server.serve)
