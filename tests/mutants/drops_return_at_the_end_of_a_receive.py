"""Drops a carriage return that is the last byte of a full receive: the newline is yet to come."""

from servers import common
from servers import epoll_server as server
from servers.protocol import Session


class Hasty(Session):
    def receive(self, data: bytes) -> None:
        full = len(data) == common.RECEIVE_BYTES
        super().receive(data[:-1] if full and data.endswith(b"\r") else data)


common.Session = Hasty
common.main(server.serve)
