"""Run folder => charts, from the stored trials alone. No server is started here."""

from pathlib import Path

from loadgen import analysis, charts, experiments
from loadgen.results import ResultsError

CHARTS_NAME = "charts"


def draw(folder: Path, into: Path | None = None) -> list[Path]:
    """Draw every chart of a run into its `charts` folder, or another one; returns the files.

    Raises ResultsError.
    """
    run = analysis.load(folder)
    into = into or folder / CHARTS_NAME
    try:
        return [
            path
            for name in run.header["plan"]["experiments"]
            if run.of(name)
            for figure in experiments.find(name).figures(run)
            for path in charts.save(figure, into)
        ]
    except KeyError as error:
        raise ResultsError(f"{folder} was measured by another lab: {error.args[0]}") from error
    except OSError as error:
        raise ResultsError(f"cannot write to {into}: {error.strerror}") from error


def findings(run: analysis.Run) -> list[tuple[str, str]]:
    """What each experiment of a run says of its own data."""
    names = run.header["plan"]["experiments"]
    return [(name, experiments.find(name).finding(run)) for name in names if run.of(name)]
