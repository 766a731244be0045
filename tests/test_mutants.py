"""A test is worth what it has caught: every broken server in mutants/ must be caught.

Each mutant is a real server with one thing wrong. It is run through the same tests as the real
ones, and it must fail the test that is there for its fault, while another test shows that it is
a working server otherwise: so it is caught for its own fault.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import ROOT

MUTANTS = Path(__file__).parent / "mutants"

CONFORMANCE = "tests/test_conformance.py"
FAULTS = "tests/test_faults.py"
PROCESSES = "tests/test_processes.py"

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
    "aborts_what_exit_left_unsent": Verdict(
        "epoll", f"{FAULTS}::test_nothing_owed_is_lost_at_the_end"
    ),
    "answers_after_exit": Verdict("select", f"{CONFORMANCE}::test_ignores_what_follows_exit"),
    "answers_as_found": Verdict("epoll_threads", f"{CONFORMANCE}::test_answers_lines_in_order"),
    "answers_in_reverse": Verdict("threaded", f"{CONFORMANCE}::test_answers_lines_in_order"),
    "answers_unfinished_lines": Verdict(
        "threaded", f"{CONFORMANCE}::test_says_nothing_before_the_line_is_complete"
    ),
    "closes_with_input_unread": Verdict(
        "poll", f"{FAULTS}::test_what_is_owed_arrives_though_more_was_said"
    ),
    "confuses_reused_descriptors": Verdict("epoll", f"{FAULTS}::test_everything_at_once"),
    "dies_of_a_timeout": Verdict("poll", f"{FAULTS}::test_a_call_for_a_client_fails_once"),
    "dies_of_an_aborted_connection": Verdict("epoll", f"{FAULTS}::test_accept_fails_once"),
    "dies_of_reset": Verdict("epoll", f"{FAULTS}::test_a_reset_while_sending"),
    "dies_of_sigterm": Verdict("epoll", f"{FAULTS}::test_stops_while_idle", passes=None),
    "dies_without_descriptors": Verdict("threaded", f"{FAULTS}::test_no_descriptor_at_all"),
    "dies_without_memory": Verdict("threaded", f"{FAULTS}::test_out_of_memory"),
    "dies_without_threads": Verdict("threaded", f"{FAULTS}::test_more_clients_than_threads"),
    "discards_one_receive": Verdict(
        "epoll", f"{FAULTS}::test_what_is_owed_arrives_though_more_was_said"
    ),
    "drops_return_at_the_end_of_a_receive": Verdict(
        "epoll", f"{CONFORMANCE}::test_loses_nothing_where_a_receive_ends"
    ),
    "drops_returns_before_exit": Verdict(
        "select", f"{CONFORMANCE}::test_takes_every_byte_wherever_it_stands"
    ),
    "drops_silent_clients": Verdict("threaded", f"{FAULTS}::test_nobody_is_too_silent_or_too_slow"),
    "drops_slow_lines": Verdict("epoll", f"{FAULTS}::test_nobody_is_too_silent_or_too_slow"),
    "drops_unsent": Verdict("epoll", f"{FAULTS}::test_a_reader_that_starts_late_gets_everything"),
    "drops_unsent_at_a_long_line": Verdict(
        "select", f"{FAULTS}::test_nothing_owed_is_lost_at_the_end"
    ),
    "drops_unsent_at_exit": Verdict("poll", f"{FAULTS}::test_nothing_owed_is_lost_at_the_end"),
    "ends_with_its_first_reset": Verdict("trio", f"{FAULTS}::test_leaves_nothing_behind"),
    "forgets_a_receive_it_gave_up": Verdict(
        "asyncio_streams", f"{FAULTS}::test_nobody_is_too_silent_or_too_slow"
    ),
    "forgets_greeting": Verdict(
        "select",
        f"{CONFORMANCE}::test_greets_before_anything_is_said",
        passes=f"{FAULTS}::test_stops_while_idle",
    ),
    "forgets_select_limit": Verdict("select", f"{FAULTS}::test_serves_as_many_as_the_catalog_says"),
    "forgets_whom_it_cut_off": Verdict(
        "epoll_et", f"{CONFORMANCE}::test_loses_nothing_where_a_receive_ends"
    ),
    "forks_beside_a_thread": Verdict("prefork", f"{PROCESSES}::test_no_thread_runs_when_it_forks"),
    "gives_buffers_back_early": Verdict(
        "io_uring", f"{CONFORMANCE}::test_serves_as_many_at_once_as_the_catalog_says"
    ),
    "has_a_backlog_of_128": Verdict("epoll", f"{FAULTS}::test_many_may_wait_to_be_accepted"),
    "has_a_high_water_of_4_mib": Verdict(
        "poll", f"{FAULTS}::test_a_full_server_stops_reading_and_loses_nothing"
    ),
    "has_a_pool_of_1200": Verdict("threaded", f"{FAULTS}::test_leaves_nothing_behind"),
    "holds_small_answers_back": Verdict("threaded", f"{FAULTS}::test_answers_are_sent_at_once"),
    "ignores_end_of_file": Verdict("epoll", f"{FAULTS}::test_leaves_nothing_behind"),
    "ignores_high_water": Verdict(
        "poll", f"{FAULTS}::test_a_full_server_stops_reading_and_loses_nothing"
    ),
    "ignores_line_limit": Verdict("threaded", f"{FAULTS}::test_an_endless_line"),
    "ignores_pause_writing": Verdict(
        "asyncio", f"{FAULTS}::test_a_full_server_stops_reading_and_loses_nothing"
    ),
    "keeps_asking_to_write": Verdict("epoll", f"{FAULTS}::test_a_full_server_uses_no_cpu"),
    "keeps_carriage_return": Verdict(
        "epoll", f"{CONFORMANCE}::test_drops_one_carriage_return_before_the_newline"
    ),
    "keeps_childrens_sockets": Verdict("fork", f"{CONFORMANCE}::test_exit_ends_the_conversation"),
    "leaks_descriptors": Verdict("select", f"{FAULTS}::test_leaves_nothing_behind"),
    "leaks_threads": Verdict("threaded", f"{FAULTS}::test_leaves_nothing_behind"),
    "leaves_child_behind": Verdict("nonblocking", f"{FAULTS}::test_stops_while_idle", passes=None),
    "leaves_children_when_stopped": Verdict(
        "fork",
        f"{FAULTS}::test_stops_in_the_middle_of_conversations",
        passes=f"{CONFORMANCE}::test_exit_ends_the_conversation",
    ),
    "leaves_orphans_when_killed": Verdict(
        "prefork", f"{PROCESSES}::test_a_killed_parent_leaves_no_orphan"
    ),
    "leaves_workers_when_stopped": Verdict(
        "prefork", f"{FAULTS}::test_stops_in_the_middle_of_conversations", passes=None
    ),
    "leaves_zombies": Verdict("fork", f"{FAULTS}::test_leaves_nothing_behind"),
    "lets_one_worker_accept": Verdict(
        "prefork", f"{PROCESSES}::test_who_is_busy_does_not_keep_others_from_newcomers"
    ),
    "lingers_in_the_loop": Verdict(
        "epoll", f"{FAULTS}::test_who_does_not_leave_after_exit_holds_up_nobody"
    ),
    "listens_everywhere": Verdict(
        "epoll", f"{CONFORMANCE}::test_listens_where_it_is_told_and_nowhere_else"
    ),
    "loses_what_a_timeout_cancels": Verdict(
        "trio", f"{FAULTS}::test_nobody_is_too_silent_or_too_slow"
    ),
    "never_cancels_a_receive": Verdict(
        "io_uring", f"{FAULTS}::test_a_full_server_stops_reading_and_loses_nothing"
    ),
    "never_drains": Verdict(
        "asyncio_streams", f"{FAULTS}::test_a_full_server_stops_reading_and_loses_nothing"
    ),
    "never_lets_others_go_on": Verdict("gevent", f"{FAULTS}::test_a_flood_drowns_nobody_else"),
    "overlooks_failed_sends": Verdict("poll", f"{FAULTS}::test_a_greeting_that_cannot_be_sent"),
    "queues_for_the_gil": Verdict("threaded", f"{FAULTS}::test_stops_while_python_is_busy"),
    "reads_once_per_edge": Verdict(
        "epoll_et", f"{CONFORMANCE}::test_loses_nothing_where_a_receive_ends"
    ),
    "remembers_every_line": Verdict("epoll", f"{FAULTS}::test_what_was_answered_is_forgotten"),
    "replaces_nobody": Verdict("prefork", f"{PROCESSES}::test_a_dead_worker_is_replaced"),
    "resets_a_dead_workers_backlog": Verdict(
        "reuseport", f"{PROCESSES}::test_who_waits_for_a_worker_gets_its_successor"
    ),
    "resets_after_a_long_line": Verdict(
        "threaded", f"{FAULTS}::test_what_is_owed_arrives_though_more_was_said"
    ),
    "shares_a_client_among_threads": Verdict(
        "epoll_threads", f"{CONFORMANCE}::test_answers_lines_in_order"
    ),
    "shares_unfinished_line": Verdict("poll", f"{CONFORMANCE}::test_does_not_mix_unfinished_lines"),
    "sleeps_before_it_answers": Verdict("threaded", f"{CONFORMANCE}::test_answers_without_delay"),
    "spins_when_the_system_is_full": Verdict("epoll", f"{FAULTS}::test_accept_fails_for_a_while"),
    "spins_while_full": Verdict("epoll", f"{FAULTS}::test_a_full_server_uses_no_cpu"),
    "spins_while_idle": Verdict("poll", f"{FAULTS}::test_an_idle_server_sleeps_if_its_model_can"),
    "spins_without_descriptors": Verdict("epoll", f"{FAULTS}::test_no_descriptor_at_all"),
    "strips_leading_tabs": Verdict(
        "poll", f"{CONFORMANCE}::test_takes_every_byte_wherever_it_stands"
    ),
    "swallows_sigterm": Verdict("blocking", f"{FAULTS}::test_stops_while_idle", passes=None),
    "takes_much_memory_per_client": Verdict(
        "select", f"{FAULTS}::test_a_client_costs_little_memory"
    ),
    "takes_one_line_per_receive": Verdict(
        "blocking", f"{CONFORMANCE}::test_takes_everything_glued_together"
    ),
    "takes_prefix_for_exit": Verdict("nonblocking", f"{CONFORMANCE}::test_only_exit_is_exit"),
    "waits_for_its_threads": Verdict(
        "socketserver", f"{FAULTS}::test_stops_in_the_middle_of_conversations", passes=None
    ),
    "wakes_again_and_again": Verdict("poll", f"{FAULTS}::test_nobody_is_too_silent_or_too_slow"),
    "wakes_nobody_for_the_second": Verdict("prefork", f"{FAULTS}::test_everything_at_once"),
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


@pytest.mark.parametrize("mutant", EXPECTED)
def test_mutant_is_caught(mutant: str) -> None:
    expected, run = EXPECTED[mutant], examine(mutant)
    assert run.status == pytest.ExitCode.TESTS_FAILED, run.output
    assert "FAILED" in run.outcomes(expected.caught_by), run.output
    if expected.passes is not None:
        assert run.outcomes(expected.passes) == {"PASSED"}, run.output


def test_every_mutant_is_examined() -> None:
    assert {path.stem for path in MUTANTS.glob("*.py")} == set(EXPECTED)
