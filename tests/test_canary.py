"""Asking whether a CPU is left alone."""

import os
import select
import subprocess
import sys

import pytest

from loadgen.machine.canary import Canary

pytestmark = pytest.mark.measures

CPU = max(os.sched_getaffinity(0))
# On a CPU that others want, who may go last gets 3 of 1,027 parts (sched(7), SCHED_IDLE).
PATIENCE_S = 60.0
SPIN = f"""
import os
os.sched_setaffinity(0, {{{CPU}}})
print(flush=True)
while True:
    pass
"""


def test_a_cpu_on_which_others_run_is_not_free() -> None:
    """Now and then the one who may go last does get a turn, and some asks in a row fall into it: so
    there is time between them."""
    with (
        Canary({CPU}) as canary,
        subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) as busy,
    ):
        assert busy.stdout is not None
        busy.stdout.read(1)
        try:
            found = []
            for _ in range(200):
                found.append(canary.is_free())
                select.poll().poll(1)
        finally:
            busy.kill()
        assert found.count(False) > 100
        assert canary.is_free(PATIENCE_S), "answers to earlier questions are no answer"


def test_whoever_waits_long_enough_is_answered() -> None:
    with Canary(os.sched_getaffinity(0)) as canary:
        assert canary.is_free(PATIENCE_S)


def test_of_no_cpu_nothing_is_known() -> None:
    with Canary(()) as canary:
        assert canary.is_free()


def test_one_that_has_died_finds_nothing_free_and_disturbs_nobody() -> None:
    with Canary({CPU}) as canary:
        for bird in canary._birds:
            bird.kill()
            bird.wait()
        assert not canary.is_free()
