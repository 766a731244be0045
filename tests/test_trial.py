"""Whole trials against real servers: what is recorded, and what happens to servers that fail."""

import json
import os
import sys
from pathlib import Path

import pytest

from loadgen import crowd, engine, environment, histogram, results, trial
from loadgen.target import TargetError, started
from loadgen.trial import Subject
from loadgen.workload import Workload
from servers import catalog

SHORT = {"warmup_s": 0.05, "duration_s": 0.15}
CPUS = environment.pinning()


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    engine.compile()
    environment.raise_descriptor_limit()


def measure(log: Path, server: str = "epoll", **workload: object) -> results.Record:
    load = Workload(**{**SHORT, **workload})  # type: ignore[arg-type]
    load.validate()
    return trial.run(Subject(variant=catalog.find(server)), load, cpus=CPUS, log=log)


@pytest.mark.parametrize("server", [variant.name for variant in catalog.VARIANTS])
def test_a_trial_of_every_server_is_correct_and_conserves_counts(
    server: str, tmp_path: Path
) -> None:
    record = measure(tmp_path / "log", server, connections=2)
    counts = record["counts"]
    assert record["outcome"] == "measured", record.get("failure")
    assert counts["ok"] > 0
    assert counts["scheduled"] == sum(counts[k] for k in ("ok", "wrong", "error", "unfinished"))
    assert counts["wrong"] == counts["error"] == 0
    assert record["throughput_per_s"] == pytest.approx(counts["ok"] / SHORT["duration_s"], rel=0.01)
    limit = catalog.find(server).clients_at_once
    assert record["connections"]["greeted"] == min(2, limit or 2)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_the_percentiles_of_a_record_are_those_of_its_histogram(tmp_path: Path) -> None:
    record = measure(tmp_path / "log", connections=4)
    stored = histogram.decode(str(record["histograms"]["service"]))
    again = histogram.summary(stored, censored=record["counts"]["unfinished"])
    summary = record["latency_ns"]["service"]
    assert summary is not None
    for key in ("n", "p50", "p90", "p99", "p99_9"):
        assert summary[key] == again[key]  # type: ignore[literal-required]


def test_open_loop_offers_what_it_was_told(tmp_path: Path) -> None:
    record = measure(
        tmp_path / "log",
        connections=4,
        mode="open",
        arrivals="constant",
        offered_per_s=1000.0,
        duration_s=0.3,
    )
    assert record["counts"]["scheduled"] == 300
    assert record["latency_ns"]["response"] is not None


def test_idle_clients_are_connected_and_counted(tmp_path: Path) -> None:
    record = measure(tmp_path / "log", idle_connections=300)
    assert record["connections"]["greeted"] == record["connections"]["attempted"] == 301
    assert record["server_cost"] is not None
    assert record["server_cost"]["fds"] >= 301


def test_selects_wall_is_a_result(tmp_path: Path) -> None:
    record = measure(tmp_path / "log", "select", idle_connections=1100)
    connections = record["connections"]
    assert connections["limit"]
    assert 1000 <= connections["greeted"] < 1024
    assert record["outcome"] == "measured"


def test_a_server_that_dies_at_once_is_named_with_its_log(tmp_path: Path) -> None:
    subject = Subject(variant=catalog.find("epoll"), options=("--max-line", "no"))
    record = trial.run(subject, Workload(**SHORT), cpus=CPUS, log=tmp_path / "log")  # type: ignore[arg-type]
    assert record["outcome"] == "crashed"
    assert "--max-line" in str(record["failure"])
    assert not record["verdict"]["valid"]


def test_an_interpreter_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    subject = Subject(variant=catalog.find("epoll"), python="/nowhere/python")
    record = trial.run(subject, Workload(**SHORT), cpus=CPUS, log=tmp_path / "log")  # type: ignore[arg-type]
    assert record["outcome"] == "crashed"
    assert "\n" not in str(record["failure"])


def test_nobody_listening_is_a_failure_and_no_traceback(tmp_path: Path) -> None:
    with started("epoll", cpus=set(CPUS.server), log=tmp_path / "log") as target:
        address = target.address
    record = trial.run(
        Subject(address=address),
        Workload(**SHORT),  # type: ignore[arg-type]
        cpus=CPUS,
        log=tmp_path / "unused",
    )
    assert record["outcome"] == "crashed"
    assert "refused" in str(record["failure"])


def test_a_started_server_is_gone_afterwards(tmp_path: Path) -> None:
    with started("threaded", cpus=set(CPUS.server), log=tmp_path / "log") as target:
        (process,) = target.processes()
        assert os.sched_getaffinity(process.pid) == set(CPUS.server)
        assert target.usage().threads == 1
    assert not process.is_running()


def test_a_program_that_says_something_else_is_no_server(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    with (
        pytest.raises(TargetError, match="hello"),
        started("epoll", cpus=set(CPUS.server), log=tmp_path / "log", python=str(fake)),
    ):
        pass


def test_the_crowd_says_what_became_of_it(tmp_path: Path) -> None:
    with (
        started("blocking", cpus=set(CPUS.server), log=tmp_path / "log") as target,
        crowd.standing_by(target.address, 0, cpus=set(CPUS.generator)) as nobody,
    ):
        assert nobody.connect() == (0, {}, 0)
    assert sys.executable in target.command
