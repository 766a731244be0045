"""Is a CPU left alone? A process that runs there only when nobody else wants to is asked.

It has the policy SCHED_IDLE (sched(7)): the kernel lets every ordinary program on its CPU go
first. So it answers at once exactly where there is none.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

# On a CPU that has nothing to do an answer takes 0.2 ms (measured).
PATIENCE_S = 0.001
STARTING_S = 2.0


class Canary:
    """Sits on these CPUs inside the `with` statement.

    cpus   none: it knows of none, and finds everything free
    """

    def __init__(self, cpus: Iterable[int]) -> None:
        self._cpus = sorted(cpus)
        self._birds: list[subprocess.Popen[bytes]] = []
        self._asked = 0

    def __enter__(self) -> Self:
        for cpu in self._cpus:
            self._birds.append(
                subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__, str(cpu)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    process_group=0,  # a Ctrl-C goes to us: we end it
                )
            )
        self.is_free(STARTING_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bird in self._birds:
            bird.kill()
            bird.communicate()

    def is_free(self, patience_s: float = PATIENCE_S) -> bool:
        """Had nobody else anything to do on these CPUs just now?"""
        self._asked = (self._asked + 1) % 256
        question = bytes([self._asked])
        deadline = time.monotonic() + patience_s
        for bird in self._birds:
            assert bird.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                bird.stdin.write(question)
        return all(_answers(bird, question, deadline) for bird in self._birds)


def _answers(bird: "subprocess.Popen[bytes]", question: bytes, deadline: float) -> bool:
    """Those to earlier questions may come first."""
    assert bird.stdout is not None
    heard = select.poll()
    heard.register(bird.stdout, select.POLLIN)
    answer = b""
    while not answer.endswith(question):
        left_s = max(0.0, deadline - time.monotonic())
        if not heard.poll(1000 * left_s):
            return False
        answer = os.read(bird.stdout.fileno(), 256)
        if not answer:
            return False
    return True


def main() -> None:
    """The body of the process: hand back what comes."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while question := os.read(0, 256):
        os.write(1, question)


if __name__ == "__main__":
    main()
