"""The interpreter that servers run under: asked, not guessed."""

import platform
import sys
from pathlib import Path

import pytest

from loadgen import experiments
from loadgen.machine.cpus import choose_pinning
from loadgen.machine.limits import raise_descriptor_limit
from loadgen.plan.plan import why_not
from loadgen.target import interpreter
from loadgen.target.interpreter import InterpreterError, examine
from loadgen.trial import trial
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Requests, Slices
from loadgen.trial.rig import SystemUnderTest
from servers import catalog


def script(folder: Path, text: str) -> str:
    """A program that may be named as an interpreter."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def other_python(folder: Path, before: str = "") -> str:
    """Ours under another name; `before` is run first, in every process of it."""
    (folder / "sitecustomize.py").write_text(before)
    return script(folder, f'PYTHONPATH="{folder}" exec "{sys.executable}" "$@"')


def test_it_says_what_it_is_and_what_it_can_run() -> None:
    ours = examine()

    version = f"{platform.python_implementation()} {platform.python_version()}"
    assert ours.implementation == version
    assert ours.gil == getattr(sys, "_is_gil_enabled", lambda: True)()
    assert ours.missing == {model.name: model.missing() for model in catalog.every()}


def test_without_a_gil_it_says_so(tmp_path: Path) -> None:
    free = other_python(tmp_path, "import sys; sys._is_gil_enabled = lambda: False")

    assert not examine(free).gil


def test_what_it_lacks_is_a_reason_to_skip_a_cell(tmp_path: Path) -> None:
    bare = other_python(
        tmp_path,
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'trio' else found(name, *rest)",
    )

    def reason(server: str, python: str) -> str | None:
        cell = Cell(experiment="throughput", server=server, workload=Slices(), python=python)
        return why_not(cell, raise_descriptor_limit())

    assert reason("trio", bare) == "trio is not installed"
    assert reason("epoll", bare) is None
    assert reason("epoll", "/nowhere/python") == (
        "cannot run /nowhere/python: No such file or directory"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo 'too old' >&2; exit 3", "cannot run the servers: too old"),
        ("exit 4", "cannot run the servers: status 4"),
        ("echo hello", "is no Python: it does not say what it is"),
        ("echo '{}'", "is no Python: it does not say what it is"),
    ],
)
def test_what_is_none_is_refused_in_a_line(tmp_path: Path, text: str, reason: str) -> None:
    named = script(tmp_path, text)

    with pytest.raises(InterpreterError) as raised:
        examine(named)
    assert str(raised.value) == f"{named} {reason}"


def test_one_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "PATIENCE_S", 0.1)
    with pytest.raises(InterpreterError, match="said nothing within"):
        examine(script(tmp_path, "exec sleep 60"))


def test_each_experiment_is_measured_under_the_first_or_under_every_one() -> None:
    named = ["one", "two"]

    def under(name: str) -> set[str | None]:
        cells = experiments.cells(name, "quick", catalog.usual(), named)
        return {cell.python for cell in cells}

    assert under("interpreters") == under("workers") == under("receive_size") == set(named)
    assert under("throughput") == under("edges") == {"one"}
    plain = experiments.cells("throughput", "quick", catalog.usual())
    assert {cell.python for cell in plain} == {None}


def test_a_server_runs_under_the_interpreter_of_its_cell(tmp_path: Path) -> None:
    named = other_python(tmp_path)
    short = Requests(warmup_s=0.01, duration_s=0.05)

    record = trial.run(
        SystemUnderTest(model=catalog.find("epoll")),
        Cell(experiment="run", server="epoll", workload=short, python=named),
        cpus=choose_pinning(),
        log=tmp_path / "log",
    )

    assert record["outcome"] == "measured", record["failure"]
    server = record["server"]
    assert server["python"] == named
    assert server["command"]
    assert server["command"][0] == named
    assert server["implementation"] == examine().implementation
