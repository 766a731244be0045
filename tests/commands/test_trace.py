"""What is left of a trace that was stopped or killed."""

import pytest
from command_line import expect_nothing_left
from tracing import traced

pytestmark = pytest.mark.measures


@traced
@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_neither_tracer_nor_server_outlives_the_lab(how: str) -> None:
    expect_nothing_left(how, "trace epoll --requests 10000", "strace", "servers")
