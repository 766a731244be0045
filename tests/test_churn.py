"""The loop that connects anew for every request, where its bookkeeping has an end."""

from collections.abc import Iterator

import pytest
import stubs
from stubs import Stub

from loadgen.engine import churn
from loadgen.workload.load import Load


def conversation(number: int, line: bytes) -> Iterator[bytes]:
    if line == b"exit":
        raise ConnectionAbortedError
    yield stubs.answer(line)


def test_the_window_is_empty_when_the_record_is_full_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Room for one conversation per slot."""
    monkeypatch.setattr(churn, "_MAX_PER_S", 0)
    load = Load(connections=3, warmup_s=stubs.DEADLINE_S)
    with Stub(conversation) as stub:
        samples = churn.drive(("127.0.0.1", stub.port), load).samples
    assert samples.full
    assert len(samples.outcome) == 3
    assert samples.window_end_ns >= samples.window_start_ns
    assert not samples.in_window.any()
