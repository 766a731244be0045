"""The server under test gets what it should and outlives nobody."""

import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from loadgen.machine.cpus import choose_pinning
from loadgen.store.schema import Heap
from loadgen.target import process
from loadgen.target.process import Target, TargetError, running, started

pytestmark = pytest.mark.measures

CPUS = set(choose_pinning().server)


def environ(pid: int) -> dict[str, str]:
    """As the kernel has it (proc_pid_environ(5))."""
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


@pytest.mark.parametrize(
    ("heap", "changed"),
    [
        ("system", {}),
        ("fixed", {"MALLOC_MMAP_THRESHOLD_": "131072"}),
        ("kept", {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "33554432"}),
    ],
)
def test_servers_have_the_heap_of_the_system_unless_another_is_asked_for(
    heap: Heap, changed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    with started("epoll", cpus=CPUS, log=tmp_path / "log", heap=heap) as server:
        found = environ(server.processes()[0].pid)

    assert found == {**os.environ, **changed}


def test_a_descendant_that_ends_by_itself_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(psutil.Process):
        def kill(self) -> None:
            raise psutil.NoSuchProcess(self.pid)

    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [Gone()])

    with started("epoll", cpus=CPUS, log=tmp_path / "log") as server:
        assert server.is_alive()
    assert not server.is_alive()


def test_a_child_whose_parent_died_before_it_could_ask_ends(tmp_path: Path) -> None:
    somebody_else = os.getppid()
    done = subprocess.run(
        [sys.executable, "-c", "print('it runs')"],
        preexec_fn=functools.partial(process._end_with_parent, somebody_else, signal.SIGKILL),
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(("prefix", "number"), [((), signal.SIGKILL), (("env",), signal.SIGTERM)])
def test_only_a_tracer_is_asked_so_that_it_takes_its_child_along(
    prefix: tuple[str, ...], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    @contextmanager
    def running(*_: object, when_orphaned: int, **__: object) -> Iterator[Target | None]:
        asked.append(when_orphaned)
        yield None

    monkeypatch.setattr(process, "running", running)
    with started("epoll", cpus=CPUS, log=tmp_path / "log", prefix=prefix):
        pass

    assert asked == [number]


def test_a_started_server_is_gone_afterwards(tmp_path: Path) -> None:
    with started("threaded", cpus=CPUS, log=tmp_path / "log") as target:
        (root,) = target.processes()
        assert os.sched_getaffinity(root.pid) == CPUS
        assert target.usage().processes == 1
        assert sys.executable in target.command
    assert not root.is_running()


def test_a_program_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(TargetError, match=r"^cannot run /nowhere/python: .*$"),
        running(["/nowhere/python"], cpus=CPUS, log=tmp_path / "log"),
    ):
        pass


def test_a_program_that_says_something_else_is_no_server(tmp_path: Path) -> None:
    with (
        pytest.raises(TargetError, match="hello"),
        running(["echo", "hello"], cpus=CPUS, log=tmp_path / "log"),
    ):
        pass


@pytest.mark.parametrize("deep", [False, True], ids=["usual", "deep"])
def test_a_unix_socket_has_a_short_path_in_a_folder_that_goes_with_the_server(
    deep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if deep:  # too deep for any socket
        folder = tmp_path.joinpath(*["folder"] * 20)
        folder.mkdir(parents=True)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with started("epoll", cpus=CPUS, log=tmp_path / "log", options=("--unix", "PATH")) as server:
        path = Path(server.address.path)
        assert server.address.transport == "unix"
        assert server.command[-2:] == ["--unix", str(path)]
        assert "--port" not in server.command
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(server.address.sockaddr)
            assert sock.recv(100) == b"Welcome!\n"
    assert not path.parent.exists()


def test_the_folder_of_a_server_that_does_not_start_is_removed(tmp_path: Path) -> None:
    made: list[str] = []

    class Noted(tempfile.TemporaryDirectory[str]):
        def __init__(self, **options: str) -> None:
            super().__init__(**options)
            made.append(self.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "TemporaryDirectory", Noted)
        options = ("--unix", "PATH", "--no-such-option")
        with (
            pytest.raises(TargetError, match="did not start"),
            started("epoll", cpus=CPUS, log=tmp_path / "log", options=options),
        ):
            pass
    assert len(made) == 1
    assert not Path(made[0]).exists()
