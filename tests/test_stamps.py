"""The stamps that the load generator reports against those of the packets themselves.

A packet socket sees the loopback packets of a real drive, stamped by the kernel when they were
received (packet(7), socket(7)).
"""

import dataclasses
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import stubs
from driving import count, drive, stamping, tag
from stubs import Stub

from loadgen.engine.syscalls import NS_PER_S, SO_TIMESTAMPNS
from loadgen.workload.dialogue import PREFIX
from loadgen.workload.load import Load

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="packet sockets are Linux's"),
    pytest.mark.skipif(os.geteuid() != 0, reason="capturing packets takes root"),
]

ETH_P_IP = 0x0800
# asm-generic/socket.h, linux/if_packet.h
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
BUFFER_BYTES = 256 << 20
ETHERNET_BYTES = 14


@pytest.fixture(autouse=True, scope="module")
def _stamping() -> Iterator[None]:
    with stamping():
        yield


@contextmanager
def capture(port: int) -> Iterator[list[tuple[int, bytes, bool]]]:
    """The TCP payloads from and to a port while the block runs, in a list that is filled at its
    end: (stamp in ns, payload, to the server)."""
    packets: list[tuple[int, bytes, bool]] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)  # each packet once, as received
        sock.bind(("lo", ETH_P_IP))
        yield packets
        sock.setblocking(False)
        while select.select([sock], [], [], 0)[0]:
            frame, control, _, _ = sock.recvmsg(65_536 + ETHERNET_BYTES, 64)
            packet = frame[ETHERNET_BYTES:]
            header_bytes = 4 * (packet[0] & 15)
            tcp = packet[header_bytes : struct.unpack("!H", packet[2:4])[0]]
            if packet[9] != socket.IPPROTO_TCP or port not in struct.unpack("!HH", tcp[:4]):
                continue
            payload = tcp[4 * (tcp[12] >> 4) :]
            if payload:
                seconds, nanoseconds = struct.unpack("qq", control[0][2])
                to_server = struct.unpack("!HH", tcp[:4])[1] == port
                packets.append((seconds * NS_PER_S + nanoseconds, payload, to_server))


def wire_service_ns(packets: list[tuple[int, bytes, bool]]) -> dict[int, int]:
    """From a request's packet at the server to its answer's at the client, by request."""
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


@pytest.mark.parametrize("mode", ["closed", "open"])
def test_service_time_is_that_of_the_wire(mode: str) -> None:
    """p50 within 5 %, p99 within 10 %. The server takes 200 us for a request."""
    load = Load(connections=2, warmup_s=0.05, duration_s=1.0, drain_s=stubs.DEADLINE_S)
    if mode == "open":
        load = dataclasses.replace(load, offered_per_s=2500.0, arrivals="poisson")
    with Stub(stubs.delayed(200_000)) as stub, capture(stub.port) as packets:
        result = drive(stub, load)
    wire = wire_service_ns(packets)
    requests = len(result.sent_ns)
    assert count(result) == {"OK": requests}
    assert sorted(wire) == list(range(requests))
    reported = (result.arrived_ns - result.sent_ns)[result.in_window]
    seen = np.array([wire[request] for request in range(requests)])[result.in_window]
    assert len(seen) > 200
    for percentile, tolerance in ((50, 0.05), (99, 0.10)):
        expected = np.percentile(seen, percentile)
        assert np.percentile(reported, percentile) == pytest.approx(expected, rel=tolerance)
