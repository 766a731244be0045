"""What the tests of the servers share: which server, and one that is running."""

import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import pytest

from servers import catalog

# A shell without job control starts background jobs with Ctrl-C ignored, and whatever they start
# inherits that (POSIX, Shell Command Language, 2.11). The programs under test must notice it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("servers under test")
    group.addoption(
        "--server-command",
        default=harness.Settings.command,
        help="how to start a server; {python} and {name} are filled in (default: %(default)s)",
    )
    group.addoption(
        "--server",
        choices=[model.name for model in catalog.every()],
        help="test this one only",
    )
    group.addoption(
        "--deadline",
        type=float,
        default=harness.Settings.deadline_s,
        metavar="SECONDS",
        help="how long a condition may take to come true (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    harness.settings.command = config.getoption("--server-command")
    harness.settings.deadline_s = config.getoption("--deadline")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--server")
    others = [item for item in items if wanted and server_of(item) != wanted]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def server_of(item: pytest.Item) -> str | None:
    """The server that a test is about, if it is about one."""
    callspec = getattr(item, "callspec", None)
    return callspec.params["model"].name if callspec and "model" in callspec.params else None


@pytest.fixture(params=catalog.MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> catalog.Model:
    """Every server in the catalog, one after the other."""
    one: catalog.Model = request.param
    if reason := one.missing():
        pytest.skip(reason)
    return one


@pytest.fixture
def start(model: catalog.Model) -> Iterator[Callable[..., harness.Server]]:
    """Starts the server under test; options and more as harness.start takes them.

    After the test each server must be alive, and end as the contract says: SIGTERM, status 0,
    within a second, nothing on standard error, no process left.
    """
    running: list[harness.Server] = []

    def start_one(*options: str, **more: Any) -> harness.Server:
        running.append(harness.start(model, *options, **more))
        return running[-1]

    try:
        yield start_one
        for server in running:
            if server.process.returncode is None:
                server.stop()
    finally:
        for server in running:
            server.discard()


@pytest.fixture
def start_with(
    start: Callable[..., harness.Server], tmp_path: Path
) -> Callable[..., harness.Server]:
    """Starts a server in which a fault is planted: what the system can do to it, but does too
    rarely. The code is run first; sitecustomize is imported by every interpreter that starts with
    it on its path (site). `is_first()` in it is true once, in one of the server's processes."""
    if not harness.settings.command.startswith("{python}"):
        pytest.skip("faults are planted in Python only")

    def start_with(fault: str, *options: str) -> harness.Server:
        helper = f"""
        def is_first():
            import os
            try:
                os.mkdir({str(tmp_path / "once")!r})
            except FileExistsError:
                return False
            return True
        """
        code = textwrap.dedent(helper) + textwrap.dedent(fault)
        (tmp_path / "sitecustomize.py").write_text(code)
        return start(*options, path=tmp_path)

    return start_with


@pytest.fixture
def server(start: Callable[..., harness.Server]) -> harness.Server:
    """The server under test, running."""
    return start()
