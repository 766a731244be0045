"""Compiled code is kept on disk, and never used when it is out of date."""

import ast
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from loadgen.engine import syscalls

ROOT = Path(__file__).parent.parent
ENGINE = Path(syscalls.__file__).parent


def test_old_code_is_not_loaded_where_what_it_inlines_has_changed(tmp_path: Path) -> None:
    for changed in syscalls.INLINED_FROM:
        folders = []
        for text in ("old", "new"):
            for name in syscalls.INLINED_FROM:
                (tmp_path / name).write_text("same")
            (tmp_path / changed).write_text(text)
            folders.append(syscalls.cache_folder(tmp_path))
        assert folders[0] != folders[1]
    ours = syscalls.cache_folder(ENGINE)
    assert Path(numba.config.CACHE_DIR).name == Path(ours).name


def names_in(node: ast.AST) -> set[str]:
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}


def inlined_from(source: str) -> set[str]:
    """The modules of the lab from which compiled functions of this source take anything, be it by
    way of a constant of their own module."""
    tree = ast.parse(source)
    origin = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("loadgen")
        for alias in node.names
    }
    used: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and "compiled" in map(
            ast.unparse, node.decorator_list
        ):
            used |= set().union(*map(names_in, node.body))
    for node in tree.body:
        if isinstance(node, ast.Assign) and used & set().union(*map(names_in, node.targets)):
            used |= names_in(node.value)
    return {origin[name] for name in used & set(origin)}


def test_every_file_that_others_inline_from_is_known() -> None:
    known = {f"loadgen.engine.{Path(name).stem}" for name in syscalls.INLINED_FROM}
    used = set()
    for path in (ROOT / "loadgen").rglob("*.py"):
        used |= inlined_from(path.read_text())
    assert used == known


@pytest.mark.parametrize("module", ["requests", "churn"])
def test_compiled_loop_is_cached(module: str) -> None:
    """A second process loads what this one compiled: it compiles nothing."""
    code = (
        f"from loadgen.engine import {module} as loop; loop.compile();"
        "stats = loop._run.stats; print(sum(stats.cache_hits.values()), len(stats.cache_misses))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout.split() == ["1", "0"]
