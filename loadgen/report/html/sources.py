"""The servers' sources as the run kept them: highlighted, and compared line by line."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from loadgen.store.runs import SOURCES_NAME

# Two of Pygments' styles in which every colour can be read (WCAG 2, 1.4.3).
LIGHT, DARK = "xcode", "monokai"

# What difflib calls a stretch, and where it is in both: tag, from, to, from, to.
Stretch = tuple[str, int, int, int, int]


def read(run_path: Path, names: Iterable[str]) -> dict[str, str]:
    """The source of each server, as it was measured; of those whose file can be read."""
    found = {}
    for name in names:
        path = run_path / SOURCES_NAME / f"{Path(name).name}_server.py"
        try:
            found[name] = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
    return found


def highlighted(source: str) -> list[Markup]:
    """Its lines, in colours."""
    formatter = HtmlFormatter(nowrap=True)
    text = highlight(source, PythonLexer(stripnl=False, ensurenl=False), formatter)
    return [Markup(line) for line in text.split("\n")]  # it has escaped them


def style(name: str) -> str:
    """The rules of a style, for what is in an element of the class `code`."""
    rules: str = HtmlFormatter(style=name).get_style_defs(".code")
    shown = [
        line
        for line in rules.splitlines()
        if line.startswith(".code .") and "background" not in line
    ]
    return "\n".join(shown)


def aligned(one: Sequence[object], other: Sequence[object]) -> list[Stretch]:
    """Which stretches are equal, and which replace which."""
    return list(difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes())
