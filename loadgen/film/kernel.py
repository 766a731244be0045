"""What the kernel holds for a server: its backlog, and for each client the bytes that wait."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_ESTABLISHED, _CLOSE_WAIT, _LISTEN = 1, 8, 10  # include/net/tcp_states.h
_TABLE = Path("/proc/net/tcp")


@dataclass(frozen=True)
class Held:
    """At one moment.

    backlog  connections that wait to be accepted
    unread   client => bytes that have come in and were not received by the server
    unsent   client => bytes that the server has sent and the client's side has not taken
    """

    at_ns: int
    backlog: int
    unread: dict[int, int]
    unsent: dict[int, int]


@dataclass
class Watch:
    """Looks again and again, and keeps what has changed.

    port   where the server listens
    ports  of the clients => client; filled in while they come
    """

    port: int
    ports: Mapping[int, int]
    seen: list[Held] = field(default_factory=list)

    def look(self) -> None:
        """Now (proc(5), /proc/net/tcp: tx_queue and rx_queue; of a listener rx_queue is its
        backlog)."""
        backlog, unread, unsent = 0, {}, {}
        now_ns = time.time_ns()
        for line in _TABLE.read_text().splitlines()[1:]:
            _, local, remote, state, queues, *_ = line.split()
            if int(local.rpartition(":")[2], 16) != self.port:
                continue
            tx_bytes, rx_bytes = (int(part, 16) for part in queues.split(":"))
            client = self.ports.get(int(remote.rpartition(":")[2], 16))
            if int(state, 16) == _LISTEN:
                backlog = rx_bytes
            elif client is not None and int(state, 16) in (_ESTABLISHED, _CLOSE_WAIT):
                unread[client], unsent[client] = rx_bytes, tx_bytes
        held = Held(now_ns, backlog, unread, unsent)
        last = self.seen[-1] if self.seen else Held(0, 0, {}, {})
        if (held.backlog, held.unread, held.unsent) != (last.backlog, last.unread, last.unsent):
            self.seen.append(held)
