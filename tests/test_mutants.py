"""A test is worth what it has caught: every broken server in mutants/ must be caught.

Each mutant is a real server with one thing wrong. It is run through the same tests as the real
ones, and it must fail the test that is there for its fault, while another test shows that it is
a working server otherwise: so it is caught for its own fault.
"""

import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import ROOT

MUTANTS = Path(__file__).parent / "mutants"

COMMAND_LINE = "tests/test_cli_servers.py"
CONFORMANCE = "tests/test_conformance.py"
FAULTS = "tests/test_faults.py"
HTTP = "tests/test_http.py"
PROCESSES = "tests/test_processes.py"
DATAGRAMS = "tests/test_datagrams.py"

SPEAKS_HTTP = f"{HTTP}::test_answers_requests_one_after_the_other"
DISCOVER = "tests/test_discover.py"

# A mutant that hangs is caught by the deadline, so this is what it costs.
DEADLINE_S = 3

# A fault may need an order of events that a busy machine does not always give (the client has to
# be quicker than the server, say): the mutant is right then, and nothing is there to be caught.
TRIES = 3


@dataclass(frozen=True)
class Verdict:
    """What a mutant does, and how it is found out.

    like      the server in the catalog whose capabilities it claims
    caught_by the test that must fail (in one of its cases at least)
    passes    a test that must pass; None if none can, since each test stops its server
    measures  the test that must fail needs the machine: its client has to outrun the server
    """

    like: str
    caught_by: str
    passes: str | None = f"{CONFORMANCE}::test_answers_a_line"
    measures: bool = False


def connectionless(like: str, caught_by: str) -> Verdict:
    """Of a mutant of a server without connections."""
    return Verdict(like, f"{DATAGRAMS}::{caught_by}", f"{DATAGRAMS}::test_answers_a_line")


EXPECTED = {
    "abandons_half_closed": Verdict(
        "select", f"{CONFORMANCE}::test_half_close_gets_everything_owed"
    ),
    "aborts_what_exit_left_unsent": Verdict(
        "epoll", f"{FAULTS}::test_nothing_owed_is_lost_at_the_end"
    ),
    "answers_after_exit": Verdict("select", f"{CONFORMANCE}::test_ignores_what_follows_exit"),
    "answers_answers": connectionless("udp", "test_no_answer_is_answered"),
    "answers_as_found": Verdict("epoll_threads", f"{CONFORMANCE}::test_answers_lines_in_order"),
    "answers_everybody_who_asks": Verdict(
        "epoll", f"{DISCOVER}::test_a_flood_of_questions_gets_few_answers"
    ),
    "answers_in_reverse": Verdict("threaded", f"{CONFORMANCE}::test_answers_lines_in_order"),
    "answers_the_first_of_a_batch": connectionless(
        "udp_batched", "test_everybody_gets_their_own_answers"
    ),
    "answers_the_last_sender": connectionless("udp", "test_everybody_gets_their_own_answers"),
    "answers_through_routers": Verdict(
        "epoll", f"{DISCOVER}::test_what_came_through_a_router_gets_no_answer"
    ),
    "answers_unfinished_lines": Verdict(
        "threaded", f"{CONFORMANCE}::test_says_nothing_before_the_line_is_complete"
    ),
    "answers_what_is_no_question": Verdict(
        "epoll", f"{DISCOVER}::test_what_is_no_question_gets_no_answer"
    ),
    "closes_before_the_client": Verdict(
        "epoll", f"{FAULTS}::test_what_is_owed_arrives_though_more_is_said_later"
    ),
    "closes_with_input_unread": Verdict(
        "poll", f"{FAULTS}::test_what_is_owed_arrives_though_more_was_said"
    ),
    "confuses_reused_descriptors": Verdict("epoll", f"{FAULTS}::test_everything_at_once"),
    "cuts_datagrams_off": connectionless("udp", "test_what_was_sent_as_one_is_answered_as_one"),
    "counts_from_the_beginning": Verdict(
        "select", f"{FAULTS}::test_who_says_a_little_now_and_then_is_not_silent"
    ),
    "dies_of_a_timeout": Verdict("poll", f"{FAULTS}::test_a_call_for_a_client_fails_once"),
    "dies_of_an_aborted_connection": Verdict("epoll", f"{FAULTS}::test_accept_fails_once"),
    "dies_of_an_icmp_error": connectionless("udp", "test_a_sender_that_has_gone"),
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
    "ends_with_an_empty_datagram": connectionless("udp", "test_an_empty_datagram_is_an_empty_line"),
    "ends_with_exit": connectionless("udp", "test_exit_is_a_line_like_others"),
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
    "forgets_what_it_owes_to_the_silent": Verdict(
        "epoll", f"{FAULTS}::test_what_is_owed_comes_before_the_time_is_over"
    ),
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
    "is_announced_unasked": Verdict(
        "epoll", f"{DISCOVER}::test_says_nothing_unless_it_was_told_to"
    ),
    "keeps_asking_to_write": Verdict("epoll", f"{FAULTS}::test_a_full_server_uses_no_cpu"),
    "keeps_carriage_return": Verdict(
        "epoll", f"{CONFORMANCE}::test_drops_one_carriage_return_before_the_newline"
    ),
    "keeps_childrens_sockets": Verdict("fork", f"{CONFORMANCE}::test_exit_ends_the_conversation"),
    "keeps_the_wake_up": Verdict(
        "prefork", f"{PROCESSES}::test_a_worker_without_room_leaves_newcomers_to_the_others"
    ),
    "leaks_descriptors": Verdict("select", f"{FAULTS}::test_leaves_nothing_behind"),
    "leaks_threads": Verdict("threaded", f"{FAULTS}::test_leaves_nothing_behind"),
    "leaves_child_behind": Verdict("nonblocking", f"{FAULTS}::test_stops_while_idle", passes=None),
    "leaves_children_when_stopped": Verdict(
        "fork",
        f"{FAULTS}::test_stops_in_the_middle_of_conversations",
        passes=f"{CONFORMANCE}::test_exit_ends_the_conversation",
    ),
    "leaves_its_path_behind": Verdict("epoll", f"{COMMAND_LINE}::test_listens_on_a_unix_socket"),
    "leaves_orphans_when_killed": Verdict(
        "prefork", f"{PROCESSES}::test_a_killed_parent_leaves_no_orphan"
    ),
    "leaves_who_announces_it": Verdict(
        "epoll", f"{DISCOVER}::test_is_not_announced_longer_than_it_lives"
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
    "never_lets_others_go_on": Verdict(
        "gevent", f"{FAULTS}::test_a_flood_drowns_nobody_else", measures=True
    ),
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
    "says_nothing_to_what_is_too_long": connectionless(
        "udp", "test_what_no_datagram_can_answer_is_an_error"
    ),
    "says_more_than_it_was_asked": Verdict(
        "epoll", f"{DISCOVER}::test_an_answer_multiplies_nothing"
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
    "takes_its_announcer_for_a_worker": Verdict(
        "reuseport", f"{DISCOVER}::test_goes_on_without_whoever_announces_it"
    ),
    "takes_much_memory_per_client": Verdict(
        "select", f"{FAULTS}::test_a_client_costs_little_memory"
    ),
    "takes_one_line_per_receive": Verdict(
        "blocking", f"{CONFORMANCE}::test_takes_everything_glued_together"
    ),
    "takes_over_a_live_path": Verdict("threaded", f"{COMMAND_LINE}::test_refuses_a_live_path"),
    "takes_prefix_for_exit": Verdict("nonblocking", f"{CONFORMANCE}::test_only_exit_is_exit"),
    "takes_slow_readers_for_silent": Verdict(
        "epoll", f"{FAULTS}::test_who_takes_a_long_answer_slowly_is_not_silent"
    ),
    "takes_work_for_silence": Verdict(
        "epoll_threads", f"{FAULTS}::test_who_waits_for_an_answer_is_not_silent"
    ),
    "tells_again_and_again": Verdict(
        "threaded", f"{FAULTS}::test_a_silent_client_is_told_and_let_go"
    ),
    "tells_too_early": Verdict("epoll", f"{FAULTS}::test_a_silent_client_is_told_and_let_go"),
    "times_out_only_the_first": Verdict(
        "poll", f"{FAULTS}::test_many_silent_clients_beside_a_busy_one"
    ),
    "waits_for_a_chatterer": Verdict(
        "epoll", f"{FAULTS}::test_nobody_is_waited_for_longer_than_that"
    ),
    "waits_for_its_threads": Verdict(
        "socketserver", f"{FAULTS}::test_stops_in_the_middle_of_conversations", passes=None
    ),
    "wakes_again_and_again": Verdict("poll", f"{FAULTS}::test_nobody_is_too_silent_or_too_slow"),
    "wakes_nobody_for_the_second": Verdict("prefork", f"{FAULTS}::test_everything_at_once"),
    "workers_remove_the_path": Verdict(
        "prefork", f"{COMMAND_LINE}::test_a_child_that_ends_leaves_the_path"
    ),
    # HTTP, the other protocol.
    "answers_head_with_a_body": Verdict(
        "select", f"{HTTP}::test_says_no_more_than_the_head_to_head", passes=SPEAKS_HTTP
    ),
    "follows_links_out_of_the_folder": Verdict(
        "epoll", f"{HTTP}::test_serves_files_and_nothing_outside", passes=SPEAKS_HTTP
    ),
    "forgets_a_pipelined_request": Verdict(
        "blocking", f"{HTTP}::test_answers_pipelined_requests_in_order", passes=SPEAKS_HTTP
    ),
    "forgets_requests_beyond_the_high_water": Verdict(
        "nonblocking", f"{HTTP}::test_answers_more_than_a_client_takes_at_once", passes=SPEAKS_HTTP
    ),
    "keeps_files_of_clients_that_left": Verdict(
        "epoll",
        f"{HTTP}::test_who_leaves_in_the_middle_of_a_file_leaves_nothing_behind",
        passes=SPEAKS_HTTP,
    ),
    "never_hangs_up": Verdict(
        "selectors", f"{HTTP}::test_hangs_up_when_it_is_asked_to", passes=SPEAKS_HTTP
    ),
    "reads_files_into_memory": Verdict(
        "threaded", f"{HTTP}::test_a_large_file_is_not_read_into_memory", passes=SPEAKS_HTTP
    ),
    "takes_bodies_for_requests": Verdict(
        "epoll_et", f"{HTTP}::test_a_body_is_no_request", passes=SPEAKS_HTTP
    ),
    "takes_the_first_of_two_lengths": Verdict(
        "poll", f"{HTTP}::test_a_refusal_arrives_behind_what_is_owed", passes=SPEAKS_HTTP
    ),
    "works_for_the_first_request_only": Verdict(
        "epoll_threads", f"{HTTP}::test_works_for_every_request", passes=SPEAKS_HTTP
    ),
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


@pytest.mark.filterwarnings("default:.* passed every test")
@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, marks=[pytest.mark.measures] if verdict.measures else [])
        for mutant, verdict in EXPECTED.items()
    ],
)
def test_mutant_is_caught(mutant: str) -> None:
    expected = EXPECTED[mutant]
    for tries in range(1, TRIES + 1):
        run = examine(mutant)
        if run.status != pytest.ExitCode.OK:
            break
        warnings.warn(f"{mutant} passed every test in try {tries} of {TRIES}", stacklevel=1)
    assert run.status == pytest.ExitCode.TESTS_FAILED, run.output
    assert "FAILED" in run.outcomes(expected.caught_by), run.output
    if expected.passes is not None:
        assert run.outcomes(expected.passes) == {"PASSED"}, run.output


def test_every_mutant_is_examined() -> None:
    assert {path.stem for path in MUTANTS.glob("*.py")} == set(EXPECTED)
