"""Does a run's report show what its trials say? It is drawn again, and compared."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib

from loadgen.analysis.run import Run
from loadgen.report import page
from loadgen.report.figure import Report
from loadgen.store.runs import ResultsError


def differences(run: Run, report: Callable[[Run], Report]) -> Iterator[str]:
    """What the trials do not give as it is stored, a line each: the page and the charts, byte by
    byte.

    report   what the page shows of a run; a run for which it fails differs in one line
    """
    folder = run.path / page.CHARTS_NAME
    drew = run.header["versions"].get("matplotlib")
    draws = matplotlib.__version__
    other = "" if drew == draws else f" (drawn by Matplotlib {drew}, here by {draws})"
    with tempfile.TemporaryDirectory(prefix="loadgen-") as scratch:
        try:
            files = page.write(run, report(run), Path(scratch))
        except (ResultsError, KeyError, TypeError, ValueError) as error:
            yield f"the charts cannot be drawn: {error}"
            return
        texts = [path for path in files if path.parent == Path(scratch)]
        for text in texts:
            if not _same(run.path / text.name, text):
                yield f"{text.name} is not what this lab writes of the trials"
        drawn = {path.name: path for path in files if path not in texts}
        kept = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for name in sorted(drawn.keys() - kept):
            yield f"{page.CHARTS_NAME}/{name} is missing: draw it with report {run.path}"
        for name in sorted(kept - drawn.keys()):
            yield f"{page.CHARTS_NAME}/{name} is not drawn from this run"
        for name in sorted(kept & drawn.keys()):
            if not _same(folder / name, drawn[name]):
                yield f"{page.CHARTS_NAME}/{name} is not what this lab draws of the trials{other}"


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()
