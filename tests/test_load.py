"""What the generator is told, and what is refused in one line."""

import re

import pytest

from loadgen.workload.load import MAX_CHURN_BYTES, MAX_REQUESTS, Load

OPEN = {"offered_per_s": 1000.0, "arrivals": "poisson"}


def test_an_open_loop_has_a_rate() -> None:
    assert not Load().is_open
    assert Load(offered_per_s=5.0, arrivals="constant").is_open


def test_who_sends_at_the_stamp_of_the_last_answer() -> None:
    assert Load().is_back_to_back
    assert not Load(pipeline_depth=3).is_back_to_back
    assert not Load(offered_per_s=5.0, arrivals="constant").is_back_to_back


@pytest.mark.parametrize("changes", [{}, {"connections": 0}, {"pipeline_depth": 100}, OPEN])
def test_valid(changes: dict[str, object]) -> None:
    Load(**changes).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"connections": 1.5}, "connections", "1.5"),
        ({"message_bytes": 1}, "message_bytes", "1"),
        ({"duration_s": 0}, "duration_s", "0"),
        ({"seed": -1}, "seed", "-1"),
        ({"pipeline_depth": -1}, "pipeline_depth", "-1"),
        ({"arrivals": "poisson"}, "arrivals", "'poisson'"),
        ({**OPEN, "connections": 0}, "connections", "0"),
        ({**OPEN, "offered_per_s": 0.0}, "offered_per_s", "0.0"),
        ({**OPEN, "arrivals": None}, "arrivals", "None"),
        ({**OPEN, "pipeline_depth": 5}, "pipeline_depth", "5"),
        ({**OPEN, "offered_per_s": MAX_REQUESTS + 1.0}, "offered_per_s", "20000001.0"),
        ({**OPEN, "offered_per_s": 1e6, "duration_s": 60}, "offered_per_s", "1000000.0"),
    ],
)
def test_refused_in_one_line(changes: dict[str, object], name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {re.escape(value)}: .*$") as refused:
        Load(**changes).validate()  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"message_bytes": MAX_CHURN_BYTES + 1}, "message_bytes", "4097"),
        ({"connections": 0}, "connections", "0"),
        (OPEN, "offered_per_s", "1000.0"),
        ({"pipeline_depth": 2}, "pipeline_depth", "2"),
        ({"message_bytes": 1}, "message_bytes", "1"),
    ],
)
def test_churn_refuses_what_it_cannot_do(changes: dict[str, object], name: str, value: str) -> None:
    Load(message_bytes=MAX_CHURN_BYTES).validate_for_churn()
    with pytest.raises(ValueError, match=rf"^{name} is {re.escape(value)}: .*$"):
        Load(**changes).validate_for_churn()  # type: ignore[arg-type]
