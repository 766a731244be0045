"""The experiment on held connections: memory and context switches, each per what it is for."""

import pytest

from experiments.making import made
from loadgen.experiments import footprint

pytestmark = pytest.mark.measures


def test_memory_per_connection_is_what_came_with_them() -> None:
    record = made("footprint", "epoll", 0, 100.0)
    assert footprint.per_connection(footprint.rss_bytes)(record) == 100_000 / 4
    assert footprint.switches(record) == 0.55
