"""What tutorials say: the small programs see what they are meant to see, and the rules make of it
what follows."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from claims_data import BLOCKS, again, answering, idle, observation, run_of, served, shares
from claims_data import with_speeds as speeds
from harness import ROOT

from loadgen import claims
from loadgen.claims import cells, evidence
from loadgen.claims.claim import Verdict
from loadgen.experiments import claims as experiment
from loadgen.trial.methods.demonstration import observe

pytestmark = pytest.mark.measures

PROGRAMS = [name for name in claims.ALL if claims.find(name).program]


def program(name: str) -> dict[str, Any]:
    """What the program of a claim sees, in a process of its own."""
    return observe([sys.executable, "-m", "loadgen.claims", name])


def share(seen: dict[str, Any], case: str) -> float:
    """Of the tries of a case, in how many the claim held."""
    return float(seen[f"held_{case}"] / seen[f"tries_{case}"])


# The programs: what the kernel guarantees, whatever else the machine does.


def test_listen_lets_in_one_more_than_it_says() -> None:
    seen = program("backlog")

    granted = seen["largest_granted"]
    for backlog in (1, 8, 64, 512):
        assert seen[f"connected_{backlog}"] == min(seen["clients"], min(backlog, granted) + 1)
    assert share(seen, "backlogs") == 0
    # Its SYN was dropped, and is sent again after a second (RFC 6298, 2.1).
    assert seen["wait_when_full_s"] is None or seen["wait_when_full_s"] > 0.2


def test_messages_stick_where_the_receiver_is_slower_than_the_pause() -> None:
    seen = program("sticking")

    assert share(seen, "delimiter") == share(seen, "length") == 1
    assert share(seen, "100ms_busy") <= 0.5
    assert share(seen, "no_pause") < 1
    assert seen["messages_per_s_100ms"] <= 10
    assert seen["messages_per_s_delimiter"] > 100 * seen["messages_per_s_100ms"]


def test_one_receive_is_one_message_only_where_nothing_else_has_come() -> None:
    seen = program("receiving")

    assert share(seen, "alone") == 1
    assert [share(seen, case) for case in ("two", "long", "pieces")] == [0, 0, 0]


def test_one_send_takes_all_only_where_it_may_wait() -> None:
    seen = program("sending")

    assert share(seen, "blocking") == share(seen, "little") == 1
    assert seen["sent_fraction_blocking"] == 1
    assert share(seen, "interrupted") == 0, "nobody reads"
    assert 0 < seen["sent_fraction_interrupted"] < 1
    # A reader on another CPU may be as fast as the sender: then there is always room.
    for case in ("nonblocking", "timeout"):
        assert 0 < seen[f"sent_fraction_{case}"] <= 1
        assert (share(seen, case) == 1) == (seen[f"sent_fraction_{case}"] == 1)


def test_a_port_is_kept_by_connections_that_the_server_closed_first() -> None:
    seen = program("rebinding")

    assert share(seen, "plain") == share(seen, "second_reuses") == 1
    assert [share(seen, case) for case in ("reuse", "client_first", "nobody")] == [0, 0, 0]
    assert seen["time_wait_s"] is None or 0 < seen["time_wait_s"] <= 60


def test_who_may_bind_low_ports_is_tried_as_far_as_it_can_be() -> None:
    seen = program("ports")

    for case in ("plain", "capability", "lowered"):
        assert seen[f"tries_{case}"] or seen[f"why_not_{case}"]
    if seen["tries_plain"]:
        # Of the ports that are tried, all lie below the usual start and none below 7.
        start = seen["unprivileged_port_start"]
        assert share(seen, "plain") == 1 if start >= 1023 else share(seen, "plain") < 1
    for case in ("capability", "lowered"):
        assert not seen[f"tries_{case}"] or share(seen, case) == 0


@pytest.mark.parametrize("served", ["with_threads", "with_processes"])
def test_every_connection_is_answered_by_one_of_its_own(served: str) -> None:
    code = f"from loadgen.claims import scaling; print(*scaling.{served}(40)[:2])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stderr, done.stdout) == ("", "40 40\n")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_needs_nothing_but_python(name: str) -> None:
    code = f"import sys; from loadgen import claims; claims.find({name!r}); print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "numba", "scipy", "psutil", "matplotlib"} & set(found.stdout.split())


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["udp"], ["backlog", "again"]])
def test_there_is_a_line_for_who_asks_for_no_program(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadgen.claims", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# What every claim has.


def test_every_file_is_a_claim_or_helps_all_of_them() -> None:
    files = {path.stem for path in (ROOT / "loadgen" / "claims").glob("*.py")}
    helpers = {"__init__", "__main__", "cells", "claim", "connection", "evidence"}
    assert files - helpers == set(claims.ALL)
    assert len(set(claims.ALL)) == len(claims.ALL) >= 13


@pytest.mark.parametrize("name", claims.ALL)
def test_a_claim_is_told_in_sentences_and_decided_by_something(name: str) -> None:
    claim = claims.find(name)

    assert claim.name == name
    assert (ROOT / claim.source).is_file()
    for text in (claim.says, claim.tried, claim.why):
        assert re.fullmatch(r"[A-Za-z].*\.", text)
        assert "\n" not in text
        assert '"' not in text, "nothing is quoted"
    assert claim.program or claim.compares()
    if claim.program:
        assert inspect.getdoc(claim.program)
        cases = cases_of(name)
        assert cases, "it counts tries"


def cases_of(name: str) -> set[str]:
    """Words in a claim's file that begin as a count of tries does."""
    tree = ast.parse((ROOT / "loadgen" / "claims" / f"{name}.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and text.startswith("tries_")}


@pytest.mark.parametrize("name", claims.ALL)
def test_without_data_nothing_is_decided(name: str, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [answering(cells.cell("trio", cells.ALONE), 1000.0, 0)])

    verdict = judged(name, run)
    assert verdict.kind == "not decided"
    assert verdict.sentence


def test_the_experiment_measures_each_cell_once_and_the_reference_twice() -> None:
    planned = experiment.cells("standard", experiment_models())
    assert len({cell.id for cell in planned}) == len(planned)
    for cell in planned:
        cell.workload.check()
        assert cell.experiment == experiment.NAME
    for load in (cells.ALONE, cells.BUSY, cells.BESIDE_SILENT, cells.CROWD, cells.OF_PROCESSES):
        assert again(cells.cell("epoll", load)) in planned


def experiment_models() -> list[Any]:
    from servers import catalog

    return list(catalog.MODELS)


def test_servers_that_were_not_chosen_are_left_out() -> None:
    from servers import catalog

    planned = experiment.cells("standard", [catalog.find("poll")])
    assert {cell.server for cell in planned} == {"poll"}


# The rules, on figures whose verdict is known.


def judged(name: str, run: Any) -> Verdict:
    (found,) = evidence.of_run(run, [claims.find(name)])
    return found.verdict()


def seen_by(name: str, tmp_path: Path, **cases: float) -> Verdict:
    """The verdict where the program saw these shares, in several blocks."""
    seen = shares(**cases) | {"somebody": 1.0}
    found = [observation(name, seen, block) for block in range(BLOCKS)]
    return judged(name, run_of(tmp_path / "run", found))


@pytest.mark.parametrize(
    ("name", "cases", "kind"),
    [
        ("backlog", {"backlogs": 0}, "false"),
        ("backlog", {"backlogs": 1}, "true"),
        ("sticking", {"100ms": 1, "100ms_busy": 0.1}, "it depends"),
        ("sticking", {"100ms": 1, "100ms_busy": 1}, "true"),
        ("sticking", {"100ms": 0.2, "100ms_busy": 0.2}, "false"),
        ("receiving", {"alone": 1, "two": 0, "long": 0, "pieces": 0}, "false"),
        ("receiving", {"alone": 1, "two": 1, "long": 1, "pieces": 1}, "true"),
        (
            "sending",
            {"blocking": 1, "little": 1, "nonblocking": 0, "timeout": 0, "interrupted": 0},
            "it depends",
        ),
        (
            "sending",
            {"blocking": 1, "little": 1, "nonblocking": 1, "timeout": 1, "interrupted": 1},
            "true",
        ),
        (
            "sending",
            {"blocking": 0.5, "little": 1, "nonblocking": 0, "timeout": 0, "interrupted": 0},
            "false",
        ),
        ("ports", {"plain": 1, "capability": 0, "lowered": 0}, "it depends"),
        ("ports", {"plain": 1, "capability": 1, "lowered": 1}, "true"),
        ("ports", {"plain": 0, "capability": 0, "lowered": 0}, "false"),
        ("ports", {"plain": 1}, "not decided"),
        (
            "rebinding",
            {"plain": 1, "reuse": 0, "second_reuses": 1, "client_first": 0, "nobody": 0},
            "it depends",
        ),
        (
            "rebinding",
            {"plain": 1, "reuse": 1, "second_reuses": 1, "client_first": 1, "nobody": 1},
            "true",
        ),
        (
            "rebinding",
            {"plain": 0, "reuse": 0, "second_reuses": 0, "client_first": 0, "nobody": 0},
            "false",
        ),
    ],
)
def test_what_a_program_saw_decides(
    name: str, cases: dict[str, float], kind: str, tmp_path: Path
) -> None:
    if name == "ports":
        cases = {case: cases.get(case, -1) for case in ("plain", "capability", "lowered")}
        seen = {case: share for case, share in cases.items() if share >= 0}
        none = {f"{word}_{case}": 0 for case in cases if case not in seen for word in NO_TRIES}
        found = [
            observation(name, {**shares(**seen), **none, "unprivileged_port_start": 1024}, block)
            for block in range(BLOCKS)
        ]
        verdict = judged(name, run_of(tmp_path / "run", found))
    else:
        verdict = seen_by(name, tmp_path, **cases)
    assert verdict.kind == kind
    assert bool(verdict.on) == (kind == "it depends")


NO_TRIES = ("tries", "held")


@pytest.mark.parametrize(
    ("busy", "silent", "kind"),
    [
        (1.0, 4.0, "it depends"),
        (1.2, 4.0, "true"),
        (1.0, 1.0, "false"),
        (0.8, 0.8, "false"),
    ],
)
def test_epoll_beside_select_and_poll(
    busy: float, silent: float, kind: str, tmp_path: Path
) -> None:
    factors = {cells.BUSY: busy, cells.BESIDE_SILENT: silent}
    run = speeds(
        tmp_path / "run",
        {
            cells.cell(server, load): 1000.0 * (factor if server == "epoll" else 1)
            for load, factor in factors.items()
            for server in ("epoll", "select", "poll")
        },
    )
    assert judged("readiness", run).kind == kind


@pytest.mark.parametrize(
    ("price", "serves", "kind"),
    [(1.0, 1, "it depends"), (0.5, 1, "it depends"), (1.5, 1, "true"), (1.0, 64, "false")],
)
def test_blocking_beside_others(price: float, serves: int, kind: str, tmp_path: Path) -> None:
    found = []
    for block in range(BLOCKS):
        for server in ("blocking", "threaded", "epoll"):
            cost = 6.0 * (price if server == "blocking" else 1) * (1 + 0.01 * (block % 2))
            found.append(answering(cells.cell(server, cells.ALONE), 1000.0, block, cost))
        busy = answering(cells.cell("blocking", cells.BUSY), 1000.0, block)
        found.append(served(busy, serves, 64) if serves < 64 else busy)
        if serves == 64:
            busy["connections"] |= {"attempted": 64, "greeted": 64, "due": 64}
    verdict = judged("blocking", run_of(tmp_path / "run", found))

    assert verdict.kind == kind
    assert f"of 64 clients it serves {serves}" in verdict.sentence


@pytest.mark.parametrize(
    ("alone", "busy", "core", "kind"),
    [
        (2.0, 1.0, 1.0, "it depends"),
        (2.0, 2.0, 1.0, "true"),
        (1.0, 1.0, 1.0, "false"),
        (2.0, 2.0, 0.1, "false"),
    ],
)
def test_a_loop_that_never_waits(
    alone: float, busy: float, core: float, kind: str, tmp_path: Path
) -> None:
    loads = {cells.ALONE: alone, cells.BUSY: busy}
    asleep = [
        idle(cells.cell(server, cells.ASLEEP), share, block)
        for block in range(BLOCKS)
        for server, share in (("nonblocking", core), ("epoll", 0.0))
    ]
    run = speeds(
        tmp_path / "run",
        {
            cells.cell(server, load): 1000.0 * (factor if server == "nonblocking" else 1)
            for load, factor in loads.items()
            for server in ("nonblocking", "epoll")
        },
        asleep,
    )
    assert judged("nonblocking", run).kind == kind


@pytest.mark.parametrize(
    ("alone", "busy", "kind"),
    [(1.0, 0.8, "false"), (1.2, 1.2, "true"), (1.0, 1.2, "it depends"), (1.0, 1.0, "false")],
)
def test_edges(alone: float, busy: float, kind: str, tmp_path: Path) -> None:
    run = speeds(
        tmp_path / "run",
        {
            cells.cell(server, load): 1000.0 * (factor if server == "epoll_et" else 1)
            for load, factor in ((cells.ALONE, alone), (cells.BUSY, busy))
            for server in ("epoll_et", "epoll")
        },
    )
    assert judged("edge", run).kind == kind


@pytest.mark.parametrize(
    ("fixed", "kept", "kind"),
    [
        (2.5, 1.1, "it depends"),
        (2.5, 2.5, "true"),
        (1.1, 1.1, "false"),
        (5.0, 5.0, "false"),
        (1.0, 1.0, "not decided"),
    ],
)
def test_uvloop_beside_asyncio(fixed: float, kept: float, kind: str, tmp_path: Path) -> None:
    found = {"fixed": fixed, "kept": kept}
    run = speeds(
        tmp_path / "run",
        {
            cells.cell(server, cells.BUSY, heap): 1000.0  # type: ignore[arg-type]
            * (factor if server == "uvloop" else 1)
            for heap, factor in found.items()
            for server in ("uvloop", "asyncio")
        },
    )
    assert judged("uvloop", run).kind == kind


@pytest.mark.parametrize(
    ("crowd", "failed", "kind"),
    [
        (0.5, 0.0, "it depends"),
        (0.5, 0.5, "true"),
        (1.0, 0.0, "false"),
        (1.0, 0.5, "not decided"),
    ],
)
def test_a_thread_or_a_process_for_each(
    crowd: float, failed: float, kind: str, tmp_path: Path
) -> None:
    seen = {
        **shares(threads=failed, processes=failed),
        "bytes_per_connection_threads": 20_000.0,
        "bytes_per_connection_processes": None,
    }
    run = speeds(
        tmp_path / "run",
        {
            cells.cell(server, load): 1000.0 * (factor if server != "epoll" else 1)
            for load, factor in (
                (cells.ALONE, 1.0),
                (cells.BUSY, 0.7),
                (cells.CROWD, crowd),
                (cells.OF_PROCESSES, crowd),
            )
            for server in ("threaded", "fork", "epoll")
        },
        [observation("scaling", seen, block) for block in range(BLOCKS)],
    )
    assert judged("scaling", run).kind == kind


def test_a_crowd_that_could_not_be_measured_leaves_the_next_best(tmp_path: Path) -> None:
    run = speeds(
        tmp_path / "run",
        {
            cells.cell(server, load): 1000.0 * (factor if server != "epoll" else 1)
            for load, factor in ((cells.ALONE, 1.0), (cells.BUSY, 0.7))
            for server in ("threaded", "fork", "epoll")
        },
        [observation("scaling", shares(threads=0, processes=0), block) for block in range(BLOCKS)],
    )
    verdict = judged("scaling", run)
    assert verdict.kind == "it depends"
    assert "(not measured) with 1,000" in verdict.sentence
    assert "(not measured) with 256" in verdict.sentence


@pytest.mark.parametrize(
    ("alone", "busy", "kind"),
    [
        (1.2, 1.2, "true"),
        (0.9, 1.2, "it depends"),
        (1.0, 0.9, "false"),
        (None, None, "not decided"),
    ],
)
def test_datagrams_beside_a_stream(
    alone: float | None, busy: float | None, kind: str, tmp_path: Path
) -> None:
    compared = claims.find("udp").compares()
    wanted = {}
    for when, factor in (("alone", alone), ("busy", busy)):
        wanted[compared[when].other] = 1000.0
        if factor:
            wanted[compared[when].one] = 1000.0 * factor
    assert judged("udp", speeds(tmp_path / "run", wanted)).kind == kind


def test_all_ratios_are_claimed_together(tmp_path: Path) -> None:
    """One alone is resolved that is not among many (Holm)."""
    noise = {"epoll_et": (1.1, 1.133, 1.166, 1.188), "epoll": (1.0,) * 4}
    found = [
        answering(cells.cell(server, load), 1000.0 * noise.get(server, WILD)[block], block)
        for load in (cells.ALONE, cells.BUSY)
        for server in ("epoll_et", "epoll", "blocking", "threaded", "nonblocking", "select", "poll")
        for block in range(BLOCKS)
    ]
    run = run_of(tmp_path / "run", found)
    everything = [claims.find(name) for name in claims.ALL]

    alone = judged("edge", run)
    told = evidence.of_run(run, everything)
    together = {each.claim.name: each.verdict() for each in told}["edge"]
    assert (alone.kind, together.kind) == ("true", "not decided")
    assert "not resolved" not in alone.sentence
    assert together.sentence.count("not resolved") == 4


WILD = (0.4, 2.5, 0.7, 1.6)


# Shares.


def test_the_interval_of_a_share_is_that_of_wilson() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263, 15/148, 0/20, 1/29.
    for held, tries, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = evidence.share([(held, tries)])
        assert found is not None
        assert found.low == pytest.approx(low, abs=1e-4)
        assert found.high == pytest.approx(high, abs=1e-4)


def test_blocks_that_differ_make_a_share_less_sure() -> None:
    alike = evidence.share([(50, 100)] * 4)
    apart = evidence.share([(5, 100), (95, 100), (20, 100), (80, 100)])
    assert alike is not None
    assert apart is not None
    assert apart.high - apart.low > 3 * (alike.high - alike.low)
    assert evidence.share([]) is None
    assert evidence.share([(0, 0)]) is None


def test_what_is_not_quite_all_does_not_look_like_it() -> None:
    found = evidence.share([(99_999, 100_000)])
    assert found is not None
    assert "100 %" not in str(found)
    assert not found.always
    assert str(evidence.share([(3, 60)])) == "3 of 60 (5 % [2, 14])"
