"""What can be run, and what is refused in one line."""

import math
import re

import pytest

from loadgen.workload.load import MAX_CHURN_BYTES, MAX_REQUESTS

SLOW = {"slow_connections": 5, "slow_behaviour": "half_line"}
OPEN = {"mode": "open", "offered_per_s": 1000.0, "arrivals": "poisson"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"connections": 512, "idle_connections": 15_000, "message_bytes": 1 << 20},
        {"connections": 0},
        {"warmup_s": 0, "drain_s": 0, "duration_s": 1},
        {"greedy_pipeline": 100},
        SLOW,
        {"driver": "churn", "message_bytes": MAX_CHURN_BYTES},
        {"driver": "trace", "idle_connections": 100},
        {"stall_s": 0.5, "stall_every_s": 0.6},
        {**OPEN, "knee_limit_s": 0.01},
        OPEN,
        {**OPEN, "arrivals": "constant", "offered_per_s": 0.01},
        {**OPEN, "offered_per_s": MAX_REQUESTS / 20, "duration_s": 19, "warmup_s": 1},
    ],
)
def test_valid(changes: dict[str, object]) -> None:
    Workload(**changes).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"connections": -1}, "connections", "-1"),
        ({"connections": 1.5}, "connections", "1.5"),
        ({"connections": True}, "connections", "True"),
        ({"connections": 10**6}, "connections", "1000000"),
        ({"idle_connections": -1}, "idle_connections", "-1"),
        ({"message_bytes": 1}, "message_bytes", "1"),
        ({"message_bytes": (1 << 20) + 1}, "message_bytes", "1048577"),
        ({"message_bytes": "16"}, "message_bytes", "'16'"),
        ({"warmup_s": -0.1}, "warmup_s", "-0.1"),
        ({"duration_s": 0}, "duration_s", "0"),
        ({"duration_s": math.nan}, "duration_s", "nan"),
        ({"duration_s": math.inf}, "duration_s", "inf"),
        ({"duration_s": None}, "duration_s", "None"),
        ({"drain_s": 1e9}, "drain_s", "1000000000.0"),
        ({"seed": -1}, "seed", "-1"),
        ({"greedy_pipeline": -1}, "greedy_pipeline", "-1"),
        ({"mode": "half-open"}, "mode", "'half-open'"),
        ({"driver": "telepathy"}, "driver", "'telepathy'"),
        ({"driver": "churn", "message_bytes": MAX_CHURN_BYTES + 1}, "message_bytes", "4097"),
        ({**OPEN, "driver": "churn"}, "mode", "'open'"),
        ({"driver": "churn", "connections": 0}, "connections", "0"),
        ({"driver": "churn", "idle_connections": 5}, "idle_connections", "5"),
        ({"driver": "churn", "stall_s": 0.1}, "stall_s", "0.1"),
        ({"driver": "churn", "greedy_pipeline": 2}, "greedy_pipeline", "2"),
        ({"driver": "timeline", "idle_connections": 5}, "idle_connections", "5"),
        ({"driver": "timeline", "knee_limit_s": 0.1}, "knee_limit_s", "0.1"),
        ({"driver": "timeline", **SLOW}, "slow_connections", "5"),
        ({"driver": "trace", "stall_s": 0.1}, "stall_s", "0.1"),
        ({"knee_limit_s": 0.1}, "knee_limit_s", "0.1"),
        ({"stall_s": 1.0}, "stall_s", "1.0"),
        ({"stall_s": 5.0, "stall_every_s": 1.0}, "stall_s", "5.0"),
        ({"slow_connections": 1}, "slow_behaviour", "None"),
        ({"slow_behaviour": "half_line"}, "slow_behaviour", "'half_line'"),
        ({"offered_per_s": 10.0}, "offered_per_s", "10.0"),
        ({"arrivals": "poisson"}, "arrivals", "'poisson'"),
        ({**OPEN, "connections": 0}, "connections", "0"),
        ({**OPEN, "offered_per_s": None}, "offered_per_s", "None"),
        ({**OPEN, "offered_per_s": 0.0}, "offered_per_s", "0.0"),
        ({**OPEN, "offered_per_s": -5.0}, "offered_per_s", "-5.0"),
        ({**OPEN, "offered_per_s": math.nan}, "offered_per_s", "nan"),
        ({**OPEN, "offered_per_s": 1e12}, "offered_per_s", "1000000000000.0"),
        ({**OPEN, "arrivals": None}, "arrivals", "None"),
        ({**OPEN, "arrivals": "bursty"}, "arrivals", "'bursty'"),
        ({**OPEN, "greedy_pipeline": 5}, "greedy_pipeline", "5"),
        ({**OPEN, "offered_per_s": 1e6, "duration_s": 60}, "offered_per_s", "1000000.0"),
    ],
)
def test_refused_in_one_line(changes: dict[str, object], name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {re.escape(value)}: .*$") as refused:
        Workload(**changes).validate()  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
