"""Ways to lie about a run, each hashed anew: the audit finds every one of them.

The lies are told about an excerpt of the committed run: some of its cells, in three blocks. Where a
lie is about what was due or about the plan as a whole, the committed run itself is used.
"""

import copy
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
from harness import ROOT
from hdrh.histogram import HdrHistogram

from loadgen.analysis import audit
from loadgen.analysis.audit import bounds, pictures, servers, whole
from loadgen.plan.order import planned_order
from loadgen.store import chain, histogram, runs
from loadgen.store.runs import RunFolder
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Reaping

Row = dict[str, Any]
REFERENCE = ROOT / "tests" / "data" / "schema-1"
BLOCKS = 3
OPEN_SLOW = "load/poll/connections=16,work=cpu:20us,offered_per_s=5000.0,arrivals=poisson"
OPEN_FAST = "load/epoll/connections=16,work=cpu:20us,offered_per_s=40000.0,arrivals=poisson"
OVERLOAD = "load/epoll/connections=16,work=cpu:20us,offered_per_s=60000.0,arrivals=poisson"
STALLED_OPEN = "load/epoll/connections=16,offered_per_s=2000.0,arrivals=poisson,stall_s=0.1"
STALLED = "load/epoll/stall_s=0.1"
KNEE = "load/epoll/search,connections=16,work=cpu:20us"
CLOSED, ALONE = "throughput/epoll/connections=64", "throughput/epoll/plain"
THREADS = "throughput/threaded/connections=64"
CHURN = "churn/epoll/churn,connections=16,work=cpu:20us"
GREEDY, EQUALS = "fairness/epoll/connections=16,pipeline_depth=64", "fairness/poll/connections=16"
CROWD = "footprint/threaded/connections=4,idle_connections=9996"
BURNING = "handler/epoll/connections=16,work=cpu:1ms"
IDLE = "idle_cost/nonblocking/connections=0"
STEPS, CALLS = "timeline/epoll/timeline,work=sleep:4ms", "system_calls/poll/trace"
CHOSEN = (
    OPEN_SLOW,
    OPEN_FAST,
    OVERLOAD,
    STALLED_OPEN,
    STALLED,
    KNEE,
    CLOSED,
    ALONE,
    THREADS,
    CHURN,
    GREEDY,
    EQUALS,
    CROWD,
    BURNING,
    IDLE,
    STEPS,
    CALLS,
)


def called(row: Row) -> str:
    """The id of its cell, but for the heap, which was the same for all."""
    return replace(Cell.of(row["cell"]), heap="system").id


@dataclass
class Told:
    """A run as it can be lied about: its header and its records, parsed."""

    header: Row
    rows: list[Row]

    def of(self, cell: str) -> list[Row]:
        """The records of a cell, by block."""
        return [row for row in self.rows if called(row) == cell]

    def one(self, cell: str) -> Row:
        """One of them."""
        return self.of(cell)[1]


@pytest.fixture(scope="module")
def reference() -> RunFolder:
    return runs.load(REFERENCE)


@pytest.fixture(scope="module")
def excerpt(reference: RunFolder) -> Told:
    """Some cells of the committed run, as a run of their own: in the order that their plan has,
    one after the other."""
    found: dict[tuple[int, str], Row] = {
        (record["block"], called(dict(record))): dict(record) for record in reference.records
    }
    cells = [Cell.of(found[0, name]["cell"]) for name in CHOSEN]
    header = copy.deepcopy(dict(reference.header))
    header["plan"] = records.plan([cell.as_record() for cell in cells], BLOCKS)
    rows = []
    now = datetime.fromisoformat(header["created_at"]) + timedelta(seconds=1)
    for block in range(BLOCKS):
        for position, (cell,) in enumerate(planned_order(cells, header["seed"], block)):
            row = copy.deepcopy(found[block, called({"cell": cell.as_record()})])
            row |= {"position": position, "started_at": now.isoformat(timespec="milliseconds")}
            rows.append(row)
            now += timedelta(seconds=whole.least_s(row) + 0.1)  # type: ignore[arg-type]
    return Told(header, rows)


def written(told: Told, folder: Path) -> RunFolder:
    """Stored, with hashes to match, and read again."""
    folder.mkdir(exist_ok=True)
    (folder / runs.HEADER_NAME).write_text(json.dumps(told.header))
    previous = chain.start(told.header)
    lines = []
    for row in told.rows:
        previous = row["sha256"] = chain.link(row, previous)
        lines.append(json.dumps(row) + "\n")
    (folder / runs.TRIALS_NAME).write_text("".join(lines))
    return runs.load(folder)


def finds(check: str, stored: RunFolder, cells: list[Cell]) -> list[str]:
    """What the check of this name finds."""
    if check == "derived_plan":
        return list(whole.derived_plan(stored, lambda header: cells))
    of_the_run = {each.__name__: each for each in audit.WHOLE}
    if check in of_the_run:
        return list(audit.found_by(of_the_run[check], stored))
    of_a_record = {each.__name__: each for each in audit.CHECKS}[check]
    return [problem for record in stored.records for problem in audit.found_by(of_a_record, record)]


def planned(told: Told) -> list[Cell]:
    return [Cell.of(cell) for cell in told.header["plan"]["cells"]]


def test_the_excerpt_holds(excerpt: Told, tmp_path: Path) -> None:
    stored = written(copy.deepcopy(excerpt), tmp_path)

    assert audit.examine(stored, lambda header: planned(excerpt)) == []


# How a liar works.


def scaled(row: Row, kind: str, factor: float) -> None:
    """A histogram with all values made smaller or larger, and the figures to match."""
    old = histogram.decode(row["histograms"][kind])
    new = HdrHistogram(histogram.LOWEST_NS, histogram.HIGHEST_NS, histogram.SIGNIFICANT_FIGURES)
    for value_ns, count in zip(*histogram.recorded(old), strict=True):
        new.record_value(max(1, round(value_ns * factor)), int(count))
    stated = row["latency_ns"][kind]
    mean = stated["mean"] * factor
    row["histograms"][kind] = new.encode().decode()
    row["latency_ns"][kind] = {**histogram.summary(new, stated["censored"]), "mean": mean}


def shrunk(found: Row, factor: float) -> None:
    """All values of a summary of which there is no histogram."""
    for name in ("mean", "min", "p50", "p90", "p99", "p99_9", "max"):
        if found[name] is not None:
            found[name] = type(found[name])(found[name] * factor)


def more(row: Row, factor: int) -> None:
    """As many times as many answers, and the figures per answer and per second to match."""
    counts, cost = row["counts"], row["server_cost"]
    for name in ("ok", "scheduled"):
        counts[name] *= factor
    for kind, text in row["histograms"].items():
        if kind != "greeting" and text:
            old = histogram.decode(text)
            for _ in range(factor - 1):
                old.add(histogram.decode(text))
            row["histograms"][kind] = old.encode().decode()
            row["latency_ns"][kind] |= histogram.summary(old) | {
                "mean": row["latency_ns"][kind]["mean"]
            }
    for name in ("send_lag_ns", "read_delay_ns"):
        row["generator"][name]["n"] *= factor
    row["throughput_per_s"] *= factor
    cost["cpu_us_per_request"] /= factor
    cost["drive_requests"] *= factor


def judged(row: Row) -> None:
    records.judged(row)  # type: ignore[arg-type]


# The lies, in the order of found.md; each says which check has to find it.

Lie = Callable[[Told], object]
LIES: list[tuple[Lie, str]] = []


def found_by(check: str) -> Callable[[Lie], Lie]:
    def keep(lie: Lie) -> Lie:
        LIES.append((lie, check))
        return lie

    return keep


@found_by("work")
def open_latencies_halved(told: Told) -> None:
    """Every part of them, so that they still add up."""
    for row in told.of(OPEN_SLOW):
        for kind in ("response", "service"):
            scaled(row, kind, 0.5)
        shrunk(row["generator"]["send_lag_ns"], 0.5)


@found_by("sums")
def response_times_halved(told: Told) -> None:
    scaled(told.one(OPEN_FAST), "response", 0.5)


@found_by("queue")
def an_overload_that_keeps_up(told: Told) -> None:
    row = told.one(OVERLOAD)
    lag = row["generator"]["send_lag_ns"]
    for kind in ("response", "service"):
        scaled(row, kind, 0.001)
    shrunk(lag, 0.001)
    judged(row)


@found_by("stalls")
def stalls_without_waiting(told: Told) -> None:
    row = told.one(STALLED_OPEN)
    for kind in ("response", "service"):
        scaled(row, kind, 0.1)
    shrunk(row["generator"]["send_lag_ns"], 0.1)


@found_by("stalls")
def stalls_that_a_closed_loop_never_met(told: Told) -> None:
    row = told.one(STALLED)
    row["latency_ns"]["service"]["max"] = 1_000_000
    row["generator"]["read_delay_ns"]["max"] = 1_000_000


@found_by("read_delays")
def service_moved_to_the_read_delay(told: Told) -> None:
    """Of one client: what the server took is said to be what the generator took."""
    row = told.one(ALONE)
    service, delay = row["latency_ns"]["service"], row["generator"]["read_delay_ns"]
    moved_ns = service["mean"] / 2
    scaled(row, "service", 0.5)
    shrunk(delay, (delay["mean"] + moved_ns) / delay["mean"])
    judged(row)


@found_by("read_at_once")
def service_of_many_moved_to_the_read_delay(told: Told) -> None:
    row = told.one(CLOSED)
    service, delay = row["latency_ns"]["service"], row["generator"]["read_delay_ns"]
    moved_ns = service["mean"] / 2
    scaled(row, "service", 0.5)
    shrunk(delay, (delay["mean"] + moved_ns) / delay["mean"])
    judged(row)


@found_by("shapes")
def service_moved_to_a_mean(told: Told) -> None:
    """The same with the mean alone, which Little's law asks for."""
    row = told.one(CLOSED)
    moved_ns = row["latency_ns"]["service"]["mean"] / 2
    scaled(row, "service", 0.5)
    row["generator"]["read_delay_ns"]["mean"] += moved_ns


@found_by("twins")
def a_good_trial_copied_over_others(told: Told) -> None:
    good = told.of(CLOSED)[0]
    for row in told.of(CLOSED)[1:]:
        own = {name: row[name] for name in ("block", "position", "seed", "started_at")}
        row.update(copy.deepcopy(good) | own)


@found_by("twins")
def a_watched_server_copied(told: Told) -> None:
    """Where nobody asks there is no histogram."""
    good, other = told.of(IDLE)[:2]
    for name in ("generator", "server_cost", "machine", "footprint"):
        other[name] = copy.deepcopy(good[name])
    judged(other)


@found_by("holdings")
def two_servers_swapped(told: Told) -> None:
    """What was measured of one under the name of the other."""
    one, other = told.one(CLOSED), told.one(THREADS)
    own = ("cell", "server", "block", "position", "seed", "started_at")
    kept = {name: (one[name], other[name]) for name in own}
    swapped = dict(other), dict(one)
    for row, values, index in ((one, swapped[0], 0), (other, swapped[1], 1)):
        row.update(values | {name: pair[index] for name, pair in kept.items()})


@found_by("calibration")
def a_faster_generator(told: Told) -> None:
    for point in told.header["calibration"]:
        point["throughput_per_s"] *= 2


@found_by("machine")
def cpus_of_another_machine(told: Told) -> None:
    told.header["environment"]["server_cpus"] = [4]


@found_by("machine")
def fewer_cpus(told: Told) -> None:
    told.header["environment"]["cpus"] = 1


@found_by("machine")
def no_hypervisor(told: Told) -> None:
    told.header["environment"]["hypervisor"] = False


@found_by("machine")
def one_cpu_that_is_none(told: Told) -> None:
    told.header["environment"]["shared"] = True


@found_by("machine")
def too_little_memory(told: Told) -> None:
    told.header["environment"]["memory_bytes"] = 2**27


@found_by("machine")
def another_interpreter(told: Told) -> None:
    told.one(CLOSED)["server"]["python"] = "/opt/faster/bin/python"


@found_by("limits")
def too_few_descriptors(told: Told) -> None:
    told.header["environment"]["descriptors"] = {"soft": 1024, "hard": 1024}


@found_by("limits")
def skipped_for_a_limit_that_is_none(told: Told) -> None:
    reason = "needs 5,072 descriptors and the limit is 1,024: raise `ulimit -Hn`"
    told.header["plan"]["skipped"] = [{"cell": told.one(CLOSED)["cell"], "reason": reason}]


@found_by("cpu_shares")
def voided_by_steal(told: Told) -> None:
    """An inconvenient trial, whose CPUs were taken by others."""
    row = told.one(CLOSED)
    row["machine"]["steal_fraction"] = 0.2
    judged(row)


@found_by("judged")
def voided_for_nothing(told: Told) -> None:
    told.one(CLOSED)["verdict"] = {
        "valid": False,
        "overloaded": None,
        "bottleneck": "server",
        "reasons": ["the machine was busy: repeat"],
    }


@found_by("elapsed")
def a_window_of_half_the_length(told: Told) -> None:
    """The clocks were read over half of the window, so the server used twice as much."""
    cost = told.one(BURNING)["server_cost"]
    cost["watched_s"] /= 2
    cost["cpu_fraction"] *= 2


@found_by("ended_early")
def full_with_throughput_doubled(told: Told) -> None:
    row = told.one(CLOSED)
    row["generator"]["full"] = True
    row["throughput_per_s"] *= 2
    judged(row)


@found_by("ended_early")
def full_and_quicker_than_its_clients(told: Told) -> None:
    """The clocks agree with it, and the latencies do not."""
    row = told.one(CLOSED)
    row["generator"]["full"] = True
    row["throughput_per_s"] *= 2
    row["server_cost"]["watched_s"] /= 2
    row["server_cost"]["cpu_fraction"] *= 2
    judged(row)


@found_by("elapsed")
def the_window_of_churn_halved(told: Told) -> None:
    """And all that follows from its length."""
    for row in told.of(CHURN):
        row["cell"]["workload"]["duration_s"] /= 2
        row["throughput_per_s"] *= 2


@found_by("in_flight")
def more_conversations_than_slots_hold(told: Told) -> None:
    for row in told.of(CHURN):
        row["cell"]["workload"]["duration_s"] /= 2
        row["throughput_per_s"] *= 2
        row["server_cost"]["watched_s"] /= 2
        row["server_cost"]["cpu_fraction"] *= 2


@found_by("derived_plan")
def shorter_windows_than_planned(told: Told) -> None:
    for row in told.of(CHURN):
        row["cell"]["workload"]["duration_s"] /= 2


@found_by("one_after_the_other")
def longer_windows_than_there_was_time_for(told: Told) -> None:
    """A window ten times as long looks more trustworthy."""
    row = told.one(IDLE)
    row["cell"]["workload"]["duration_s"] *= 10
    row["server_cost"]["watched_s"] *= 10


@found_by("in_flight")
def a_greedy_client_that_waits_half_as_long(told: Told) -> None:
    scaled(told.one(GREEDY), "service", 0.5)


@found_by("holdings")
def fewer_descriptors(told: Told) -> None:
    for held in (told.one(CROWD)["footprint"]["connected"], told.one(CROWD)["server_cost"]):
        held["fds"] //= 2


@found_by("sizes")
def half_the_memory(told: Told) -> None:
    held = told.one(CROWD)["footprint"]["connected"]
    held["rss_bytes"] //= 2
    held["pss_bytes"] //= 2


@found_by("sizes")
def half_the_memory_before_and_after(told: Told) -> None:
    """As RSS alone, which the charts show."""
    row = told.one(CROWD)
    for held in (row["footprint"]["connected"], row["server_cost"]):
        held["rss_bytes"] //= 2


@found_by("sizes")
def less_than_nothing(told: Told) -> None:
    told.one(CLOSED)["footprint"]["connected"]["fds"] = -1


@found_by("shares")
def a_fairer_server(told: Told) -> None:
    told.one(EQUALS)["fairness"]["jain"] = 1.0


@found_by("shares")
def a_share_of_no_answers(told: Told) -> None:
    found = told.one(EQUALS)["fairness"]
    found["slowest_share"] = (found["slowest_share"] + 1 / 16) / 2


@found_by("shares")
def a_modest_greedy_client(told: Told) -> None:
    found = told.one(GREEDY)["fairness"]
    found["greedy_share"] /= 2


@found_by("steps")
def a_quicker_timeline(told: Told) -> None:
    """Every step at half its time, which keeps their order."""
    for client in told.one(STEPS)["timeline"]["clients"]:
        for name in ("connect_ns", "greeted_ns", "left_ns"):
            client[name] //= 2
        for request in client["requests"]:
            for name in ("sent_ns", "complete_ns", "arrived_ns"):
                request[name] //= 2


@found_by("steps")
def an_answer_before_its_request(told: Told) -> None:
    client = told.one(STEPS)["timeline"]["clients"][4]
    client["requests"][0]["sent_ns"] = client["connect_ns"] - 1


@found_by("steps")
def a_client_that_left_early(told: Told) -> None:
    told.one(STEPS)["timeline"]["clients"][0]["left_ns"] = 1


@found_by("largest_rate")
def a_larger_knee(told: Told) -> None:
    """With the probe that proves it."""
    row = told.one(KNEE)
    row["knee"]["rate_per_s"] *= 1.25
    row["knee"]["probes"][-1]["offered_per_s"] = row["knee"]["rate_per_s"]


@found_by("largest_rate")
def a_probe_that_failed_left_out(told: Told) -> None:
    found = told.one(KNEE)["knee"]
    failed = [probe for probe in found["probes"] if probe["p99_ns"] > found["limit_ns"]]
    found["probes"].remove(failed[0])


@found_by("largest_rate")
def an_easier_limit(told: Told) -> None:
    told.one(KNEE)["knee"]["limit_ns"] *= 2


@found_by("largest_rate")
def a_quicker_answer_at_the_knee(told: Told) -> None:
    row = told.one(KNEE)
    for probe in row["knee"]["probes"]:
        probe["p99_ns"] /= 2


@found_by("largest_rate")
def another_answer_at_the_knee_than_its_probe(told: Told) -> None:
    row = told.one(KNEE)
    scaled(row, "response", 0.5)


@found_by("largest_rate")
def a_knee_that_nobody_found(told: Told) -> None:
    told.one(KNEE)["knee"]["rate_per_s"] = 100_000.0


@found_by("schedule")
def more_requests_than_were_due(told: Told) -> None:
    more(told.one(OPEN_SLOW), 2)


@found_by("schedule")
def another_rate(told: Told) -> None:
    told.one(OPEN_SLOW)["offered_per_s"] = 10_000.0


@found_by("counted")
def delays_of_other_answers(told: Told) -> None:
    told.one(CLOSED)["generator"]["read_delay_ns"]["n"] -= 1


@found_by("cpu_time")
def half_the_cpu(told: Told) -> None:
    cost = told.one(BURNING)["server_cost"]
    for name in ("cpu_us_per_request", "cpu_fraction"):
        cost[name] /= 2


@found_by("work")
def half_the_cpu_of_all_clocks(told: Told) -> None:
    cost = told.one(BURNING)["server_cost"]
    for name in ("cpu_us_per_request", "cpu_fraction", "user_s", "system_s"):
        cost[name] /= 2


@found_by("cpu_time")
def more_than_a_core(told: Told) -> None:
    cost = told.one(IDLE)["server_cost"]
    cost["cpu_fraction"] *= 2


@found_by("clients")
def a_smaller_crowd(told: Told) -> None:
    found = told.one(CROWD)["connections"]
    for name in ("attempted", "due", "greeted"):
        found[name] -= 1_000


@found_by("clients")
def an_excuse_of_the_model(told: Told) -> None:
    found = told.one(CLOSED)["connections"]
    found["limit"] = "serves 64 at a time"


@found_by("calls")
def fewer_system_calls(told: Told) -> None:
    told.one(CALLS)["system_calls"]["total"] -= 1


@found_by("calls")
def a_call_left_out(told: Told) -> None:
    """Everywhere, so that the rest adds up: but a server that polls calls poll."""
    found = told.one(CALLS)["system_calls"]
    del found["per_request"]["poll"]
    found["total"] = sum(found["per_request"].values())
    found["sequence"] = [run for run in found["sequence"] if run["call"] != "poll"]


@found_by("calls")
def a_sequence_of_another_server(told: Told) -> None:
    told.one(CALLS)["system_calls"]["sequence"].append({"call": "epoll_wait", "times": 1})


@found_by("deaths")
def a_worker_that_died_and_took_nobody_along(told: Told) -> None:
    told.one(CLOSED)["death"] = {
        "clients": [40, 24],
        "lost": 0,
        "newcomers": 64,
        "greeted": 64,
        "greeted_later": 0,
        "broken": 0,
    }


@found_by("observed")
def an_observation_that_nobody_made(told: Told) -> None:
    told.one(CLOSED)["observation"] = {"claim": "ports", "seen": {"tries_x": 3, "held_x": 5}}


@found_by("observations")
def a_claim_that_was_tried_less_often(told: Told) -> None:
    for row, tries in zip(told.of(CLOSED), (3, 3, 2), strict=True):
        row["observation"] = {"claim": "ports", "seen": {"tries_x": tries, "held_x": 1}}


@found_by("stamped")
def the_kernel_stamps_a_unix_socket(told: Told) -> None:
    told.one(CLOSED)["cell"]["workload"]["transport"] = "unix"


@found_by("stamped")
def own_stamps_over_ipv4(told: Told) -> None:
    """So that nobody asks for those of the kernel that are missing."""
    told.one(CLOSED)["generator"]["stamps"] = "generator"


@found_by("stamped")
def answers_of_a_unix_socket_that_were_stamped_all_the_same(told: Told) -> None:
    row = told.one(CLOSED)
    row["cell"]["workload"]["transport"] = "unix"
    row["generator"]["stamps"] = "generator"


@found_by("judged")
def stamps_of_the_kernel_that_are_missing(told: Told) -> None:
    row = told.one(CLOSED)
    row["generator"]["unstamped"] = row["counts"]["ok"]


@found_by("identity")
def another_transport_than_that_of_the_command(told: Told) -> None:
    told.one(CLOSED)["cell"]["workload"]["transport"] = "ipv6"


@found_by("identity")
def another_protocol_than_that_of_the_command(told: Told) -> None:
    told.one(CLOSED)["cell"]["workload"]["protocol"] = "http"


def let_go(told: Told, /, **changes: Any) -> Row:
    """A trial in which silent clients were let go, as it should be but for the changes."""
    row = told.one(CLOSED)
    ours = {**row["cell"]["workload"], "idle_connections": 20, "idle_timeout_s": 1.0}
    fields = {field.name for field in dataclasses.fields(Reaping)}
    row["cell"]["workload"] = {
        "method": "reaping",
        **{name: value for name, value in ours.items() if name in fields},
    }
    for name in ("attempted", "due", "greeted"):
        row["connections"][name] += 20
    late_ns = np.arange(20, dtype=np.int64) * 100_000
    row["reaping"] = {
        "silent": 20,
        "told": 20,
        "lateness_ns": histogram.summary(late_ns),
        **changes,
    }
    return row


def test_silent_clients_that_were_let_go_are_believed(excerpt: Told, tmp_path: Path) -> None:
    told = copy.deepcopy(excerpt)
    let_go(told)
    stored = written(told, tmp_path)
    assert finds("reaped", stored, planned(excerpt)) == []
    assert finds("shapes", stored, planned(excerpt)) == []


@found_by("reaped")
def more_were_told_than_were_silent(told: Told) -> None:
    let_go(told, told=21, lateness_ns=histogram.summary(np.full(21, 1000, np.int64)))


@found_by("reaped")
def told_before_it_was_due(told: Told) -> None:
    let_go(told, lateness_ns=histogram.summary(np.full(20, -500_000_000, np.int64)))


@found_by("reaped")
def told_and_nobody_knows_when(told: Told) -> None:
    let_go(told, lateness_ns=None)


@found_by("reaped")
def late_though_nobody_was_told(told: Told) -> None:
    let_go(told, told=0)


@found_by("reaped")
def silent_clients_that_never_came(told: Told) -> None:
    late_ns = np.full(30, 1000, np.int64)
    let_go(told, silent=30, told=30, lateness_ns=histogram.summary(late_ns))


@found_by("reaped")
def silent_clients_forgotten(told: Told) -> None:
    let_go(told)["reaping"] = None


@found_by("reaped")
def silent_clients_let_go_where_there_were_none(told: Told) -> None:
    let_go(told)["cell"]["workload"]["idle_timeout_s"] = None


@found_by("shapes")
def told_sooner_on_average_than_at_all(told: Told) -> None:
    let_go(told)["reaping"]["lateness_ns"]["mean"] /= 100


@found_by("replayed")
def a_block_that_never_was_planned(told: Told) -> None:
    told.header["plan"]["trials"] = BLOCKS - 1


@found_by("plan")
def a_bad_trial_deleted(told: Told) -> None:
    told.rows.remove(told.one(CLOSED))


@found_by("derived_plan")
def the_plan_cut(told: Told) -> None:
    """A cell left out of the plan, with its trials, and the rest in the order of a smaller plan."""
    cells = [cell for cell in planned(told) if called({"cell": cell.as_record()}) != CLOSED]
    told.header["plan"]["cells"] = [cell.as_record() for cell in cells]
    kept = {
        (row["block"], Cell.of(row["cell"]).id): row
        for row in told.rows
        if row not in told.of(CLOSED)
    }
    moments = iter(sorted(row["started_at"] for row in kept.values()))
    told.rows[:] = [
        kept[block, cell.id] | {"position": position, "started_at": next(moments)}
        for block in range(BLOCKS)
        for position, (cell,) in enumerate(planned_order(cells, told.header["seed"], block))
    ]


@found_by("retried")
def said_to_replace_another(told: Told) -> None:
    """A trial of a block that was planned passes itself off as one that was measured again."""
    told.rows[-1]["retries"] = 0


@pytest.mark.parametrize(("lie", "check"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_lie_is_found(lie: Lie, check: str, excerpt: Told, tmp_path: Path) -> None:
    told = copy.deepcopy(excerpt)
    lie(told)
    stored = written(told, tmp_path)

    found = finds(check, stored, planned(excerpt))
    assert list(whole.hashes(stored)) == []
    assert found
    assert all("cannot be checked" not in problem and "\n" not in problem for problem in found)


def test_every_check_has_a_lie_that_it_finds() -> None:
    bounded = (*bounds.CHECKS, *pictures.CHECKS, *servers.CHECKS)
    names = {check.__name__ for check in (*bounded, *whole.CHECKS)}
    assert names - {"hashes"} <= {check for _, check in LIES}
    assert len(LIES) >= 31
