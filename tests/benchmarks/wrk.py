"""The lab's generator beside wrk, against the same HTTP server in turn; not part of the suite.

    python tests/benchmarks/wrk.py [--servers A,B] [--pairs N] [--seconds S] [--work cpu:20us]

Both send the same bytes over 64 connections in a closed loop, from one thread on one CPU; the
server has the other one. In each pair wrk comes first and then the lab, or the other way round
(ABBA), so that what passes over the machine meets both alike. What is answered per second is the
server's doing as long as neither is the limit: then the two agree. Where an answer costs next to
nothing, how a generator takes its turns is seen in the figures, so answers can be given a cost.
Prints a table in Markdown.
"""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from loadgen.analysis.estimate import over_epochs
from loadgen.machine.cpus import choose_pinning
from loadgen.target.address import Address
from loadgen.target.process import started
from loadgen.workload import dialogue

ROOT = Path(__file__).parents[2]
SERVERS = ("epoll", "threaded", "asyncio")
CONNECTIONS = 64
MESSAGE_BYTES = 16
# wrk counts from its first connection on; the lab leaves out so much.
WARMUP_S = 0.3


class GeneratorError(Exception):
    """A generator did not do what it should. The text is one line."""


def wrk_command(address: Address, seconds: int) -> list[str]:
    """One thread that says what the lab says, but for the tags."""
    target = dialogue.http(MESSAGE_BYTES).request.split(b" ")[1].decode()
    return [
        *["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "-H", "Host: lab"],
        f"http://{address}{target}",
    ]


def wrk_per_s(said: str) -> float:
    """Answers per second, out of what wrk prints. Raises GeneratorError for errors in it."""
    if errors := re.search(r"Socket errors: .*|Non-2xx or 3xx responses: .*", said):
        raise GeneratorError(f"wrk: {errors[0]}")
    found = re.search(r"^Requests/sec: +([\d.]+)$", said, re.MULTILINE)
    if found is None:
        raise GeneratorError(f"wrk said {said[-200:]!r}")
    return float(found[1])


def lab_command(address: Address, seconds: int) -> list[str]:
    """As many connections, the same request."""
    return [
        *[sys.executable, "-m", "loadgen", "run", "--connect", str(address), "--json"],
        *["--protocol", "http", "--connections", str(CONNECTIONS)],
        *["--message-bytes", str(MESSAGE_BYTES)],
        *["--duration", str(seconds), "--warmup", str(WARMUP_S)],
    ]


def lab_per_s(said: str) -> tuple[float, list[str]]:
    """Answers per second out of a record, and what its verdict says. Raises GeneratorError where
    answers were wrong or missing."""
    record = json.loads(said)
    counts = record["counts"]
    if record["outcome"] != "measured" or counts["ok"] != counts["scheduled"]:
        raise GeneratorError(f"the lab: {'; '.join(record['verdict']['reasons'])}")
    return record["throughput_per_s"], record["verdict"]["reasons"]


def run(command: list[str], cpus: set[int], patience_s: float) -> str:
    """What a command prints, on these CPUs. Raises GeneratorError."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        # The lab ends with status 1 for a trial that is invalid, and has printed its record.
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=patience_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GeneratorError(f"{command[0]} did not end within {patience_s:.0f} s") from error
    finally:
        os.sched_setaffinity(0, ours)
    if not done.stdout:
        raise GeneratorError(f"{command[0]}: {done.stderr.strip()[-200:]}")
    return done.stdout


def compare(
    server: str, pairs: int, seconds: int, work: str | None = None
) -> tuple[list[float], list[float], dict[str, int]]:
    """Answers per second as wrk and as the lab measured them, pair by pair; and how often the lab
    said what against its own trials. Raises GeneratorError."""
    pinning = choose_pinning()
    both = {*pinning.server, *pinning.generator}
    rates: dict[str, list[float]] = {"wrk": [], "lab": []}
    said: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory(prefix="wrk-") as folder,
        started(
            server,
            cpus=set(pinning.server),
            log=Path(folder) / "server.log",
            options=("--protocol", "http", *(("--work", work) if work else ())),
        ) as target,
    ):
        for pair in range(pairs):
            for name in ("wrk", "lab") if pair % 2 else ("lab", "wrk"):
                patience_s = 60.0 + seconds
                if name == "wrk":
                    command = wrk_command(target.address, seconds)
                    rates[name].append(wrk_per_s(run(command, set(pinning.generator), patience_s)))
                else:  # it pins itself, to the CPUs that it would choose anyway
                    command = lab_command(target.address, seconds)
                    rate, reasons = lab_per_s(run(command, both, patience_s))
                    rates[name].append(rate)
                    for reason in reasons:
                        said[reason] = said.get(reason, 0) + 1
    return rates["wrk"], rates["lab"], said


def row(server: str, wrk: list[float], lab: list[float]) -> str:
    """A line of the table."""
    ratio = over_epochs([math.log(one / other) for one, other in zip(lab, wrk, strict=True)])
    interval = f" [{ratio.low:.3f}, {ratio.high:.3f}]" if math.isfinite(ratio.high) else ""
    return (
        f"| {server} | {statistics.median(wrk):,.0f} | {statistics.median(lab):,.0f}"
        f" | {ratio.value:.3f}{interval} |"
    )


def main() -> int:
    """Status 0 where everything was measured, or wrk is missing, which is said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default=",".join(SERVERS), metavar="A,B")
    parser.add_argument("--pairs", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=int, default=2, metavar="S", help="of each drive")
    parser.add_argument("--work", metavar="KIND:TIME", help="cost of an answer")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("skipped: wrk is not installed (Debian, Ubuntu: apt-get install wrk)")
        return 0
    if choose_pinning().shared:
        print("skipped: the server and the generators need a CPU each, and there is one")
        return 0
    print("| server | wrk, answers/s | lab, answers/s | lab : wrk |")
    print("|---|---:|---:|---|", flush=True)
    doubts: list[str] = []
    for server in options.servers.split(","):
        try:
            wrk, lab, said = compare(server, options.pairs, options.seconds, options.work)
        except GeneratorError as error:
            print(f"error: {server}: {error}", file=sys.stderr)
            return 1
        print(row(server, wrk, lab), flush=True)
        doubts += [f"{server}: {times} of {options.pairs}: {what}" for what, times in said.items()]
    for doubt in doubts:
        print(f"the lab doubts its trials of {doubt}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
