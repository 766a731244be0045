"""A test is worth what it has caught: every broken server in mutants/ must be caught.

Each mutant is a real server with one thing wrong. It is run through the same tests as the real
ones, and it must fail the test that is there for its fault, while another test shows that it is
a working server otherwise: so it is caught for its own fault.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import ROOT

MUTANTS = Path(__file__).parent / "mutants"

CONFORMANCE = "tests/test_conformance.py"
FAULTS = "tests/test_faults.py"

# Two at a time: a mutant that spins, or that is waited for in vain, leaves the other CPU alone.
AT_ONCE = 2

# A mutant that hangs is caught by the deadline, so this is what it costs.
DEADLINE_S = 3


@dataclass(frozen=True)
class Verdict:
    """What a mutant does, and how it is found out.

    like      the server in the catalog whose capabilities it claims
    caught_by the test that must fail (in one of its cases at least)
    passes    a test that must pass; None if none can, since each test stops its server
    """

    like: str
    caught_by: str
    passes: str | None = f"{CONFORMANCE}::test_answers_a_line"


EXPECTED = {
    "abandons_half_closed": Verdict(
        "select", f"{CONFORMANCE}::test_half_close_gets_everything_owed"
    ),
    "answers_after_exit": Verdict("select", f"{CONFORMANCE}::test_ignores_what_follows_exit"),
    "answers_in_reverse": Verdict("threaded", f"{CONFORMANCE}::test_answers_lines_in_order"),
    "answers_unfinished_lines": Verdict(
        "threaded", f"{CONFORMANCE}::test_says_nothing_before_the_line_is_complete"
    ),
    "closes_with_input_unread": Verdict(
        "poll", f"{FAULTS}::test_what_is_owed_arrives_though_more_was_said"
    ),
    "confuses_reused_descriptors": Verdict("epoll", f"{FAULTS}::test_everything_at_once"),
    "dies_of_reset": Verdict("epoll", f"{FAULTS}::test_a_reset_while_sending"),
    "dies_of_sigterm": Verdict("epoll", f"{FAULTS}::test_stops_while_idle", passes=None),
    "dies_without_descriptors": Verdict("threaded", f"{FAULTS}::test_no_descriptor_at_all"),
    "dies_without_memory": Verdict("threaded", f"{FAULTS}::test_out_of_memory"),
    "dies_without_threads": Verdict("threaded", f"{FAULTS}::test_more_clients_than_threads"),
    "drops_unsent": Verdict("epoll", f"{FAULTS}::test_a_reader_that_starts_late_gets_everything"),
    "forgets_greeting": Verdict(
        "select",
        f"{CONFORMANCE}::test_greets_before_anything_is_said",
        passes=f"{FAULTS}::test_stops_while_idle",
    ),
    "forgets_select_limit": Verdict("select", f"{FAULTS}::test_serves_as_many_as_the_catalog_says"),
    "ignores_end_of_file": Verdict("epoll", f"{FAULTS}::test_leaves_nothing_behind"),
    "ignores_high_water": Verdict(
        "poll", f"{FAULTS}::test_a_full_server_stops_reading_and_loses_nothing"
    ),
    "ignores_line_limit": Verdict("threaded", f"{FAULTS}::test_an_endless_line"),
    "keeps_carriage_return": Verdict(
        "epoll", f"{CONFORMANCE}::test_drops_one_carriage_return_before_the_newline"
    ),
    "leaks_descriptors": Verdict("select", f"{FAULTS}::test_leaves_nothing_behind"),
    "leaks_threads": Verdict("threaded", f"{FAULTS}::test_leaves_nothing_behind"),
    "leaves_child_behind": Verdict("nonblocking", f"{FAULTS}::test_stops_while_idle", passes=None),
    "overlooks_failed_sends": Verdict("poll", f"{FAULTS}::test_a_greeting_that_cannot_be_sent"),
    "queues_for_the_gil": Verdict("threaded", f"{FAULTS}::test_stops_while_python_is_busy"),
    "shares_unfinished_line": Verdict("poll", f"{CONFORMANCE}::test_does_not_mix_unfinished_lines"),
    "spins_while_full": Verdict("epoll", f"{FAULTS}::test_a_full_server_uses_no_cpu"),
    "spins_while_idle": Verdict("poll", f"{FAULTS}::test_an_idle_server_sleeps_if_its_model_can"),
    "spins_without_descriptors": Verdict("epoll", f"{FAULTS}::test_no_descriptor_at_all"),
    "swallows_sigterm": Verdict("blocking", f"{FAULTS}::test_stops_while_idle", passes=None),
    "takes_one_line_per_receive": Verdict(
        "blocking", f"{CONFORMANCE}::test_takes_everything_glued_together"
    ),
    "takes_prefix_for_exit": Verdict("nonblocking", f"{CONFORMANCE}::test_only_exit_is_exit"),
}


@dataclass(frozen=True)
class Run:
    """How the tests went: exit status of pytest, and "outcome test" as it printed them."""

    status: int
    output: str

    def outcomes(self, test: str) -> set[str]:
        """PASSED, FAILED, ERROR (of a fixture): what happened to the cases of a test."""
        return set(re.findall(rf"^(PASSED|FAILED|ERROR) {re.escape(test)}\[", self.output, re.M))


def examine(mutant: str) -> Run:
    """Run the two tests against one mutant, up to the first failure."""
    expected = EXPECTED[mutant]
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-x", "-rA", "--tb=short"),
            *("-p", "no:cacheprovider", "-p", "pytest_timeout", "-o", "addopts="),
            *("--server", expected.like, "--deadline", str(DEADLINE_S)),
            *("--server-command", f"{{python}} tests/mutants/{mutant}.py"),
            *filter(None, (expected.passes, expected.caught_by)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # half of the time
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Run(result.returncode, result.stdout)


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Future[Run]]]:
    """All mutants, being examined."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {mutant: pool.submit(examine, mutant) for mutant in EXPECTED}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", EXPECTED)
def test_mutant_is_caught(mutant: str, runs: dict[str, Future[Run]]) -> None:
    expected, run = EXPECTED[mutant], runs[mutant].result()
    assert run.status == pytest.ExitCode.TESTS_FAILED, run.output
    assert "FAILED" in run.outcomes(expected.caught_by), run.output
    if expected.passes is not None:
        assert run.outcomes(expected.passes) == {"PASSED"}, run.output


def test_every_mutant_is_examined() -> None:
    assert {path.stem for path in MUTANTS.glob("*.py")} == set(EXPECTED)
