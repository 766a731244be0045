"""Tells the first silent client, and then nobody any more."""

from servers import common, timeouts
from servers import poll_server as server

due = timeouts.Silence.due


def due_once(self: timeouts.Silence) -> list[int]:
    told = due(self)
    if told:
        timeouts.Silence.due = lambda self: []
        timeouts.Silence.wait_s = lambda self, other_s: other_s
    return told[:1]


timeouts.Silence.due = due_once
common.main(server.serve)
