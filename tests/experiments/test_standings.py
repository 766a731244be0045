"""Every server relative to the reference, in a table."""

from pathlib import Path

import records

from loadgen.analysis import run as analysis
from loadgen.experiments import standings
from loadgen.report import page
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import ChurnSlices, Slices

BUSY = Slices(connections=64)
SINGLE = Slices(connections=1)
COMING = ChurnSlices(connections=16, work="cpu:20us")
SPEEDS = {"epoll": 10_000.0, "asyncio": 9_000.0, "threaded": 7_500.0}


def answering(server: str, load: Slices | ChurnSlices, per_s: float, block: int) -> Record:
    experiment = "churn" if isinstance(load, ChurnSlices) else "throughput"
    made = records.record(
        server, experiment=experiment, block=block, throughput_per_s=per_s, cpu_us=9e4 / per_s
    )
    made["cell"] = Cell(experiment=experiment, server=server, workload=load).as_record()
    return made


def stored(folder: Path, found: list[Record]) -> analysis.Run:
    records.write_run(folder, found)
    return analysis.load(folder)


def test_each_server_has_a_row_and_each_load_a_column(tmp_path: Path) -> None:
    found = [
        answering(server, load, per_s * (1 + 0.1 * block), block)
        for block in range(4)
        for load in (BUSY, SINGLE, COMING)
        for server, per_s in SPEEDS.items()
    ]
    for block in range(4):
        alone = answering("blocking", BUSY, 8_000, block)
        alone["connections"] |= {"limit": "serves 1 at a time", "greeted": 1, "attempted": 64}
        found.append(alone)

    head, *rows = standings.table(stored(tmp_path / "run", found))

    assert head == (
        "family",
        "server",
        "requests/s, 1 client",
        "requests/s, 64 clients",
        "CPU/request, 64 clients",
        "conversations/s",
    )
    one, partly = "1.33 [1.33, 1.33]", "1 of 64 served"
    slow, dear = "0.75 [0.75, 0.75]", one
    assert rows == [
        ("one at a time", "blocking", "", partly, partly, ""),
        ("threads", "threaded", slow, slow, dear, slow),
        ("readiness", "epoll", "1", "1", "1", "1"),
        ("frameworks", "asyncio", *["0.90 [0.90, 0.90]"] * 2, "1.11 [1.11, 1.11]", rows[3][5]),
    ]
    assert rows[3][5] == "0.90 [0.90, 0.90]"
    lines = list(page.markdown([head, *rows]))
    assert lines[1] == "|---|---|---|---|---|---|"
    assert lines[3] == f"| threads | threaded | {slow} | {slow} | {dear} | {slow} |"


def test_without_others_there_is_no_table(tmp_path: Path) -> None:
    alone = [answering("epoll", BUSY, 1_000, block) for block in range(3)]
    assert standings.table(stored(tmp_path / "run", alone)) == ()
    idle = [records.record(server, experiment="idle") for server in SPEEDS]
    assert standings.table(stored(tmp_path / "other", idle)) == ()
