"""The experiment with a connection per request, from real servers to the finding."""

from pathlib import Path
from statistics import median

import pytest
import records

from experiments.making import (
    MODELS,
    NEVER_NS,
    STEADY,
    WILD,
    blocks,
    drawn,
    found_in,
    measure,
    times,
)
from loadgen.store.metric import rate_of_slices
from loadgen.store.schema import Record
from loadgen.trial import methods, sliced
from loadgen.trial.methods import Churn

pytestmark = pytest.mark.measures


@pytest.mark.parametrize("server", MODELS)
def test_churn_end_to_end(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliced, "PAUSE_NS", NEVER_NS)  # whoever else works here
    record = measure(tmp_path / "log", "churn", server)

    counts = record["counts"]
    assert record["outcome"] == "measured", record["failure"]
    assert record["slices"] is not None
    assert counts["ok"] == counts["scheduled"] > 0
    # Everybody was greeted, whether within a slice or not.
    assert record["connections"]["greeted"] == record["connections"]["attempted"]
    assert record["connections"]["greeted"] >= sum(filter(None, record["slices"]["drive_answers"]))
    workload = methods.of(record["cell"]["workload"])
    rates = [rate for rate in rate_of_slices(record["slices"]) if rate is not None]
    assert record["throughput_per_s"] == pytest.approx(median(rates))
    greeting, whole = record["latency_ns"]["greeting"], record["latency_ns"]["service"]
    assert greeting is not None
    assert whole is not None
    assert 0 < (greeting["mean"] or 0) < (whole["mean"] or 0)
    assert record["server_cost"] is not None
    assert record["verdict"] == workload.judge(record)


def test_churn_is_drawn_from_what_was_stored(tmp_path: Path) -> None:
    found = [measure(tmp_path / "log", "churn", server) for server in ("blocking", "epoll")]
    assert drawn(tmp_path / "run", *found) == ["churn-cost.svg", "churn.svg"]


def churn_record(server: str, throughput_per_s: float, block: int) -> Record:
    made = records.record(
        server,
        experiment="churn",
        connections=2,
        throughput_per_s=throughput_per_s,
        block=block,
    )
    made["cell"]["workload"] = Churn(connections=2).as_record()
    return made


def test_the_finding_of_churn_names_a_clear_win_an_equal_and_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    said = found_in(
        tmp_path,
        blocks(
            churn_record,
            {
                "blocking": times(2000, STEADY),
                "threaded": times(1000, STEADY),
                "epoll": times(2000, STEADY[::-1]),
            },
        ),
    )
    assert "2 at a time" in said
    assert "times as many conversations per second as threaded" in said
    assert "2.00 [" in said
    assert "and is equal within 3 % to epoll (1.00 [" in said


def test_the_finding_of_churn_decides_nothing_on_wild_or_missing_data(tmp_path: Path) -> None:
    wild = {"blocking": times(1000, WILD), "epoll": times(1000, STEADY)}
    assert "is not resolved from epoll" in found_in(tmp_path / "wild", blocks(churn_record, wild))
    alone = {"epoll": times(1000, STEADY)}
    assert "took no part" in found_in(tmp_path / "alone", blocks(churn_record, alone))
