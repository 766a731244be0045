"""The notebooks run from top to bottom on the committed runs, and say in one line what is wrong
with a run that they cannot read. What they print is not kept."""

from pathlib import Path

import nbformat
import pytest
import records
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

# The kernel is a process of its own; its libraries warn about matters of theirs.
pytestmark = pytest.mark.filterwarnings("default")


def executed(path: Path, run: Path | None = None) -> nbformat.NotebookNode:
    """A notebook with what its cells print; `run` instead of the run that it names."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        lines = cell.source.splitlines()
        named = [line for line in lines if line.startswith("RUN = ")]
        if named and run is not None:
            cell.source = cell.source.replace(named[0], f"RUN = Path({str(run)!r})")
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=100, resources=resources).execute()
    return notebook


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


def test_there_are_notebooks() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path) -> None:
    notebook = executed(path)
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if {"image/png", "image/svg+xml"} & output.get("data", {}).keys()
    ]
    assert pictures, "a notebook that explains pictures must draw some"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_that_a_notebook_prints_is_kept(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [("01", "has no valid trials of "), ("02", "has no valid trials of a stalled")],
)
def test_a_run_of_void_trials_is_told_in_one_line(name: str, said: str, tmp_path: Path) -> None:
    rows = [records.record("epoll", connections=64, steal=0.5)]
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith(name))
    with pytest.raises(CellExecutionError) as told:
        executed(path, records.write_run(tmp_path / "void", rows))
    assert told.value.ename == "SystemExit"
    assert said in told.value.evalue
    assert "\n" not in told.value.evalue


@pytest.mark.parametrize("name", ["01", "02"])
def test_a_folder_without_a_run_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith(name))
    with pytest.raises(CellExecutionError) as told:
        executed(path, tmp_path / "nowhere")
    assert told.value.ename == "SystemExit"
    assert str(tmp_path / "nowhere") in told.value.evalue
    assert "\n" not in told.value.evalue


@pytest.mark.parametrize(
    ("name", "said"), [("03", "nothing can be said"), ("04", "has no films: make bench")]
)
def test_what_a_run_lacks_is_told_and_the_rest_goes_on(
    name: str, said: str, tmp_path: Path
) -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith(name))
    assert said in printed(executed(path, records.write_run(tmp_path / "run", [records.record()])))
