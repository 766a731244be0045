"""Tells a silent client that its time is over, and then waits for it as before."""

from servers import common
from servers import threaded_server as server
from servers.protocol import TIMED_OUT, Session


class Patient(Session):
    def time_out(self) -> None:
        self.outgoing += TIMED_OUT
        self._update()


common.Session = Patient
common.main(server.serve)
