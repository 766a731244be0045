"""The experiment with answers that take time: what they cost is said in words."""

import pytest

from loadgen.experiments import handler

pytestmark = pytest.mark.measures


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ("", "answers cost nothing extra"),
        ("cpu:100us", "each answer burns 100 us of CPU"),
        ("cpu:1ms", "each answer burns 1 ms of CPU"),
        ("sleep:10ms", "each answer sleeps 10 ms"),
        ("sleep:2s", "each answer sleeps 2 s"),
    ],
)
def test_work_is_said_in_words(work: str, words: str) -> None:
    assert handler.in_words(work) == words
