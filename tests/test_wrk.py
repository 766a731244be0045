"""The lab's generator beside wrk: what each is asked, and how what they say is read."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import wrk
from stubs import HTTP, Stub

from loadgen.machine.cpus import choose_pinning
from loadgen.target.address import Address
from loadgen.workload import dialogue

pytestmark = pytest.mark.measures

SAID = """Running 1s test @ http://127.0.0.1:8000/?x
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.52ms  101.00us   3.00ms   90.00%
  41234 requests in 1.00s, 7.00MB read
Requests/sec:  41199.50
Transfer/sec:      7.00MB
"""


def test_what_wrk_says_is_read() -> None:
    assert wrk.wrk_per_s(SAID) == 41_199.5


@pytest.mark.parametrize(
    "trouble",
    ["  Socket errors: connect 0, read 1, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 7\n"],
)
def test_errors_of_wrk_are_no_measurement(trouble: str) -> None:
    with pytest.raises(wrk.GeneratorError, match=trouble.strip()):
        wrk.wrk_per_s(SAID + trouble)
    with pytest.raises(wrk.GeneratorError, match="wrk said"):
        wrk.wrk_per_s("unable to connect")


def test_answers_that_the_lab_missed_are_no_measurement() -> None:
    record = {
        "outcome": "measured",
        "counts": {"ok": 9, "scheduled": 10},
        "throughput_per_s": 9.0,
        "verdict": {"reasons": ["1 wrong answers"]},
    }
    with pytest.raises(wrk.GeneratorError, match="1 wrong answers"):
        wrk.lab_per_s(json.dumps(record))
    record["counts"] = {"ok": 10, "scheduled": 10}
    assert wrk.lab_per_s(json.dumps(record)) == (9.0, ["1 wrong answers"])


def test_a_row_has_medians_and_the_ratio_with_its_interval() -> None:
    row = wrk.row("epoll", [100.0, 200.0, 300.0], [101.0, 202.0, 303.0])
    assert row == "| epoll | 200 | 202 | 1.010 [1.010, 1.010] |"
    assert wrk.row("epoll", [100.0], [99.0]) == "| epoll | 100 | 99 | 0.990 |"


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_sends_the_bytes_of_the_lab() -> None:
    with Stub(**HTTP) as stub:
        command = wrk.wrk_command(Address("127.0.0.1", stub.port), 1)
        assert wrk.wrk_per_s(wrk.run(command, set(choose_pinning().generator), 60.0)) > 0
        heads = {served.line.strip(b"\r\n") for served in stub.served}
    (head,) = heads
    said = dialogue.http(wrk.MESSAGE_BYTES).request.strip()
    assert sorted(head.split(b"\r\n")) == sorted(said.split(b"\r\n"))


@pytest.mark.parametrize("missing", [True, False])
def test_where_it_cannot_be_done_it_is_skipped_in_words(missing: bool) -> None:
    """Without a folder that programs are looked for in there is no wrk."""
    if not missing and shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    script = Path(wrk.__file__)
    done = subprocess.run(
        [sys.executable, script, "--pairs", "1", "--seconds", "1", "--servers", "epoll"],
        env={"PATH": ""} if missing else None,
        capture_output=True,
        text=True,
        check=True,
    )
    if missing:
        assert done.stdout.startswith("skipped: wrk is not installed")
    elif not choose_pinning().shared:
        head, _, row = done.stdout.splitlines()
        assert head.startswith("| server |")
        assert row.startswith("| epoll |")
