"""What a shell is offered when somebody presses the tabulator, by the protocol of argcomplete."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import records
from command_line import LOADGEN
from harness import ROOT, settings

from loadgen import commands, experiments
from servers import catalog


def offered(line: str, folder: Path, cwd: Path = ROOT) -> list[str]:
    """What may stand at the end of a line that begins with `loadgen`."""
    answer = folder / "offered"
    told = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        LOADGEN,
        cwd=cwd,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [word.rstrip() for word in answer.read_text().split("\n") if word.strip()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("loadgen ", commands.ALL),
        ("loadgen be", ["bench"]),
        ("loadgen run --server epoll_", ["epoll_et", "epoll_threads"]),
        ("loadgen duel sel", ["select", "selectors"]),
        ("loadgen duel epoll sel", ["select", "selectors"]),
        ("loadgen trace ni", []),
        ("loadgen bench --servers epoll,pol", ["epoll,poll"]),
        ("loadgen bench --experiments handler,idle_", ["handler,idle_cost"]),
        ("loadgen run --arrivals ", ["poisson", "constant"]),
        ("loadgen bench --retry", ["--retry-void"]),
    ],
)
def test_names_and_options_are_offered(line: str, words: list[str], tmp_path: Path) -> None:
    found = offered(line, tmp_path)
    if line == "loadgen ":
        assert set(found) >= set(words)
    else:
        assert sorted(found) == sorted(words)


def test_what_a_list_has_is_not_offered_again(tmp_path: Path) -> None:
    found = offered("loadgen bench --servers epoll,", tmp_path)
    assert sorted(found) == sorted(
        f"epoll,{model.name}" for model in catalog.MODELS if model.name != "epoll"
    )
    found = offered("loadgen bench --experiments ", tmp_path)
    assert sorted(found) == sorted(experiments.ALL)


def test_runs_are_offered_where_runs_are_asked_for(tmp_path: Path) -> None:
    for name in ("old", "new"):
        records.write_run(tmp_path / "results" / name, [records.record()])
    (tmp_path / "results" / "charts").mkdir()

    for command in ("report", "audit", "compare results/old", "export", "bench --resume"):
        found = offered(f"loadgen {command} ", tmp_path, tmp_path)
        assert {"results/new", "results/old", "results/charts/"} <= set(found), command
        assert offered(f"loadgen {command} results/n", tmp_path, tmp_path) == ["results/new"]


def test_without_results_nothing_breaks(tmp_path: Path) -> None:
    assert offered("loadgen report results/", tmp_path, tmp_path) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_takes_the_script_that_readme_tells_to_load(tmp_path: Path) -> None:
    """From the registration to the word on the command line, with a shell that has not read any
    completion but ours."""
    bin = Path(LOADGEN[0]).parent
    script = """
        eval "$(register-python-argcomplete loadgen)"
        COMP_WORDS=(loadgen au); COMP_CWORD=1; COMP_LINE="loadgen au"; COMP_POINT=10; COMP_TYPE=9
        _python_argcomplete loadgen au loadgen
        echo "${COMPREPLY[*]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=2 * settings.deadline_s,
        check=True,
    )
    assert done.stdout.split() == ["audit"], done.stderr
