"""A small program as a trial: it is bounded, its failure is a record, and an audit believes no more
than it saw."""

import copy
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import records
from claims_data import observation, shares
from harness import wait_until
from test_lies import Told, finds, written

from loadgen.analysis import audit
from loadgen.claims import cells
from loadgen.machine.cpus import choose_pinning
from loadgen.plan.execute import execute
from loadgen.plan.plan import Plan
from loadgen.store import metric, runs
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.errors import TrialError
from loadgen.trial.methods import Demonstration
from loadgen.trial.methods.demonstration import observe
from loadgen.trial.rig import SystemUnderTest
from servers import catalog

pytestmark = pytest.mark.measures


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def tried(claim: str, folder: Path) -> Any:
    """A trial of the program of a claim."""
    system = SystemUnderTest(model=catalog.find("epoll"))
    return trial.run(
        system, cells.demonstration(claim), cpus=choose_pinning(), log=folder / "server.log"
    )


def test_what_it_prints_is_what_was_seen() -> None:
    seen = observe(python('print(\'{"tries_x": 2, "held_x": 1}\')'))

    assert (seen["tries_x"], seen["held_x"]) == (2, 1)
    assert 0 < seen["took_s"] < 60


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('error: no room')", "the program failed: no room"),
        ("import os; os._exit(3)", "the program failed: status 3"),
        ("1/0", "ZeroDivisionError"),
        ("print('nonsense')", "said 'nonsense"),
        ("print([])", "and not what it saw"),
        ("", "said ''"),
    ],
)
def test_a_program_that_fails_says_so_in_a_line(code: str, says: str) -> None:
    with pytest.raises(TrialError, match=says) as failed:
        observe(python(code))
    assert "\n" not in str(failed.value)


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal\n"
        f"pathlib.Path({str(tmp_path)!r}, str(os.fork())).touch()\n"
        "signal.pause()"
    )
    with pytest.raises(TrialError, match="not done after 5 s"):
        observe(python(code), patience_s=5.0)

    pids = [int(path.name) for path in tmp_path.iterdir() if path.name != "0"]
    assert pids
    wait_until(lambda: not any(map(runs_still, pids)), "the child has ended")


def runs_still(pid: int) -> bool:
    """Is it there, and no zombie that waits for whoever inherited it?"""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_trial_holds_what_was_seen(tmp_path: Path) -> None:
    record = tried("receiving", tmp_path)

    assert record["verdict"] == {
        "valid": True,
        "overloaded": None,
        "bottleneck": "unknown",
        "reasons": [],
    }
    assert record["observation"]["claim"] == "receiving"
    assert record["observation"]["seen"]["held_alone"] == 100
    assert metric.held_fraction(record) == 0.25
    assert record["server"]["command"] is None, "no server took part"


@pytest.mark.parametrize("claim", ["nosuch", ""])
def test_a_claim_that_there_is_not_makes_a_record_that_does_not_count(
    claim: str, tmp_path: Path
) -> None:
    record = tried(claim, tmp_path)

    assert record["outcome"] == "crashed"
    assert "unknown claim" in record["failure"]
    assert not record["verdict"]["valid"]


def test_what_tried_nothing_counts_only_if_it_says_why() -> None:
    assert observation("ports", {"tries_x": 0, "held_x": 0})["verdict"]["reasons"] == [
        "nothing was tried"
    ]
    excused = observation("ports", {"tries_x": 0, "held_x": 0, "why_not": "not allowed"})
    assert excused["verdict"]["valid"]
    assert metric.held_fraction(excused) is None


@pytest.mark.parametrize("claim", ["Sticking", "../x", "a b"])
def test_the_name_of_a_claim_is_a_name(claim: str) -> None:
    with pytest.raises(ValueError, match=r"^claim is "):
        Demonstration(claim=claim).check()


# The audit.


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> runs.RunFolder:
    """Two programs, twice, as bench runs them."""
    folder = tmp_path_factory.mktemp("claims") / "run"
    planned = (cells.demonstration("receiving"), cells.demonstration("rebinding"))
    plan = Plan("quick", ("claims",), ("epoll",), 2, 2, 0.0, records.SEED, planned, ())
    runs.create(
        "quick",
        plan=plan.as_record(),
        seed=plan.seed,
        environment=records.MACHINE,
        folder=folder,
    )
    for _ in execute(plan, folder, choose_pinning(), lambda *_: False):
        pass
    return runs.load(folder)


def told(stored: runs.RunFolder) -> Told:
    return Told(
        copy.deepcopy(dict(stored.header)), [copy.deepcopy(dict(each)) for each in stored.records]
    )


def test_what_was_seen_holds(measured: runs.RunFolder) -> None:
    planned = [Cell.of(cell) for cell in measured.header["plan"]["cells"]]
    assert audit.examine(measured, lambda header: planned) == []


def more_than_was_tried(seen: dict[str, Any]) -> None:
    case = next(name for name in seen if name.startswith("held_"))
    seen[case] = 1_000


def a_case_without_tries(seen: dict[str, Any]) -> None:
    del seen[next(name for name in seen if name.startswith("tries_"))]


def half_a_try(seen: dict[str, Any]) -> None:
    seen[next(name for name in seen if name.startswith("held_"))] = 0.5


def less_than_nothing(seen: dict[str, Any]) -> None:
    seen["took_s"] = -1.0


def a_pause_that_took_longer_than_the_program(seen: dict[str, Any]) -> None:
    case = next(name for name in seen if name.startswith("tries_")).removeprefix("tries_")
    seen[f"messages_per_s_{case}"] = 0.001


@pytest.mark.parametrize(
    "lie",
    [
        more_than_was_tried,
        a_case_without_tries,
        half_a_try,
        less_than_nothing,
        a_pause_that_took_longer_than_the_program,
    ],
)
def test_what_was_not_seen_is_found(lie: Any, measured: runs.RunFolder, tmp_path: Path) -> None:
    changed = told(measured)
    lie(changed.rows[1]["observation"]["seen"])

    assert finds("observed", written(changed, tmp_path), [])


def test_what_another_claim_saw_is_found(measured: runs.RunFolder, tmp_path: Path) -> None:
    changed = told(measured)
    changed.rows[0]["observation"] = changed.rows[1]["observation"] | {"claim": "udp"}

    assert finds("observed", written(changed, tmp_path), [])


def test_an_observation_that_was_copied_is_found(measured: runs.RunFolder, tmp_path: Path) -> None:
    changed = told(measured)
    claim = changed.rows[0]["observation"]["claim"]
    other = next(row for row in changed.rows[2:] if row["observation"]["claim"] == claim)
    other["observation"] = changed.rows[0]["observation"]

    assert finds("twins", written(changed, tmp_path), [])


def test_a_program_that_took_longer_than_there_was_time_for_is_found(
    measured: runs.RunFolder, tmp_path: Path
) -> None:
    changed = told(measured)
    changed.rows[0]["observation"]["seen"]["took_s"] = 1e6

    assert finds("one_after_the_other", written(changed, tmp_path), [])


def test_other_cases_in_another_block_are_found(measured: runs.RunFolder, tmp_path: Path) -> None:
    changed = told(measured)
    seen = changed.rows[-1]["observation"]["seen"]
    seen |= shares(invented=0.5)

    assert finds("observations", written(changed, tmp_path), [])


@pytest.mark.parametrize("which", [0, -1])
def test_who_could_not_try_as_often_says_why(
    which: int, measured: runs.RunFolder, tmp_path: Path
) -> None:
    changed = told(measured)
    rows = [row for row in changed.rows if row["observation"]["claim"] == "receiving"]
    seen = rows[which]["observation"]["seen"]
    seen |= {"tries_alone": 50, "held_alone": 50}
    assert finds("observations", written(changed, tmp_path / "unsaid"), [])

    seen["why_not_more"] = "its time was over"
    assert not finds("observations", written(changed, tmp_path / "said"), [])
