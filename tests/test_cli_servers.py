"""The command line of the servers: what people type, rightly and wrongly, and what they read."""

import dataclasses
import errno
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from harness import (
    ROOT,
    TOO_LONG,
    Server,
    allow_descriptors,
    held_port,
    process_state,
    settings,
    wait_until,
)
from matplotlib.markers import MarkerStyle

from servers import catalog, common
from servers.catalog import MODELS, Model, every

Start = Callable[..., Server]
Result = subprocess.CompletedProcess[str]


def run(*arguments: str, stdin: str = "") -> Result:
    """`python -m servers ...`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "servers", *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )


def expect_error(result: Result, status: int, *words: str) -> None:
    """One clear line, the right exit status, and no traceback."""
    assert result.returncode == status, result.stderr
    assert not result.stdout
    assert "Traceback" not in result.stderr
    *usage, line = result.stderr.splitlines()
    # argparse says how the command is used, before it says what was wrong.
    assert not usage or (status == 2 and usage[0].startswith("usage: "))
    assert "error: " in line
    for word in words:
        assert word in line


@contextmanager
def listening(family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """A port that is taken."""
    with socket.socket(family) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


# Starting.


def test_says_in_one_line_where_it_listens(server: Server) -> None:
    match = re.fullmatch(rb"listening on 127\.0\.0\.1:(\d{1,5})\n", server.ready_line)
    assert match
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_listens_on_the_port_it_is_told(start: Start) -> None:
    with held_port() as port:
        server = start("--port", str(port))
        assert server.ready_line == b"listening on 127.0.0.1:%d\n" % port
        assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_says_the_address_and_not_the_name(start: Start) -> None:
    server = start("--host", "localhost")
    assert server.address[0] in ("127.0.0.1", "::1")
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_runs_as_a_module_of_its_own(model: Model) -> None:
    """The two-line main of every server file."""
    process = subprocess.Popen(
        [sys.executable, "-m", model.module, "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"listening on 127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(settings.deadline_s) == 0


def test_starts_without_anything_installed(model: Model) -> None:
    """No site-packages (-S), no user directory, no environment (-I): the standard library."""
    if model.needs:
        pytest.skip(f"needs {', '.join(model.needs)}")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {model.module}"
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, timeout=settings.deadline_s
    )


def test_refuses_a_longer_line_than_it_is_told(start: Start) -> None:
    server = start("--max-line", "10")
    client = server.greeted()
    assert client.ask(b"x" * 10) == b"Hello, xxxxxxxxxx!\n"
    client.send(b"x" * 11)
    assert client.rest() == TOO_LONG % 10


def test_takes_a_longer_line_if_it_is_told(start: Start) -> None:
    server = start("--max-line", "3000000")
    line = b"x" * 3_000_000
    assert server.greeted().converse(line + b"\n") == b"Hello, " + line + b"!\n"


# Unix sockets.


@pytest.fixture
def path() -> Iterator[str]:
    """Where there is no file yet; short, as the kernel demands (unix(7), sun_path)."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/socket"


def unless_unix(model: Model) -> None:
    """Skip a model that cannot listen on a Unix socket, with the catalog's reason."""
    if reason := model.gaps.get("unix"):
        pytest.skip(reason)


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_listens_on_a_unix_socket(
    start: Start, model: Model, path: str, stop_signal: signal.Signals
) -> None:
    unless_unix(model)
    server = start("--unix", path)
    assert server.ready_line == f"listening on unix:{path}\n".encode()
    with server.greeted() as client:
        assert client.ask(b"world") == b"Hello, world!\n"
        server.stop(stop_signal)
    assert not os.path.lexists(path), "it left its path behind"


def test_removes_its_path_though_it_is_busy(start: Start, model: Model, path: str) -> None:
    unless_unix(model)
    server = start("--unix", path, "--work", "cpu:60s")
    server.greeted().send(b"a\n")
    server.expect_read(server.clients[-1])
    server.stop()
    assert not os.path.lexists(path)


def test_removes_its_path_without_the_help_of_c(start_with: Start, model: Model, path: str) -> None:
    unless_unix(model)
    if reason := model.gaps.get("no ctypes"):
        pytest.skip(reason)
    server = start_with("import sys; sys.modules['ctypes'] = None", "--unix", path)
    assert server.greeted().ask(b"world") == b"Hello, world!\n"
    server.stop()
    assert not os.path.lexists(path)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_a_child_that_ends_leaves_the_path(
    start: Start, model: Model, path: str, by: signal.Signals
) -> None:
    unless_unix(model)
    if model.processes == "one":
        pytest.skip("it has no children")
    server = start("--unix", path)
    client = server.greeted()
    child = server.holder(client)
    assert child is not None
    os.kill(child, by)
    with suppress(ConnectionResetError):
        assert client.rest() == b""
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_removes_its_path_when_it_cannot_say_where_it_is(path: str) -> None:
    with full_disk() as stdout:
        expect_error(run_into(stdout, MODELS[0].name, "--unix", path), 1, "standard output")
    assert not os.path.lexists(path)


def test_takes_over_a_stale_path(start: Start, model: Model, path: str) -> None:
    """Of a server that was killed."""
    unless_unix(model)
    killed = start("--unix", path)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.process.wait()
    assert os.path.lexists(path)
    server = start("--unix", path)
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_refuses_a_live_path(start: Start, model: Model, path: str) -> None:
    unless_unix(model)
    server = start("--unix", path)
    with pytest.raises(AssertionError, match=os.strerror(errno.EADDRINUSE)):
        start("--unix", path)
    assert server.greeted().ask(b"world") == b"Hello, world!\n"


def test_refuses_a_path_whose_backlog_is_full(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(path)
        busy.listen(0)
        waiting.connect(path)
        expect_error(run(MODELS[0].name, "--unix", path), 1, path, os.strerror(errno.EADDRINUSE))
    assert os.path.lexists(path)


def test_one_of_two_that_find_a_stale_path_gets_it(path: str) -> None:
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        servers = [
            subprocess.Popen(
                [sys.executable, "-m", "servers", MODELS[0].name, "--unix", path],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(3)
        ]
        ready = [one for one in servers if one.stdout and one.stdout.readline()]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        for one in ready:
            one.terminate()
        assert sorted(one.wait(settings.deadline_s) for one in servers) == [0, 1, 1]
        for one in servers:
            assert one.stdout is not None
            one.stdout.close()
        assert len(ready) == 1


@pytest.mark.parametrize("kind", ["file", "folder", "link", "datagrams"])
def test_refuses_a_path_that_is_something_else(path: str, kind: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        match kind:
            case "file":
                Path(path).write_text("precious")
            case "folder":
                os.mkdir(path)
            case "link":
                os.symlink("nowhere", path)
            case "datagrams":
                datagrams.bind(path)
        before = os.lstat(path)
        expect_error(run(MODELS[0].name, "--unix", path), 1, "cannot listen on", path)
    assert os.lstat(path) == before


@pytest.mark.parametrize("name", ["nosuch/socket", "/proc/socket"])
def test_cannot_listen_on_a_path(path: str, name: str) -> None:
    path = os.path.join(os.path.dirname(path), name)
    expect_error(run(MODELS[0].name, "--unix", path), 1, "cannot listen on", path)


def test_a_path_may_have_107_bytes(start: Start, model: Model, path: str) -> None:
    unless_unix(model)
    path += "x" * (107 - len(path))
    assert start("--unix", path).greeted().ask(b"world") == b"Hello, world!\n"


@pytest.mark.parametrize("command", [MODELS[0].name, "client"])
@pytest.mark.parametrize("name", ["", "x" * 108, "ü" * 54, "two\nlines"])
def test_not_the_path_of_a_socket(path: str, command: str, name: str) -> None:
    folder = os.path.dirname(path)
    result = subprocess.run(
        [sys.executable, "-m", "servers", command, "--unix", name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )
    expect_error(result, 2, "--unix")
    assert os.listdir(folder) == []


@pytest.mark.parametrize("command", [MODELS[0].name, "client"])
@pytest.mark.parametrize("option", [["--port", "0"], ["--host", "::1"]])
def test_a_path_and_an_address_exclude_each_other(
    path: str, command: str, option: list[str]
) -> None:
    expect_error(run(command, "--unix", path, *option), 2, "--unix", option[0])
    assert not os.path.lexists(path)


def test_says_why_it_cannot_listen_on_a_unix_socket(model: Model, path: str) -> None:
    reason = model.gaps.get("unix")
    if reason is None:
        pytest.skip("it can")
    expect_error(run(model.name, "--unix", path), 2, "--unix", reason)
    assert not os.path.lexists(path)


def test_client_of_a_unix_socket(start: Start, model: Model, path: str) -> None:
    unless_unix(model)
    start("--unix", path)
    result = run("client", "--unix", path, stdin="world\nexit\n")
    assert result.stdout == "Welcome!\nHello, world!\n"
    assert (result.returncode, result.stderr) == (0, "")


def test_client_of_a_unix_socket_that_is_not_there(path: str) -> None:
    expect_error(run("client", "--unix", path), 1, "cannot talk to", path)


@pytest.mark.parametrize("kind", ["sleep", "cpu"])
def test_works_as_long_as_it_is_told(start: Start, kind: str) -> None:
    server = start("--work", f"{kind}:30ms")
    client = server.greeted()
    cpu_s, started_s = server.cpu_s(), time.monotonic()
    client.send(b"a\nb\n")
    assert client.line() == b"Hello, a!\n"
    assert client.line() == b"Hello, b!\n"
    took_s = server.cpu_s() - cpu_s if kind == "cpu" else time.monotonic() - started_s
    assert took_s >= 0.060


@pytest.mark.parametrize("kind", ["sleep", "cpu"])
def test_stops_in_the_middle_of_work(start: Start, kind: str) -> None:
    server = start("--work", f"{kind}:60s")
    client = server.greeted()
    client.send(b"a\n")
    server.expect_read(client)
    server.stop()


# Where the output goes.


@contextmanager
def closed_pipe() -> Iterator[int]:
    """`| head -n0`, once head has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextmanager
def full_disk() -> Iterator[int]:
    """A device on which nothing can be written (full(4))."""
    with open("/dev/full", "wb") as file:
        yield file.fileno()


@contextmanager
def no_output() -> Iterator[int]:
    """`>&-`"""
    yield -1


def run_into(stdout: int, *arguments: str, stdin: str = "") -> Result:
    """As run(), with another standard output; none at all if it is negative."""
    return subprocess.run(
        [sys.executable, "-m", "servers", *arguments],
        cwd=ROOT,
        input=stdin,
        stdout=None if stdout < 0 else stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=settings.deadline_s,
        preexec_fn=(lambda: os.close(1)) if stdout < 0 else None,
    )


@pytest.mark.parametrize("output", [closed_pipe, full_disk, no_output])
def test_cannot_say_where_it_listens(
    model: Model, output: Callable[[], AbstractContextManager[int]]
) -> None:
    with output() as stdout:
        expect_error(run_into(stdout, model.name), 1, "standard output")


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_cannot_list(arguments: list[str]) -> None:
    with full_disk() as stdout:
        expect_error(run_into(stdout, *arguments), 1, "standard output", os.strerror(errno.ENOSPC))
    expect_error(run_into(-1, *arguments), 1, "standard output")


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_lists_no_more_than_somebody_reads(arguments: list[str]) -> None:
    with closed_pipe() as stdout:
        result = run_into(stdout, *arguments)
    assert (result.returncode, result.stderr) == (-signal.SIGPIPE, "")


def test_cannot_serve() -> None:
    """As epoll with `ulimit -n 4`: it needs a descriptor besides the listening one."""
    result = run_serve("raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))")
    assert result.returncode == 1
    assert result.stderr == f"error: cannot serve: {os.strerror(errno.EMFILE)}\n"


def test_a_defect_keeps_its_traceback() -> None:
    """Whoever writes a server of their own wants to know where it went wrong."""
    result = run_serve("raise OSError(errno.EBADF, os.strerror(errno.EBADF))")
    assert result.returncode == 1
    assert "in serve" in result.stderr


def run_serve(body: str) -> Result:
    """A server whose `serve` does that."""
    code = (
        "import errno, os; from servers import common\n"
        f"def serve(listener, new_session): {body}\n"
        "common.main(serve)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )


# Starts its arguments with so many descriptors taken (dup2(2): they are inherited).
TAKE_DESCRIPTORS = (
    "import os, sys; count = int(sys.argv[1]); [os.dup2(0, fd) for fd in range(3, count)];"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@pytest.mark.parametrize("as_module", [False, True])
def test_listens_on_a_descriptor_that_the_model_may_not_be_able_to_wait_for(
    model: Model, as_module: bool
) -> None:
    count = 1_100
    if not allow_descriptors(count + 100):
        pytest.skip("the hard limit of descriptors is too low")
    arguments = [model.module] if as_module else ["servers", model.name]
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_DESCRIPTORS, str(count), "-m", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=settings.deadline_s)
    if model.descriptor_limit is None:
        assert first_line.startswith("listening on ")
        assert (process.returncode, stdout, stderr) == (0, "", "")
    else:
        assert (process.returncode, first_line, stdout) == (1, "", "")
        limit = model.descriptor_limit
        assert stderr == f"error: cannot serve: no free descriptor below {limit:,}\n"


# Errors of the user.


@pytest.mark.parametrize("port", ["-1", "65536", "http", "", "1.5", "٣", "9" * 5_000])
def test_not_a_port(port: str) -> None:
    expect_error(run(MODELS[0].name, f"--port={port}"), 2, "--port")


def test_no_model_takes_what_is_not_a_port(model: Model) -> None:
    expect_error(run(model.name, "--port=-1"), 2, "--port")


@pytest.mark.parametrize("text", ["0", "-1", "many", "", str(2**30 + 1)])
def test_not_a_line_limit(text: str) -> None:
    expect_error(run(MODELS[0].name, f"--max-line={text}"), 2, "--max-line")


@pytest.mark.parametrize("text", ["", "cpu", "cpu:", "cpu:1", "cpu:1h", "nap:1s", "cpu:61s", "1s"])
def test_not_work(text: str) -> None:
    expect_error(run(MODELS[0].name, f"--work={text}"), 2, "--work")


@pytest.mark.parametrize(
    "text", ["0", "-1", "nan", "inf", "1e3", "0.0009", "86400.1", "1s", "", "٣"]
)
def test_not_a_time_to_be_silent(text: str) -> None:
    expect_error(run(MODELS[0].name, f"--idle-timeout={text}"), 2, "--idle-timeout")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "NAME"),
        (["nosuch"], "nosuch"),
        (["Epoll"], "Epoll"),
        (["list", "--port", "0"], "--port"),
        (["client"], "--port"),
        (["client", "--port", "none"], "--port"),
        ([MODELS[0].name, "--nosuch"], "--nosuch"),
        ([MODELS[0].name, "--port"], "--port"),
        ([MODELS[0].name, "surplus"], "surplus"),
    ],
)
def test_wrong_command_line(arguments: list[str], word: str) -> None:
    expect_error(run(*arguments), 2, word)


def test_an_unknown_model_is_told_which_there_are() -> None:
    result = run("nosuch")
    message = result.stderr.rpartition("error: ")[2]
    for model in every():  # quoted or not: that differs between versions of argparse
        assert re.search(rf"\b{model.name}\b", message)


def test_port_taken(model: Model) -> None:
    with listening() as port:
        result = run(model.name, "--port", str(port))
    expect_error(result, 1, "127.0.0.1", str(port), os.strerror(98))


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.1",  # RFC 5737: nobody's
        "nosuch.invalid",  # RFC 2606: never exists
        "300.1.1.1",
        "two words",
        "a" * 64 + ".invalid",  # a label may have 63 (RFC 1035, 2.3.4)
        "..",
        "\udcff",
    ],
)
def test_not_our_address(host: str) -> None:
    expect_error(run(MODELS[0].name, "--host", host), 1, "cannot listen on")


def test_a_missing_library_is_named() -> None:
    code = (
        "import dataclasses, sys; from servers import __main__, catalog;"
        "one = dataclasses.replace(catalog.MODELS[0], needs=('no_such_library',));"
        "catalog.MODELS = (one,); sys.argv = ['servers', one.name]; __main__.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )
    expect_error(result, 1, MODELS[0].name, "no_such_library is not installed")


# The catalog.


def test_list_is_a_table_of_the_catalog() -> None:
    result = run("list")
    assert (result.returncode, result.stderr) == (0, "")
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["family", "server", "waits", "in", "cost", "per", "wake-up", "breaks"]
    families = list(dict.fromkeys(model.family for model in every()))
    by_family = sorted(every(), key=lambda model: families.index(model.family))
    assert len(rows) == len(every())
    for model, row in zip(by_family, rows, strict=True):
        assert row.startswith(model.family)
        for text in (
            model.name,
            model.waits,
            model.cost,
            model.missing() or model.breaks,
        ):
            assert text in row


def test_list_imports_no_framework() -> None:
    """It only asks whether a library is there."""
    code = "import sys; from servers import __main__; sys.argv = ['servers', 'list']; "
    code += "__main__.main(); print(*sys.modules, file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = {name.split(".")[0] for name in result.stderr.split()}
    needed = {need for model in every() for need in model.needs}
    assert not imported & (needed | {"asyncio", "loadgen"})


def test_list_as_json_is_the_catalog() -> None:
    result = run("list", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    rows = json.loads(result.stdout)
    assert rows == json.loads(json.dumps([dataclasses.asdict(model) for model in every()]))


def test_a_variant_is_found_by_its_name() -> None:
    for model in every():
        assert catalog.find(model.name) is model
    with pytest.raises(KeyError, match=f"nosuch.*{MODELS[0].name}"):
        catalog.find("nosuch")


@pytest.mark.parametrize("field", ["name", "colour"])
def test_each_variant_can_be_told_from_the_others(field: str) -> None:
    assert len({getattr(model, field) for model in every()}) == len(every())


def test_markers_tell_the_models_of_a_family_apart() -> None:
    assert len({(model.family, model.marker) for model in every()}) == len(every())


def test_colours_and_markers_are_those_of_charts() -> None:
    for model in every():
        assert re.fullmatch(r"#[0-9A-F]{6}", model.colour)
        assert model.marker in MarkerStyle.filled_markers, "a hollow mark means no valid trial"


LIMITS = {
    "none": ({}, 10**6, None),
    "at a time": ({"clients_at_once": 1}, 1, "serves 1 at a time"),
    "descriptors": ({"descriptor_limit": 1024}, 1019, "no descriptor beyond 1,023"),
}


@pytest.mark.parametrize(("limits", "most", "reason"), LIMITS.values(), ids=LIMITS.keys())
def test_a_variant_says_how_many_it_serves(
    limits: dict[str, int], most: int, reason: str | None
) -> None:
    model = dataclasses.replace(
        MODELS[0], **{"clients_at_once": None, "descriptor_limit": None} | limits
    )
    for clients in (0, 1, most):
        assert model.serves(clients) == clients
        assert model.why_not_all(clients) is None
    if reason is not None:
        assert model.serves(most + 1) == model.serves(5_000) == most
        assert model.why_not_all(most + 1) == reason
    assert model.leaves_waiting == ("clients_at_once" in limits)


def test_help_describes_every_command() -> None:
    result = run("--help")
    assert result.returncode == 0
    for model in every():
        assert model.name in result.stdout
    assert "client" in result.stdout


# The socket policy, the same for all.


def test_an_accepted_socket_sends_at_once() -> None:
    """Set on the listener and inherited: RFC 896 would hold small answers back."""
    with (
        common.listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as sock,
    ):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_hangs_up_even_without_memory() -> None:
    class Poor(socket.socket):
        def recv(self, *_: object) -> bytes:
            raise MemoryError

    ours, theirs = socket.socketpair()
    with theirs:
        common.hang_up(Poor(fileno=ours.detach()))
        assert theirs.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            theirs.send(b"a")


def test_the_backlog_is_as_long_as_the_kernel_allows() -> None:
    """Of a listening socket, tcpi_sacked of TCP_INFO is the length of the backlog (ss -l)."""
    with common.listen("127.0.0.1", 0) as listener:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert struct.unpack("8x6I", info)[5] == min(common.BACKLOG, most)


# The client program.


def client_of(server: Server, stdin: str) -> Result:
    return run("client", "--port", str(server.address[1]), stdin=stdin)


def test_client_prints_the_greeting_and_every_answer(server: Server) -> None:
    result = client_of(server, "world\n\nlast line without a newline")
    assert result.stdout == (
        "Welcome!\nHello, world!\nHello, !\nHello, last line without a newline!\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_client_ends_with_exit(server: Server) -> None:
    result = client_of(server, "a\nexit\nb\n")
    assert result.stdout == "Welcome!\nHello, a!\n"
    assert (result.returncode, result.stderr) == (0, "")


def test_client_says_what_the_server_has_against_a_line(server: Server) -> None:
    result = client_of(server, "x" * 65_537 + "\n")
    assert result.stdout == "Welcome!\n" + (TOO_LONG % 65_536).decode()
    assert (result.returncode, result.stderr) == (0, "")


def test_client_says_what_the_server_has_against_a_very_long_line(server: Server) -> None:
    """The server hangs up long before it has taken all of it: the rest cannot be sent."""
    result = client_of(server, "x" * 5_000_000 + "\n")
    assert result.stdout == "Welcome!\n" + (TOO_LONG % 65_536).decode()
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("said", [b"", b"Welc", b"Welcome!\n", b"Welcome!\nHel"])
@pytest.mark.parametrize("line", ["a\n", "exits\n"])
def test_client_says_that_the_server_has_gone(said: bytes, line: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def say() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(said)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65_536):
                    pass

        thread = threading.Thread(target=say)
        thread.start()
        result = run("client", "--port", str(listener.getsockname()[1]), stdin=line)
        thread.join()
    assert result.stdout.encode() == said
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: cannot talk to 127.0.0.1 port \d+: it hung up before it had answered\n",
        result.stderr,
    )


@pytest.mark.parametrize("output", [closed_pipe, full_disk, no_output])
def test_client_does_not_blame_the_server_for_its_own_output(
    server: Server, output: Callable[[], AbstractContextManager[int]]
) -> None:
    with output() as stdout:
        result = run_into(stdout, "client", "--port", str(server.address[1]), stdin="a\n")
    expect_error(result, 1, "standard output")


def test_client_without_an_input(server: Server) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "servers", "client", "--port", str(server.address[1])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
        preexec_fn=lambda: os.close(0),
    )
    expect_error(result, 1, "standard input")


def test_client_without_a_server() -> None:
    with held_port() as port:
        expect_error(run("client", "--port", str(port)), 1, "127.0.0.1", str(port), "refused")


@pytest.mark.parametrize("host", ["nosuch.invalid", "a" * 64 + ".invalid", "two words"])
def test_client_with_a_wrong_host(host: str) -> None:
    expect_error(run("client", "--port", "1", "--host", host), 1, "cannot talk to", host)


def test_client_is_stopped_by_ctrl_c(server: Server) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "servers", "client", "--port", str(server.address[1])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell without job control starts background jobs with it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"Welcome!\n"
        wait_until(lambda: process_state(process.pid) == "S", "it waits for somebody to type")
        process.send_signal(signal.SIGINT)
        assert process.wait(settings.deadline_s) == 0
        assert process.stderr.read() == b""
