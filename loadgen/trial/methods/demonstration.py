"""A small program of a claim, run once in a process of its own: see loadgen/claims."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.store.schema import Record
from loadgen.target.interpreter import LAB
from loadgen.trial import verdict
from loadgen.trial.errors import TrialError
from loadgen.trial.methods.method import Method

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig

# What one of them takes, about, for the estimate of a run's length.
SECONDS = 3.0
# A busy machine makes some of them slow; each has bounds of its own, and this is the last one.
PATIENCE_S = 60.0


def nothing_seen(record: Record) -> str | None:
    """A program that tried nothing, and does not say why."""
    found = record["observation"]
    if record["outcome"] != "measured":
        return None  # which is said already
    if not found:
        return "nothing was seen"
    if metric.held_fraction(record) is None and not found["seen"].get("why_not"):
        return "nothing was tried"
    return None


@dataclass(frozen=True, kw_only=True)
class Demonstration(Method):
    """What the program of a claim sees. It has sockets of its own: no server is started, and the
    cell's server stands for all of them.

    claim  its name, that of a file in loadgen/claims; empty: none
    """

    name: ClassVar[str] = "demonstration"
    checks: ClassVar = (verdict.not_measured, nothing_seen)
    limits: ClassVar = {"connections": (0, 0)}

    connections: int = 0
    claim: str = ""

    @property
    def clients(self) -> int:
        """None of the generator."""
        return 0

    @property
    def seconds(self) -> float:
        """About."""
        return SECONDS

    @property
    def headline(self) -> Metric:
        """In how many of its tries the claim held."""
        return metric.held_fraction

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """That one."""
        return (self.headline,)

    def check(self) -> None:
        """As `Method.check`."""
        super().check()
        if not re.fullmatch(r"[a-z_]{0,40}", self.claim):
            raise ValueError(f"claim is {self.claim!r}: it must be the name of a claim")

    def run(self, rig: "Rig") -> None:
        """Once. By its command line alone: what judges stands above what measures."""
        seen = observe([sys.executable, "-m", "loadgen.claims", self.claim])
        rig.only.record["observation"] = {"claim": self.claim, "seen": seen}


def observe(command: list[str], patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """What a program prints, a line of JSON, and how long it took (`took_s`).

    It and all that it started are ended when it takes longer than `patience_s`. Raises TrialError.
    """
    began_ns = time.monotonic_ns()
    process = subprocess.Popen(
        command,
        cwd=LAB,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        said, complaint = process.communicate(timeout=patience_s)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TrialError(f"the program was not done after {patience_s:g} s") from error
        raise
    took_s = (time.monotonic_ns() - began_ns) / 1e9
    if process.returncode:
        last = (complaint.strip().splitlines() or [f"status {process.returncode}"])[-1]
        raise TrialError(f"the program failed: {last.removeprefix('error: ')}")
    try:
        seen = json.loads(said)
    except ValueError as error:
        raise TrialError(f"the program said {said[:80]!r} and not what it saw") from error
    if not isinstance(seen, dict):
        raise TrialError(f"the program said {said[:80]!r} and not what it saw")
    return {**seen, "took_s": took_s}
