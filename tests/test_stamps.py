"""The stamps that the load generator reports against those of the packets themselves.

A packet socket sees the loopback packets of a real drive, stamped by the kernel when they were
received (packet(7), socket(7)).
"""

import dataclasses
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import stubs
from driving import count, drive, stamping, tag
from stubs import Stub

from loadgen.clients.connect import connected
from loadgen.engine import requests
from loadgen.engine.samples import Samples
from loadgen.engine.syscalls import NS_PER_S, SO_TIMESTAMPNS
from loadgen.machine.cpus import choose_pinning, run_pinned
from loadgen.target.address import Address
from loadgen.target.process import running, started
from loadgen.workload.dialogue import PREFIX
from loadgen.workload.load import Load

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="packet sockets are Linux's"),
    pytest.mark.skipif(os.geteuid() != 0, reason="capturing packets takes root"),
]

ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800
# asm-generic/socket.h, linux/if_packet.h
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4
BUFFER_BYTES = 1 << 30
ETHERNET_BYTES = 14
FRAME_BYTES = 65_536 + ETHERNET_BYTES

# Percentiles of the service time, and how far they may be from those of the wire.
TOLERANCES = ((50, 0.04), (99, 0.05))
ATTEMPTS = 5


@pytest.fixture(autouse=True, scope="module")
def _stamping() -> Iterator[None]:
    with stamping():
        yield


@contextmanager
def capture(port: int) -> Iterator[list[tuple[int, bytes, bool]]]:
    """The TCP payloads from and to a port while the block runs, in a list that is filled at its
    end: (stamp in ns, payload, to the server), of requests as they leave and of answers as they
    arrive. Who read them meanwhile would take a CPU from those
    who send them."""
    packets: list[tuple[int, bytes, bool]] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        # Not of ETH_P_IP: who asks for one protocol gets packets when that has dealt with them, and
        # those of TCP are stamped only then (skb_clear_delivery_time).
        sock.bind(("lo", ETH_P_ALL))
        yield packets
        _, lost = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        assert not lost, "the buffer is too small"
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                frame, control, _, (_, protocol, kind, *_) = sock.recvmsg(FRAME_BYTES, 64)
                packet = frame[ETHERNET_BYTES:]
                header_bytes = 4 * (packet[0] & 15)
                tcp = packet[header_bytes : struct.unpack("!H", packet[2:4])[0]]
                if (
                    protocol != ETH_P_IP
                    or packet[9] != socket.IPPROTO_TCP
                    or port not in struct.unpack("!HH", tcp[:4])
                ):
                    continue
                to_server = struct.unpack("!HH", tcp[:4])[1] == port
                payload = tcp[4 * (tcp[12] >> 4) :]
                # Each packet is seen twice.
                if payload and to_server == (kind == PACKET_OUTGOING):
                    seconds, nanoseconds = struct.unpack("qq", control[0][2])
                    packets.append((seconds * NS_PER_S + nanoseconds, payload, to_server))


def wire_service_ns(packets: list[tuple[int, bytes, bool]]) -> dict[int, int]:
    """From when a request leaves until its answer arrives, by request."""
    asked: dict[int, int] = {}
    service: dict[int, int] = {}
    for stamp_ns, payload, to_server in packets:
        for line in payload.split(b"\n")[:-1]:
            if to_server:
                asked[tag(line)] = stamp_ns
            elif line.startswith(PREFIX):
                request = tag(line.removeprefix(PREFIX))
                service[request] = stamp_ns - asked[request]
    return service


def compared(
    result: Samples, packets: list[tuple[int, bytes, bool]]
) -> tuple[np.ndarray, np.ndarray]:
    """Service times of the window, as reported and as the wire has them; int64[n] each."""
    wire = wire_service_ns(packets)
    requests = len(result.sent_ns)
    assert count(result) == {"OK": requests}
    assert sorted(wire) == list(range(requests))
    seen = np.array([wire[request] for request in range(requests)])
    assert len(result.stamped) > 0
    return result.service_ns[result.in_window], seen[result.in_window]


@pytest.mark.parametrize("mode", ["closed", "open"])
def test_service_time_is_that_of_the_wire(mode: str) -> None:
    """p50 within 4 %, p99 within 5 %. The server takes 200 us for a request."""
    load = Load(connections=2, warmup_s=0.05, duration_s=1.0, drain_s=stubs.DEADLINE_S)
    if mode == "open":
        load = dataclasses.replace(load, offered_per_s=2500.0, arrivals="poisson")
    with Stub(stubs.delayed(200_000)) as stub, capture(stub.port) as packets:
        result = drive(stub, load)
    reported, seen = compared(result, packets)
    assert len(seen) > 200
    for percentile, tolerance in TOLERANCES:
        expected = np.percentile(seen, percentile)
        assert np.percentile(reported, percentile) == pytest.approx(expected, rel=tolerance)


@pytest.fixture(scope="module", params=["leanest peer", "epoll"])
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Address]:
    """A server on a CPU of its own: the leanest there is, or the leanest of the catalog."""
    log = tmp_path_factory.mktemp("log") / "log"
    cpus = set(choose_pinning().server)
    peer = [sys.executable, "-m", "loadgen.trial.calibration_peer", "0"]
    with (
        started("epoll", cpus=cpus, log=log)
        if request.param == "epoll"
        else running(peer, cpus=cpus, log=log)
    ) as target:
        yield target.address


@pytest.mark.parametrize("clients", [1, 4, 16, 64])
def test_service_time_is_that_of_the_wire_when_servers_are_fast(
    address: Address, clients: int
) -> None:
    """The same at service times of microseconds, where our own way to the wire would show.

    A pause of the machine between our stamp and the wire is in one of the two only: a drive that
    had none has to be among a few.
    """
    off: list[float] = []
    load = Load(connections=clients, warmup_s=0.05, duration_s=0.2)
    for _ in range(ATTEMPTS):
        with connected(address, clients) as found, capture(address.port) as packets:
            fds = [sock.fileno() for sock in found.socks]
            result = run_pinned(
                choose_pinning().generator,
                lambda stop, fds=fds: requests.drive(fds, load, stop=stop),
                lambda _: None,
            )
        reported, seen = compared(result, packets)
        assert len(seen) > 200
        off = [
            abs(np.percentile(reported, percentile) / np.percentile(seen, percentile) - 1)
            for percentile, _ in TOLERANCES
        ]
        if all(each <= tolerance for each, (_, tolerance) in zip(off, TOLERANCES, strict=True)):
            return
    pytest.fail(f"p50 and p99 are off by {off[0]:.1%} and {off[1]:.1%}")
