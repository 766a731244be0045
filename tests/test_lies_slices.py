"""Ways to lie about servers that took turns. They are told about a short run that was measured and
is kept; two rounds of it are void.
"""

import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records
from harness import ROOT
from hdrh.histogram import HdrHistogram
from test_lies import Row, Told, finds, written

from loadgen.analysis import audit
from loadgen.analysis.audit import slices, whole
from loadgen.analysis.run import Run, needs_more
from loadgen.commands import audit as command
from loadgen.experiments import trust
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.describe import describe_machine
from loadgen.plan.execute import execute
from loadgen.plan.plan import Plan
from loadgen.store import histogram, runs
from loadgen.trial import sliced, trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import ChurnSlices, Method, Slices

EPOCHS, SEED = 2, 7
ROUNDS = 8
CLOSED = Slices(connections=4, rounds=ROUNDS, duration_s=0.02)
OPEN = Slices(connections=4, rounds=4, duration_s=0.02, offered_per_s=1_000.0, arrivals="poisson")
CHURN = ChurnSlices(connections=4, rounds=4, duration_s=0.02)
# Measured as `measured` does it, and packed. To make it anew: python tests/test_lies_slices.py DIR
KEPT = ROOT / "tests" / "data" / "slices"


def cells_of(workload: Method) -> list[Cell]:
    """epoll twice, and poll."""
    epoll, poll = (
        Cell(experiment="throughput", server=server, workload=workload)
        for server in ("epoll", "poll")
    )
    return [epoll, replace(epoll, replica=1), poll]


CELLS = [cell for workload in (CLOSED, OPEN, CHURN) for cell in cells_of(workload)]


def measured(folder: Path, cells: Sequence[Cell] = CELLS) -> runs.RunFolder:
    """A run of slices, stored as `bench` does it."""
    trial.compile()
    cpus = choose_pinning()
    plan = Plan("quick", ("throughput",), ("epoll", "poll"), EPOCHS, 1, 0.0, SEED, tuple(cells), ())
    environment: Any = {**describe_machine(), **cpus.as_record()}
    runs.create("quick", plan=plan.as_record(), seed=SEED, environment=environment, folder=folder)
    for _ in execute(plan, folder, cpus, needs_more):
        pass
    return runs.load(folder)


@pytest.fixture(scope="module")
def honest() -> Told:
    """The run that is kept."""
    stored = runs.load(KEPT)
    return Told(dict(stored.header), [dict(record) for record in stored.records])


def examined(stored: runs.RunFolder, cells: Sequence[Cell]) -> list[str]:
    """What an audit finds, but for sources, which a kept run does without."""
    left_out = set(whole.sources(stored))
    found = audit.examine(stored, lambda header: cells)
    return [problem for problem in found if problem not in left_out]


def test_what_was_measured_holds() -> None:
    """Requests in closed and open loop, and conversations: two epochs of each."""
    stored = runs.load(KEPT)

    assert examined(stored, CELLS) == []
    assert len(slices.epochs(stored.records)) == EPOCHS * 3
    assert all(record["verdict"]["valid"] for record in stored.records)


@pytest.mark.parametrize("workload", [CLOSED, CHURN], ids=["requests", "conversations"])
def test_what_is_measured_here_holds(workload: Method, tmp_path: Path) -> None:
    """However busy the machine is: then rounds are void, and that holds too."""
    cells = cells_of(workload)
    stored = measured(tmp_path / "run", cells)

    assert examined(stored, cells) == []
    assert all(record["slices"] for record in stored.records)


def of(told: Told, workload: Method) -> list[Row]:
    """The records of a workload, epoch by epoch; within each in the order of the contestants."""
    return [row for row in told.rows if row["cell"]["workload"] == workload.as_record()]


def epoch(told: Told, workload: Method = CLOSED) -> list[Row]:
    return of(told, workload)[: len(cells_of(workload))]


def kept(row: Row) -> list[int]:
    """The rounds that count."""
    return [number for number, why in enumerate(row["slices"]["void"]) if why is None]


def scaled(row: Row, name: str, factor: float) -> None:
    row["slices"][name] = [value and round(value * factor) for value in row["slices"][name]]


def judged(row: Row) -> None:
    records.judged(row)  # type: ignore[arg-type]


Lie = Callable[[Told], object]
LIES: list[tuple[Lie, str]] = []


def found_by(check: str) -> Callable[[Lie], Lie]:
    def keep(lie: Lie) -> Lie:
        LIES.append((lie, check))
        return lie

    return keep


@found_by("rates")
def a_higher_median(told: Told) -> None:
    epoch(told)[0]["throughput_per_s"] *= 1.02


@found_by("rates")
def more_answers_than_the_window_had(told: Told) -> None:
    """With the median, the drives and the price to match."""
    row = epoch(told)[0]
    for name in ("answers", "drive_answers"):
        scaled(row, name, 2)
    row["throughput_per_s"] *= 2
    row["server_cost"]["cpu_us_per_request"] /= 2
    row["server_cost"]["drive_requests"] *= 2


@found_by("spans")
def answers_that_took_half_as_long(told: Told) -> None:
    """With the median and the share of the CPU to match."""
    row = epoch(told)[0]
    scaled(row, "span_ns", 0.5)
    row["throughput_per_s"] *= 2
    row["server_cost"]["cpu_fraction"] *= 2


@found_by("client_time")
def three_times_as_many_answers(told: Told) -> None:
    """In everything that counts them."""
    row = epoch(told)[0]
    for name in ("answers", "drive_answers"):
        scaled(row, name, 3)
    for name in ("ok", "scheduled"):
        row["counts"][name] *= 3
        row["warmup"][name] *= 3
    for name in ("answered", "open_at_start", "open_at_end"):
        row["window"][name] *= 3
    old = histogram.decode(row["histograms"]["service"])
    new: HdrHistogram = histogram.merge([old, old, old])
    row["histograms"]["service"] = new.encode().decode()
    mean = row["latency_ns"]["service"]["mean"]
    row["latency_ns"]["service"] = {**histogram.summary(new), "mean": mean}
    for name in ("send_lag_ns", "read_delay_ns"):
        row["generator"][name]["n"] *= 3
    row["throughput_per_s"] *= 3
    row["server_cost"]["cpu_us_per_request"] /= 3
    row["server_cost"]["drive_requests"] *= 3


@found_by("growth_of_slices")
def a_backlog_that_grew_more_slowly(told: Told) -> None:
    of(told, OPEN)[0]["window"]["backlog_growth_per_s"] -= 1.0


@found_by("voided")
def an_inconvenient_round_voided(told: Told) -> None:
    """For all, as it has to be."""
    for row in epoch(told):
        row["slices"]["void"][kept(row)[0]] = "the generator paused for 12 ms"


@found_by("voided")
def a_void_round_that_counts_again(told: Told) -> None:
    """Because it was a fast one; for all servers, and whatever follows is another matter."""
    void = next(row for row in told.rows if any(row["slices"]["void"]))
    alike = [row for row in told.rows if row["started_at"] == void["started_at"]]
    for row in alike:
        row["slices"]["void"] = [None] * len(row["slices"]["void"])


@found_by("voided")
def wrong_answers_that_were_none(told: Told) -> None:
    for row in epoch(told):
        row["slices"]["void"][kept(row)[0]] = "2 wrong answers"


@found_by("voided")
def a_clock_that_nobody_set(told: Told) -> None:
    for row in epoch(told):
        row["slices"]["void"][kept(row)[0]] = sliced.CLOCK_SET


@found_by("voided")
def a_disturbed_slice_that_counts(told: Told) -> None:
    """Somebody else had the CPU, in one server's slice of it."""
    row = epoch(told)[1]
    row["slices"]["others_cpu_ns"][kept(row)[0]] = 5_000_000


@found_by("voided")
def a_pause_that_counts(told: Told) -> None:
    row = epoch(told)[1]
    row["slices"]["pause_ns"][kept(row)[0]] = 2 * sliced.PAUSE_NS


@found_by("together")
def a_round_void_for_one_of_them(told: Told) -> None:
    row = epoch(told)[2]
    row["slices"]["void"][kept(row)[0]] = "the generator paused for 12 ms"


@found_by("together")
def one_more_that_took_turns(told: Told) -> None:
    for row in epoch(told):
        row["slices"]["together"] += 1


@found_by("together")
def a_quieter_machine_for_one_of_them(told: Told) -> None:
    epoch(told)[0]["machine"]["generator_cpu_busy"] = 0.123


@found_by("turns")
def columns_of_two_servers_swapped(told: Told) -> None:
    one, other = epoch(told)[:2]
    one["slices"], other["slices"] = other["slices"], one["slices"]


@found_by("turns")
def an_order_that_the_seed_does_not_make(told: Told) -> None:
    """With the times to match it."""
    one, other = epoch(told)[:2]
    for name in ("turn", "start_ns"):
        ours, theirs = one["slices"][name], other["slices"][name]
        ours[0], theirs[0] = theirs[0], ours[0]


@found_by("columns")
def a_round_deleted(told: Told) -> None:
    """From the columns of all servers."""
    for row in epoch(told):
        for name in slices.COLUMNS:
            del row["slices"][name][3]


@found_by("columns")
def a_slice_deleted(told: Told) -> None:
    row = epoch(told)[0]
    for name in slices.COLUMNS[:-1]:
        row["slices"][name][3] = None


@found_by("columns")
def slices_half_as_long(told: Told) -> None:
    """So answers come twice as fast."""
    row = epoch(told)[0]
    scaled(row, "length_ns", 0.5)
    row["throughput_per_s"] *= 2


@found_by("columns")
def a_server_that_did_not_settle(told: Told) -> None:
    epoch(told)[0]["slices"]["settle_ns"] = 1_000_000


@found_by("percentiles")
def medians_halved(told: Told) -> None:
    scaled(epoch(told)[0], "p50_ns", 0.5)


@found_by("percentiles")
def a_median_beyond_the_worst(told: Told) -> None:
    row = epoch(told)[0]
    number = kept(row)[0]
    row["slices"]["p50_ns"][number], row["slices"]["p99_ns"][number] = (10_000_000_000,) * 2


@found_by("costs")
def a_cheaper_server(told: Told) -> None:
    epoch(told)[0]["server_cost"]["cpu_us_per_request"] *= 0.98


@found_by("ticks")
def a_quarter_of_the_cpu(told: Told) -> None:
    """In every slice, and in what is derived from them."""
    row = epoch(told)[0]
    scaled(row, "cpu_ns", 0.25)
    for name in ("cpu_us_per_request", "cpu_fraction"):
        row["server_cost"][name] /= 4


@found_by("clocks")
def more_cpu_than_there_was_time(told: Told) -> None:
    row = epoch(told)[0]
    row["slices"]["cpu_ns"][1] = 10**12


@found_by("moments")
def two_slices_at_once(told: Told) -> None:
    rows = epoch(told)
    first = next(row["slices"] for row in rows if row["slices"]["turn"][0] == 0)
    second = next(row["slices"] for row in rows if row["slices"]["turn"][0] == 1)
    second["start_ns"][0] = first["start_ns"][0] + first["length_ns"][0] // 2


@found_by("schedules")
def requests_that_were_not_due(told: Told) -> None:
    row = of(told, OPEN)[0]
    for name in ("scheduled", "ok"):
        row["counts"][name] -= 1
    row["window"]["open_at_end"] -= 1


@found_by("schedules")
def a_drive_with_fewer_requests(told: Told) -> None:
    row = of(told, OPEN)[0]
    row["slices"]["drive_answers"][2] -= 1


@found_by("twins")
def an_epoch_copied_to_another_block(told: Told) -> None:
    rows = of(told, CLOSED)
    for row, other in zip(rows[:3], rows[3:], strict=True):
        own = {name: other[name] for name in ("cell", "block", "position", "seed", "started_at")}
        other.update(copy.deepcopy(row) | own)


@found_by("twins")
def a_server_against_a_copy_of_itself(told: Told) -> None:
    """A lab that never sees a difference."""
    one, other = (row for row in epoch(told) if row["server"]["name"] == "epoll")
    own = {name: other[name] for name in ("cell", "position")}
    other.update(copy.deepcopy(one) | own)


@found_by("twins")
def a_histogram_of_another_epoch(told: Told) -> None:
    one, other = of(told, CLOSED)[0], of(told, CLOSED)[3]
    for name in ("histograms", "latency_ns"):
        other[name]["service"] = copy.deepcopy(one[name]["service"])


@found_by("one_after_the_other")
def an_epoch_that_began_before_the_other_was_over(told: Told) -> None:
    first, second = told.rows[:3], told.rows[3:6]
    for row in second:
        row["started_at"] = first[0]["started_at"]
    for row in first:
        row["slices"]["start_ns"][-1] += 10**9


@found_by("plan")
def one_of_the_servers_deleted(told: Told) -> None:
    told.rows.remove(epoch(told)[1])


@pytest.mark.parametrize(("lie", "check"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_lie_about_slices_is_found(lie: Lie, check: str, honest: Told, tmp_path: Path) -> None:
    told = copy.deepcopy(honest)
    lie(told)
    stored = written(told, tmp_path)

    found = finds(check, stored, CELLS)
    assert list(whole.hashes(stored)) == []
    assert found
    assert all("cannot be checked" not in problem and "\n" not in problem for problem in found)


def test_every_check_of_slices_has_a_lie_that_it_finds() -> None:
    names = {check.__name__ for check in (*slices.CHECKS, *slices.WHOLE)}
    assert names <= {check for _, check in LIES}


def test_a_lie_that_is_told_of_nothing_is_none(honest: Told) -> None:
    """Each changes what is stored."""
    before = json.dumps([honest.header, honest.rows])
    for lie, _ in LIES:
        told = copy.deepcopy(honest)
        lie(told)
        assert json.dumps([told.header, told.rows]) != before


@pytest.mark.parametrize(("factor", "differ"), [(1, 0), (2, 1)])
def test_an_audit_says_how_often_the_reference_differs_from_itself(
    factor: int, differ: int, honest: Told, tmp_path: Path
) -> None:
    """As its stored slices make it: five epochs of one pair, whose rates have this ratio."""
    told = copy.deepcopy(honest)
    told.rows = []
    for block in range(trust.EPOCHS):
        rows = copy.deepcopy(epoch(honest))
        for row in rows:
            # Not quite the same in every epoch: an interval needs a width.
            rate = (1_000 + block) * (factor if row["cell"]["replica"] else 1)
            row["block"] = block
            row["slices"] |= {"answers": [rate] * ROUNDS, "void": [None] * ROUNDS}
            row["slices"]["span_ns"] = [20_000_000] * ROUNDS
        told.rows += rows
    stored = written(told, tmp_path)
    run = Run(stored.path, stored.header, stored.records)

    assert command.against_itself(run) == f"epoll against itself: 1 comparison, {differ} differ"


def test_an_audit_of_a_run_without_twins_says_nothing_of_them(tmp_path: Path) -> None:
    stored = runs.load(records.write_run(tmp_path / "run", [records.record()]))

    assert command.against_itself(Run(stored.path, stored.header, stored.records)) is None


if __name__ == "__main__":
    measured(Path(sys.argv[1]))
