"""Keeps as much of an unfinished line as a client sends."""

from servers import common
from servers import threaded_server as server
from servers.protocol import Session


class Patient(Session):
    def __init__(self, **options: object) -> None:
        super().__init__(**options | {"max_line_bytes": 2**60})


common.Session = Patient
common.main(server.serve)
