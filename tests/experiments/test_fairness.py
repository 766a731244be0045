"""The experiment on fairness: the index and the shares that it reports."""

from collections.abc import Sequence

import numpy as np
import pytest

from loadgen.engine.samples import Samples, WindowClocks
from loadgen.store.schema import Fairness
from loadgen.trial import summary
from loadgen.workload.load import Load

pytestmark = pytest.mark.measures


def share_out(answers: Sequence[int], pipeline_depth: int = 0) -> Fairness | None:
    """`summary.fairness` of a drive in which each connection got so many answers."""
    total = sum(answers)
    inside = np.full(total, 5, np.int64)
    samples = Samples(
        intended_ns=inside,
        sent_ns=inside,
        arrived_ns=inside,
        read_ns=inside,
        connection=np.repeat(np.arange(len(answers)), answers).astype(np.int32),
        outcome=np.zeros(total, np.uint8),
        window_start_ns=0,
        window_end_ns=10,
        clocks=WindowClocks(*[np.zeros(2, np.int64)] * 5),
        errors=np.zeros(len(answers), np.int32),
        unstamped=0,
        longest_gap_ns=0,
        full=False,
    )
    load = Load(connections=len(answers), pipeline_depth=pipeline_depth)
    return summary.fairness(samples, load)


def test_jains_index_and_shares_are_those_of_the_paper() -> None:
    assert share_out([5, 5, 5, 5]) == {
        "jain": 1.0,
        "slowest_share": 0.25,
        "fastest_share": 0.25,
        "greedy_share": None,
    }
    starved = share_out([0, 0, 0, 8])
    assert starved is not None
    assert (starved["jain"], starved["slowest_share"]) == (0.25, 0.0)
    greedy = share_out([60, 20, 20], pipeline_depth=8)
    assert greedy == {
        "jain": pytest.approx(1.0),
        "slowest_share": 0.2,
        "fastest_share": 0.2,
        "greedy_share": 0.6,
    }
    assert share_out([0, 0]) is None
