"""The generator against the leanest peer there is: what it can measure on this machine.

    python -m loadgen.trial.calibrate POLL_MS

is that peer: compiled, one CPU, epoll_wait, recv and send, and no more of the protocol than one
whole line per receive. A server that comes close to what is reached here is measured by a
generator that is at its own limit. Where the peer was slower than the generator, the generator
can do more than it could show.
"""

import dataclasses
import select
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.clients.clients import connected, on_cpus
from loadgen.engine import requests
from loadgen.engine.samples import Outcome, Samples
from loadgen.engine.syscalls import (
    EPOLL_DATA_WORD,
    EPOLL_EVENT_WORDS,
    MSG_NOSIGNAL,
    NS_PER_S,
    Bytes,
    Int32s,
    Int64s,
    close,
    compiled,
    epoll_wait,
    recv,
    send,
)
from loadgen.machine.environment import Pinning
from loadgen.target.target import TargetError, running
from loadgen.trial import verdict
from loadgen.workload.dialogue import GREETING, PREFIX
from loadgen.workload.load import Load

CLIENTS = (1, 8, 64, 512)
REPEATS = 3
_LOAD = Load(warmup_s=0.05, duration_s=0.2)
CPU_WANTED = verdict.GENERATOR_CPU_SHARE
_EVENTS = 64
_RECEIVE_BYTES = 65_536
_NEWLINE, _MARK = ord("\n"), ord("!")


def reach(cpus: Pinning) -> list[dict[str, Any]]:
    """For each number of clients what it reached, the median trial of REPEATS.

    connections, throughput_per_s
    busy_fraction   of the window, how much the generator did not spend waiting for the peer
    cpu_fraction    of the window, how much the generator had its CPU; one that has a CPU of its own
                    spins, so less than CPU_WANTED means that others took it: the generator can do
                    more than this
    limiter         "generator" or "peer"

    Raises TargetError when the peer fails.
    """
    command = [sys.executable, "-m", "loadgen.trial.calibrate", "10" if cpus.shared else "0"]
    with (
        tempfile.TemporaryDirectory(prefix="loadgen-") as folder,
        running(command, cpus=set(cpus.server), log=Path(folder) / "peer.log") as peer,
    ):
        found = []
        for clients in CLIENTS:
            trials = sorted(
                (_once(peer.address, clients, cpus) for _ in range(REPEATS)),
                key=lambda one: float(one["throughput_per_s"]),
            )
            found.append(trials[len(trials) // 2])
        return found


def _once(address: tuple[str, int], clients: int, cpus: Pinning) -> dict[str, Any]:
    load = dataclasses.replace(_LOAD, connections=clients)
    with connected(address, clients) as greeted:
        fds = [sock.fileno() for sock in greeted.socks]
        if len(fds) < clients:
            raise TargetError(
                f"the peer greeted {len(fds)} of {clients} clients: free its CPU, or repeat when"
                " the machine is quieter"
            )
        samples = on_cpus(
            cpus.generator,
            lambda stop: requests.drive(fds, load, spin=not cpus.shared, stop=stop),
            lambda _: None,
        )
    return {"connections": clients, **_figures(samples)}


def _figures(samples: Samples) -> dict[str, Any]:
    ok = samples.in_window & (samples.outcome == Outcome.OK)
    if not ok.any() or (samples.outcome == Outcome.MISMATCHED).any():
        raise TargetError(
            "the peer did not answer within the window, or answered something else: free its CPU,"
            " or repeat when the machine is quieter"
        )
    window_ns = samples.window_end_ns - samples.window_start_ns
    service_ns = (samples.arrived_ns - samples.sent_ns)[ok]
    read_delay_ns = (samples.read_ns - samples.arrived_ns)[ok]
    return {
        "throughput_per_s": int(ok.sum()) * NS_PER_S / window_ns,
        "busy_fraction": samples.clocks.busy_fraction,
        "cpu_fraction": samples.clocks.cpu_fraction,
        "limiter": "generator" if read_delay_ns.mean() > service_ns.mean() else "peer",
    }


@compiled
def _respond(
    epoll: int, timeout_ms: int, events: Int32s, text: Bytes, start: int, stop: Int64s
) -> None:
    """Answer until told to stop. `text` begins with `start` bytes that every answer begins with."""
    while stop[0] == 0:
        for event in range(epoll_wait(epoll, events.ctypes.data, _EVENTS, timeout_ms)):
            fd = events[event * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD]
            count = recv(fd, text.ctypes.data + start, _RECEIVE_BYTES, 0)
            if count <= 0:
                close(fd)
                continue
            text[start + count - 1] = _MARK
            text[start + count] = _NEWLINE
            send(fd, text.ctypes.data, start + count + 1, MSG_NOSIGNAL)


def main() -> None:
    """The peer, until it is terminated."""
    prefix = np.frombuffer(PREFIX, np.uint8)
    text = np.zeros(len(prefix) + _RECEIVE_BYTES + 1, np.uint8)
    text[: len(prefix)] = prefix
    events = np.zeros(_EVENTS * EPOLL_EVENT_WORDS, np.int32)
    interest = select.epoll()
    arguments = interest.fileno(), int(sys.argv[1]), events, text, len(prefix)
    _respond(*arguments, np.ones(1, np.int64))  # compiles it, before anybody waits
    respond = threading.Thread(
        target=_respond, args=(*arguments, np.zeros(1, np.int64)), daemon=True
    )
    respond.start()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            sock, _ = listener.accept()
            sock.sendall(GREETING)
            interest.register(sock.detach(), select.EPOLLIN)


if __name__ == "__main__":
    main()
