"""The experiment on system calls, from traced servers to the finding."""

from pathlib import Path

import pytest
import records
from tracing import traced

from experiments.making import MODELS, WILD, blocks, drawn, found_in, measure, times
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.store.schema import Record
from loadgen.trial.methods import Trace
from servers import catalog

pytestmark = pytest.mark.measures


@traced
@pytest.mark.parametrize("server", MODELS)
def test_system_calls_end_to_end(server: str, tmp_path: Path) -> None:
    record = measure(tmp_path / "log", "system_calls", server)

    assert record["outcome"] == "measured", record["failure"]
    assert record["verdict"]["valid"], record["verdict"]["reasons"]
    assert record["throughput_per_s"] is None, "a trace is never timed"
    found = record["system_calls"]
    assert found is not None
    assert found["requests"] == Trace().requests
    if catalog.find(server).rings:  # what it receives and sends is not a call
        assert found["per_request"]["io_uring_enter"] >= 1
        assert "io_uring_enter" in [each["call"] for each in found["sequence"]]
    else:
        each = found["per_request"]
        assert each.get("recvfrom", 0) + each.get("read", 0) >= 1
        assert each.get("sendto", 0) + each.get("write", 0) >= 1
        assert found["sequence"][-1]["call"] in ("sendto", "write")
        assert found["sequence"][-1]["times"] == 1
    assert found["total"] == pytest.approx(sum(found["per_request"].values()))


@traced
def test_system_calls_are_drawn_from_what_was_stored(tmp_path: Path) -> None:
    found = [measure(tmp_path / "log", "system_calls", server) for server in ("poll", "epoll")]
    assert drawn(tmp_path / "run", *found) == ["system_calls.svg"]


def calls_record(server: str, total: float, block: int, idle: int) -> Record:
    made = records.record(server, experiment="system_calls", connections=1, idle=idle, block=block)
    made["cell"]["workload"] = Trace(idle_connections=idle).as_record()
    in_vain = round(total) - 2
    made["system_calls"] = {
        "requests": 20,
        "per_request": {"recvfrom (nothing)": in_vain, "recvfrom": 1.0, "sendto": 1.0},
        "total": total,
        "sequence": [
            {"call": "recvfrom (nothing)", "times": in_vain},
            {"call": "recvfrom", "times": 1},
            {"call": "sendto", "times": 1},
        ],
    }
    return made


def test_the_finding_of_system_calls_names_a_clear_win_an_equal_and_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    def said(name: str, nonblocking: list[float]) -> str:
        alone = {"nonblocking": [3.0] * 5, "epoll": [3.0] * 5}
        beside = {"nonblocking": nonblocking, "epoll": [3.0] * 5}
        return found_in(
            tmp_path / name,
            blocks(calls_record, alone, idle=0) + blocks(calls_record, beside, idle=100),
        )

    clear = said("clear", [102.0] * 5)
    assert "34 [34, 34] times as many as epoll" in clear
    assert "epoll 3 (recvfrom (nothing), recvfrom, sendto)" in clear
    assert "nonblocking is equal within 3 % to epoll" in said("equal", [3.0] * 5)
    assert "is not resolved from epoll" in said("wild", times(3.0, WILD))


def test_without_a_traced_server_there_is_no_finding_and_no_figure(tmp_path: Path) -> None:
    crashed = records.record("epoll", experiment="system_calls", connections=1)
    records.write_run(tmp_path, [crashed])
    run = analysis.load(tmp_path)
    experiment = experiments.find("system_calls")

    assert "do not decide" in experiment.finding(run)
    assert experiment.figures(run) == []
