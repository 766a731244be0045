"""The containers say what README says. They are built on no machine of these tests: the commands in
them are what is held here, and `tests/build_container` runs them on a bare Debian."""

import json
import re
import shlex
import subprocess

import pytest
from harness import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
README = (ROOT / "README.md").read_text()
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
# Beside what README asks for: what Debian's slim image has not, and has elsewhere.
DEBIAN = {"python3-venv", "ca-certificates"}


def instructions(name: str) -> list[str]:
    """What stands behind each instruction of that name, in order."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def targets() -> set[str]:
    """What make can do, by its own word."""
    told = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^make ([\w-]+)", told.stdout, re.MULTILINE))


def test_it_is_built_from_the_python_of_the_distribution() -> None:
    assert instructions("FROM") == ["debian:trixie-slim"]
    assert "pip install" not in DOCKERFILE
    assert "curl" not in DOCKERFILE


def test_what_is_installed_is_what_readme_asks_for() -> None:
    install = next(line for line in instructions("RUN") if "apt-get install" in line)
    words = install.partition("apt-get install")[2].partition("&&")[0].split()
    packages = {word for word in words if not word.startswith("-")}

    needed = re.search(r"It needs Linux, Python [\d.]+ to [\d.]+, make and git\.", README)
    assert needed, "README says what the lab needs: let the Dockerfile install that"
    assert "needs `strace`" in " ".join(README.split())
    assert packages == {"python3", "make", "git", "strace"} | DEBIAN


def test_commands_are_those_of_readme_and_make() -> None:
    runs = [line for line in instructions("RUN") if not line.startswith("apt-get")]
    assert runs == ["make setup"]
    (started,) = map(json.loads, instructions("CMD"))
    assert started == ["make", "bench-quick"]
    assert "`make bench-quick`" in README
    told = [*runs, shlex.join(started), DEVCONTAINER["postCreateCommand"]]
    comments = re.findall(r"^#.*?\b(make [a-z-]+)", DOCKERFILE, re.MULTILINE)
    assert comments
    for command in [*told, *comments]:
        assert command.split()[1] in targets(), command


def test_what_is_copied_is_what_git_would_have() -> None:
    """What git ignores stays outside, so that a foreign .venv does not end up in the image."""
    ignored = (ROOT / ".gitignore").read_text().split()
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {line.removeprefix("**/").rstrip("/") for line in left_out} >= {
        line.rstrip("/") for line in ignored
    }


def test_the_devcontainer_is_that_container() -> None:
    build = DEVCONTAINER["build"]
    folder = ROOT / ".devcontainer"
    assert (folder / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / build["context"]).resolve() == ROOT


@pytest.mark.parametrize("name", ["Dockerfile", ".devcontainer/devcontainer.json"])
def test_no_line_depends_on_one_machine(name: str) -> None:
    assert not re.search(r"https?://|/home/|/tmp/", (ROOT / name).read_text())
