"""What CONTRIBUTING.md says to do is done, in a copy of the tree, and works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT, settings

PAGE = ROOT / "CONTRIBUTING.md"
MOST_LINES = 9
COPIED = ("servers", "loadgen", "pyproject.toml")


def snippets() -> dict[str, str]:
    """What a section tells to type, by its title."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        for block in re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
            assert title not in found, f"{title} has two snippets"
            found[title] = block
    return found


def typed(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A snippet, typed into a shell in a folder, with the Python of these tests."""
    found_first = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, "PATH": found_first},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10 * settings.deadline_s,
        check=False,
    )


def test_each_snippet_has_less_than_ten_lines() -> None:
    lines = {title: text.count("\n") for title, text in snippets().items()}
    assert list(lines) == ["A model", "An experiment", "A chart"]
    assert all(count <= MOST_LINES for count in lines.values()), lines


@pytest.mark.timeout(600)
def test_a_model_an_experiment_and_a_chart_are_added_as_it_says(tmp_path: Path) -> None:
    """In this order, because the later ones measure the earlier ones."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tmp_path / name)  # type: ignore[operator]
    said = {}
    for title, text in snippets().items():
        done = typed(text, tmp_path)
        # A busy machine may make a trial invalid: then `run` has another status, and says so.
        busy = title == "A model" and "verdict      INVALID" in done.stdout
        assert done.returncode == 0 or busy, (title, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        said[title] = done.stdout

    assert re.search(r"^readiness +patient ", said["A model"], re.MULTILINE)
    assert re.search(r"^server +patient *$", said["A model"], re.MULTILINE)
    run = tmp_path / "results" / "latest"
    page = (run / "report.md").read_text()
    assert "**What do idle connections cost a single client?**" in page
    for chart in ("lonely", "lonely-latency", "lonely-cpu"):
        assert f"(charts/{chart}.svg)" in page
        assert "patient" in (run / "charts" / f"{chart}.svg").read_text()
