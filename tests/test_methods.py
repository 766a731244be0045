"""What can be measured, and what is refused in one line; what is stored is read back."""

import math
import re
from typing import Any

import pytest

from loadgen.trial import methods
from loadgen.trial.methods import Churn, Death, Method, Reaping, Requests, Search, Timeline, Trace
from loadgen.workload.load import MAX_CHURN_BYTES, MAX_REQUESTS

SLOW: dict[str, Any] = {"slow_connections": 5, "slow_behaviour": "half_line"}
OPEN: dict[str, Any] = {"offered_per_s": 1000.0, "arrivals": "poisson"}

VALID: list[tuple[type[Method], dict[str, Any]]] = [
    *((method, {}) for method in methods.METHODS),
    (Requests, {"connections": 512, "idle_connections": 15_000, "message_bytes": 1 << 20}),
    (Requests, {"connections": 0}),
    (Requests, {"warmup_s": 0, "drain_s": 0, "duration_s": 1}),
    (Requests, {"pipeline_depth": 100}),
    (Requests, SLOW),
    (Requests, {"work": "sleep:10ms", "max_line_bytes": 8}),
    (Requests, {"stall_s": 0.5, "stall_every_s": 0.6}),
    (Requests, OPEN),
    (Requests, {**OPEN, "arrivals": "constant", "offered_per_s": 0.01}),
    (Requests, {**OPEN, "offered_per_s": MAX_REQUESTS / 20, "duration_s": 19, "warmup_s": 1}),
    (Churn, {"message_bytes": MAX_CHURN_BYTES}),
    (Search, {"p99_limit_s": 0.01, "connections": 16}),
    (Timeline, {"connections": 2, "requests": 1}),
    (Trace, {"idle_connections": 100}),
    (Trace, {"transport": "unix"}),
    (Requests, {"transport": "ipv6", "protocol": "http", "idle_timeout_s": 5.0}),
    (Churn, {"transport": "unix", "protocol": "http"}),
    (Reaping, {"idle_connections": 0}),
    (Reaping, {"idle_timeout_s": None}),
]


@pytest.mark.parametrize(("method", "fields"), VALID)
def test_valid(method: type[Method], fields: dict[str, Any]) -> None:
    method(**fields).check()


@pytest.mark.parametrize(
    ("method", "fields", "name", "value"),
    [
        (Requests, {"connections": -1}, "connections", "-1"),
        (Requests, {"connections": 1.5}, "connections", "1.5"),
        (Requests, {"connections": True}, "connections", "True"),
        (Requests, {"connections": 10**6}, "connections", "1000000"),
        (Requests, {"idle_connections": -1}, "idle_connections", "-1"),
        (Requests, {"message_bytes": 1}, "message_bytes", "1"),
        (Requests, {"message_bytes": (1 << 20) + 1}, "message_bytes", "1048577"),
        (Requests, {"message_bytes": "16"}, "message_bytes", "'16'"),
        (Requests, {"warmup_s": -0.1}, "warmup_s", "-0.1"),
        (Requests, {"duration_s": 0}, "duration_s", "0"),
        (Requests, {"duration_s": math.nan}, "duration_s", "nan"),
        (Requests, {"duration_s": math.inf}, "duration_s", "inf"),
        (Requests, {"duration_s": None}, "duration_s", "None"),
        (Requests, {"drain_s": 1e9}, "drain_s", "1000000000.0"),
        (Requests, {"pipeline_depth": -1}, "pipeline_depth", "-1"),
        (Requests, {"work": "idle:10ms"}, "work", "'idle:10ms'"),
        (Requests, {"max_line_bytes": 0}, "max_line_bytes", "0"),
        (Requests, {"transport": "ipx"}, "transport", "'ipx'"),
        (Requests, {"protocol": "gopher"}, "protocol", "'gopher'"),
        (Requests, {"idle_timeout_s": 0.0}, "idle_timeout_s", "0.0"),
        (Requests, {**SLOW, "protocol": "http"}, "slow_behaviour", "'half_line'"),
        (Trace, {"protocol": "http"}, "protocol", "'http'"),
        (Timeline, {"protocol": "http"}, "protocol", "'http'"),
        (Death, {"transport": "unix"}, "transport", "'unix'"),
        (Requests, {"stall_s": 1.0}, "stall_s", "1.0"),
        (Requests, {"stall_s": 5.0, "stall_every_s": 1.0}, "stall_s", "5.0"),
        (Requests, {"slow_connections": 1}, "slow_behaviour", "None"),
        (Requests, {"slow_behaviour": "half_line"}, "slow_behaviour", "'half_line'"),
        (Requests, {"arrivals": "poisson"}, "arrivals", "'poisson'"),
        (Requests, {**OPEN, "connections": 0}, "connections", "0"),
        (Requests, {**OPEN, "offered_per_s": 0.0}, "offered_per_s", "0.0"),
        (Requests, {**OPEN, "offered_per_s": -5.0}, "offered_per_s", "-5.0"),
        (Requests, {**OPEN, "offered_per_s": math.nan}, "offered_per_s", "nan"),
        (Requests, {**OPEN, "offered_per_s": 1e12}, "offered_per_s", "1000000000000.0"),
        (Requests, {**OPEN, "arrivals": None}, "arrivals", "None"),
        (Requests, {**OPEN, "arrivals": "bursty"}, "arrivals", "'bursty'"),
        (Requests, {**OPEN, "pipeline_depth": 5}, "pipeline_depth", "5"),
        (Requests, {**OPEN, "offered_per_s": 1e6, "duration_s": 60}, "offered_per_s", "1000000.0"),
        (Churn, {"message_bytes": MAX_CHURN_BYTES + 1}, "message_bytes", "4097"),
        (Churn, {"connections": 0}, "connections", "0"),
        (Search, {"connections": 0}, "connections", "0"),
        (Search, {"p99_limit_s": -1.0}, "p99_limit_s", "-1.0"),
        (Timeline, {"connections": 0}, "connections", "0"),
        (Trace, {"connections": 2}, "connections", "2"),
        (Trace, {"requests": 0}, "requests", "0"),
        (Reaping, {"idle_timeout_s": 0.0}, "idle_timeout_s", "0.0"),
        (Reaping, {"idle_timeout_s": math.inf}, "idle_timeout_s", "inf"),
        (Reaping, {"idle_connections": 10_001}, "idle_connections", "10001"),
        (Reaping, {"protocol": "http"}, "protocol", "'http'"),
        (Reaping, {"transport": "unix"}, "transport", "'unix'"),
        (Reaping, SLOW, "slow_connections", "5"),
        (Reaping, OPEN, "offered_per_s", "1000.0"),
        (Trace, {"idle_connections": 10_001}, "idle_connections", "10001"),
    ],
)
def test_refused_in_one_line(
    method: type[Method], fields: dict[str, Any], name: str, value: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {re.escape(value)}[: ].*$") as refused:
        method(**fields).check()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("method", "fields"), VALID)
def test_what_was_stored_is_the_same_workload(method: type[Method], fields: dict[str, Any]) -> None:
    workload = method(**fields)
    assert methods.of(workload.as_record()) == workload


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"connections": 5},
        {"method": "telepathy"},
        {"method": "churn"},
        {**Churn().as_record(), "idle_connections": 5},
    ],
)
def test_what_this_lab_does_not_know_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^(unknown method|the workload is none)"):
        methods.of(stored)


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_says_what_it_is_about(method: type[Method]) -> None:
    workload = method()
    assert workload.seconds > 0
    assert workload.clients >= workload.connections
    assert workload.headline in workload.metrics
    assert workload.target in workload.metrics
    assert workload.differences() == {}


def test_what_the_workload_asks_of_the_server_is_on_its_command_line() -> None:
    assert Requests().server_options() == ()
    options = Churn(work="cpu:20us", max_line_bytes=1 << 20).server_options()
    assert options == ("--work", "cpu:20us", "--max-line", "1048576")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ()),
        ({"transport": "ipv6"}, ("--host", "::1")),
        ({"transport": "unix"}, ("--unix", "PATH")),
        ({"protocol": "http"}, ("--protocol", "http")),
        ({"idle_timeout_s": 2.5}, ("--idle-timeout", "2.5")),
        ({"transport": "unix", "work": "cpu:1us"}, ("--unix", "PATH", "--work", "cpu:1us")),
    ],
)
def test_a_workload_is_asked_of_the_server_on_its_command_line(
    fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    assert Requests(**fields).server_options() == words
