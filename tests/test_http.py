"""HTTP from outside, by every server in the catalog: no file of theirs knows of it."""

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness import (
    ROOT,
    TINY_BUFFER_BYTES,
    Client,
    Server,
    expect_said,
    settings,
    stretch,
    wait_until,
)

from servers.catalog import Model

Start = Callable[..., Server]

FILE_BYTES = 8 * 2**20

# More than a server may keep of a file, and more than it takes to notice that it does.
SPARSE_BYTES = 256 * 2**20
MEMORY_BYTES = 16_000_000

DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_S = 60.0  # a first start, on a busy machine


def page(name: bytes, connection: bytes = b"") -> bytes:
    """The answer with the page, but for its Date."""
    text = b"<!doctype html>\n<title>Hello</title>\n<p>Hello, %b!\n" % name
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"
        b"%b\r\n%b" % (len(text), connection, text)
    )


def request(target: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: lab", *fields, b"", b""])


def without_dates(said: bytes) -> bytes:
    return DATE.sub(b"", said)


def read_answer(client: Client) -> tuple[bytes, bytes]:
    """(head, body) of the next answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = client.line()
        assert line.endswith(b"\n"), f"it hung up after {head + line!r}"
        head += line
    length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
    assert length is not None
    return head, client.exactly(int(length[1]))


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(FILE_BYTES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Path:
    """A small site, and large files."""
    path = tmp_path_factory.mktemp("site") / "www"
    path.mkdir()
    (path / "large").write_bytes(content)
    with (path / "sparse").open("wb") as file:
        file.truncate(SPARSE_BYTES)
    (path / "style.css").write_text("p { color: rgb(1, 2, 3) }\n")
    (path / "script.js").write_text(
        "addEventListener('load', () => {"
        " document.title = getComputedStyle(document.querySelector('p')).color })\n"
    )
    (path / "index.html").write_text(
        '<!doctype html>\n<title>Hello</title>\n<link rel="stylesheet" href="style.css">\n'
        '<script src="script.js"></script>\n<p>Hello\n'
    )
    (path / "out").symlink_to("../secret")
    (path.parent / "secret").write_text("secret")
    return path


@pytest.fixture
def serving(start: Start, folder: Path) -> Server:
    """The server under test, with the files."""
    return start("--protocol", "http", "--root", str(folder))


@pytest.fixture
def large_answers(model: Model) -> None:
    """For tests in which an answer is longer than what a session hands out at once."""
    if reason := model.gaps.get("large answers"):
        pytest.skip(reason)


def open_files(server: Server, below: Path) -> list[str]:
    """Those that the server has open, each as often as it has."""
    found = []
    for pid in server.pids():
        for entry in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                where = os.readlink(entry)
            except OSError:
                continue  # it has just been closed
            if where.startswith(f"{below}/"):
                found.append(where)
    return found


# The page.


def test_answers_requests_one_after_the_other(start: Start) -> None:
    client = start("--protocol", "http").connect()
    for number in range(100):
        client.send(request(b"/?%d" % number))
        head, body = read_answer(client)
        assert without_dates(head) + body == page(b"%d" % number)
        assert DATE.search(head)


def test_answers_pipelined_requests_in_order(start: Start) -> None:
    names = [b"number %d" % number for number in range(1_000)]
    stream = b"".join(request(name.replace(b"number ", b"/?number+")) for name in names)
    said = start("--protocol", "http").connect().converse(stream)
    expected = b"".join(page(name.replace(b" ", b"+")) for name in names)
    expect_said(without_dates(said), expected)


@pytest.mark.usefixtures("large_answers")
def test_answers_more_than_a_client_takes_at_once(start: Start) -> None:
    """Ten times the high water, so that requests wait in the server."""
    stream = b"".join(request(b"/?%05d" % number) for number in range(20_000))
    client = start("--protocol", "http").connect(receive_buffer_bytes=TINY_BUFFER_BYTES)
    accepted = client.pour(stream)
    said = client.converse(stream[accepted:])
    expect_said(without_dates(said), b"".join(page(b"%05d" % n) for n in range(20_000)))


def test_says_no_more_than_the_head_to_head(start: Start) -> None:
    client = start("--protocol", "http").connect()
    client.send(request(b"/?a").replace(b"GET", b"HEAD") + request(b"/?b"))
    client.half_close()
    head, _, _ = page(b"a").partition(b"<!")
    assert without_dates(client.rest()) == head + page(b"b")


def test_a_body_is_no_request(start: Start) -> None:
    client = start("--protocol", "http").connect()
    body = request(b"/?body")
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    client.send(request(b"/?a", b"Content-Length: %d" % len(body)) + body + request(b"/?b"))
    client.send(request(b"/?c", b"Transfer-Encoding: chunked") + framed + request(b"/?d"))
    client.half_close()
    assert without_dates(client.rest()) == b"".join(map(page, [b"a", b"b", b"c", b"d"]))


def test_hangs_up_when_it_is_asked_to(start: Start) -> None:
    client = start("--protocol", "http").connect()
    client.send(request(b"/?a") + request(b"/?b", b"Connection: close") + request(b"/?c"))
    said = without_dates(client.rest())
    assert said == page(b"a") + page(b"b", b"Connection: close\r\n")


def test_keeps_a_connection_until_the_client_leaves(start: Start) -> None:
    client = start("--protocol", "http").connect()
    client.send(request(b"/?a"))
    read_answer(client)
    assert client.is_silent()
    client.half_close()
    assert client.rest() == b""


def test_who_has_left_is_not_waited_for(start: Start, model: Model) -> None:
    """Not every loop tells the session twice that the client has ended."""
    server = start("--protocol", "http", "--idle-timeout", "600")
    client = server.connect()
    client.send(request(b"/?a"))
    read_answer(client)
    if model.sleeps:
        wait_until(lambda: server.thread_states() == {"S"}, "all that it needs is there")
    served = server.footprint()[0]
    client.close()
    wait_until(lambda: server.footprint()[0] < served, "the connection is closed")


def test_a_refusal_arrives_behind_what_is_owed(start: Start) -> None:
    client = start("--protocol", "http").connect()
    client.send(request(b"/?a") + request(b"/?b", b"Content-Length: 1", b"Content-Length: 2"))
    said = without_dates(client.rest())
    assert said.startswith(page(b"a") + b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close\r\n" in said


def test_takes_a_request_in_pieces(start: Start) -> None:
    server = start("--protocol", "http")
    client = server.connect()
    stream = request(b"/?a", b"Transfer-Encoding: chunked") + b"3\r\nxyz\r\n0\r\n\r\n"
    for at in range(0, len(stream), 3):
        client.send(stream[at : at + 3])
        server.expect_read(client)
    head, body = read_answer(client)
    assert without_dates(head) + body == page(b"a")


@pytest.mark.parametrize("kind", ["sleep", "cpu"])
def test_works_for_every_request(start: Start, kind: str) -> None:
    server = start("--protocol", "http", "--work", f"{kind}:30ms")
    client = server.connect()
    cpu_s, started_s = server.cpu_s(), time.monotonic()
    client.send(request(b"/?a") + request(b"/?b"))
    assert read_answer(client)[1].endswith(b"Hello, a!\n")
    assert read_answer(client)[1].endswith(b"Hello, b!\n")
    took_s = server.cpu_s() - cpu_s if kind == "cpu" else time.monotonic() - started_s
    assert took_s >= 0.060


# Files.


def test_serves_files_and_nothing_outside(serving: Server) -> None:
    client = serving.connect()
    client.send(request(b"/style.css"))
    head, body = read_answer(client)
    assert b"\r\nContent-Type: text/css; charset=utf-8\r\n" in head
    assert body == b"p { color: rgb(1, 2, 3) }\n"
    for target in (b"/out", b"/../secret", b"/%2e%2e/secret", b"/..%2fsecret"):
        client.send(request(target))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 404 "), target
        assert b"secret" not in body
    client.send(request(b"/large", b"Range: bytes=0-9"))
    head, body = read_answer(client)
    assert head.startswith(b"HTTP/1.1 206 ")
    assert len(body) == 10


@pytest.mark.usefixtures("large_answers")
def test_a_large_file_arrives_byte_by_byte(serving: Server, content: bytes) -> None:
    client = serving.connect()
    client.send(request(b"/large"))
    expect_said(read_answer(client)[1], content)
    client.send(request(b"/large"))
    client.half_close()
    expect_said(client.rest().partition(b"\r\n\r\n")[2], content)


@pytest.mark.usefixtures("large_answers")
def test_a_large_file_arrives_at_a_slow_reader(
    serving: Server, content: bytes, folder: Path
) -> None:
    client = serving.connect(receive_buffer_bytes=TINY_BUFFER_BYTES)
    client.send(request(b"/large") + request(b"/style.css", b"Connection: close"))
    assert client.sock.recv(1)
    stretch()
    body = client.rest().partition(b"\r\n\r\n")[2]
    expect_said(body[: len(content)], content)
    assert body.endswith(b"p { color: rgb(1, 2, 3) }\n")
    wait_until(lambda: not open_files(serving, folder), "the file is closed")


@pytest.mark.usefixtures("large_answers")
def test_a_large_file_is_not_read_into_memory(serving: Server, model: Model, folder: Path) -> None:
    before_bytes = serving.resident_bytes()
    client = serving.connect(receive_buffer_bytes=TINY_BUFFER_BYTES)
    client.send(request(b"/sparse") * 100)
    assert client.sock.recv(1)
    stretch()
    assert serving.resident_bytes() - before_bytes < MEMORY_BYTES
    if not model.why_not_all(2):
        other = serving.connect()
        other.send(request(b"/style.css"))
        assert read_answer(other)[1].startswith(b"p {")
    assert serving.resident_bytes() - before_bytes < MEMORY_BYTES


@pytest.mark.usefixtures("large_answers")
@pytest.mark.parametrize("leave", [Client.close, Client.reset], ids=["close", "reset"])
def test_who_leaves_in_the_middle_of_a_file_leaves_nothing_behind(
    serving: Server, folder: Path, leave: Callable[[Client], None]
) -> None:
    for _ in range(3):
        client = serving.connect(receive_buffer_bytes=TINY_BUFFER_BYTES)
        client.send(request(b"/sparse"))
        assert client.sock.recv(1)
        wait_until(lambda: open_files(serving, folder), "the file is open")
        leave(client)
        wait_until(lambda: not open_files(serving, folder), "the file is closed")


@pytest.mark.usefixtures("large_answers")
def test_a_file_that_shrinks_ends_the_connection(start: Start, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * FILE_BYTES)
    client = start("--protocol", "http", "--root", str(tmp_path)).connect(TINY_BUFFER_BYTES)
    client.send(request(b"/large"))
    assert client.sock.recv(1)
    os.truncate(tmp_path / "large", 1_000)
    assert len(client.rest()) < FILE_BYTES


def test_without_descriptors_it_says_so(start: Start, folder: Path) -> None:
    """The connection lives, and so does the server."""
    server = start("--protocol", "http", "--root", str(folder))
    client = server.connect()
    client.send(request(b"/style.css"))
    read_answer(client)
    workers = len(server.pids()) > 1  # which may still be starting
    wait_until(lambda: not workers or server.thread_states() == {"S"}, "each of them waits")
    server.allow_no_more_descriptors()
    client.send(request(b"/style.css"))
    assert read_answer(client)[0].startswith(b"HTTP/1.1 503 ")
    for pid in server.pids():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
    client.send(request(b"/style.css"))
    assert read_answer(client)[1].startswith(b"p {")


# Clients that others have written.


def url(server: Server, path: str = "/") -> str:
    return f"http://{server.address[0]}:{server.address[1]}{path}"


def test_curl_loads_the_page(serving: Server, tmp_path: Path, model: Model, content: bytes) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    large = [] if "large answers" in model.gaps else [url(serving, "/large")]
    urls = [url(serving, "/style.css"), *large, url(serving)]
    outputs = [argument for n in range(len(urls)) for argument in ("-o", str(tmp_path / str(n)))]
    result = subprocess.run(
        [curl, "-sS", "--fail", "-w", "%{num_connects} ", *outputs, *urls],
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["1"] + ["0"] * (len(urls) - 1), "it did not keep alive"
    assert (tmp_path / "0").read_bytes() == b"p { color: rgb(1, 2, 3) }\n"
    assert (tmp_path / str(len(urls) - 1)).read_bytes().startswith(b"<!doctype html>")
    if large:
        expect_said((tmp_path / "1").read_bytes(), content)


@pytest.fixture(scope="session")
def browser_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, because the first start with it takes long."""
    return tmp_path_factory.mktemp("profile")


def test_a_browser_loads_the_page(
    start: Start, model: Model, folder: Path, browser_profile: Path
) -> None:
    """With a style sheet and a script that reads from it, where clients are served side by side:
    a browser keeps several connections, and who serves one at a time waits for the wrong one."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser is installed: {', '.join(BROWSERS)}")
    alone = model.why_not_all(2)
    files = [] if alone else ["--root", str(folder)]
    server = start("--protocol", "http", *files)
    result = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--disable-dev-shm-usage", f"--user-data-dir={browser_profile}"),
            url(server, "/?browser"),
        ],
        capture_output=True,
        text=True,
        timeout=BROWSER_S,
    )
    assert result.returncode == 0, result.stderr
    assert ("<p>Hello, browser!" if alone else "<title>rgb(1, 2, 3)</title>") in result.stdout


# The command line.


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m servers ...`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "servers", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=settings.deadline_s,
    )


def expect_error(
    result: subprocess.CompletedProcess[str], status: int, *words: str, output: str = ""
) -> None:
    """One clear line, the right exit status, and no traceback."""
    assert result.returncode == status, result.stderr
    assert result.stdout == output
    *usage, line = result.stderr.splitlines()
    assert not usage or (status == 2 and usage[0].startswith("usage: "))
    assert "error: " in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--root", "."], ["--root", "--protocol http"]),
        (["--protocol", "hello", "--root", "."], ["--root", "--protocol http"]),
        (["--protocol", "http", "--root", "nosuch"], ["--root", "nosuch", "No such file"]),
        (["--protocol", "http", "--root", "README.md"], ["README.md", "Not a directory"]),
        (["--protocol", "http", "--root", ""], ["--root"]),
        (["--protocol", "gopher"], ["--protocol", "gopher"]),
    ],
)
@pytest.mark.parametrize("name", ["epoll", "asyncio"])
def test_wrong_options(name: str, options: list[str], words: list[str]) -> None:
    expect_error(run(name, *options), 2, *words)
    assert not (ROOT / "nosuch").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--http", "https://127.0.0.1/"], ["https", "TLS"]),
        (["--http", "ftp://127.0.0.1/"], ["ftp"]),
        (["--http", "127.0.0.1:80"], ["127.0.0.1:80"]),
        (["--http", "http://"], ["http://"]),
        (["--http", "http://a b/"], ["http://a b/"]),
        (["--http", "http://a/b c"], ["http://a/b c"]),
        (["--http", "http://a/\r\nX: y"], ["http://a/"]),
        (["--http", "http://u@a/"], ["http://u@a/"]),
        (["--http", "http://a:0/"], ["port 0"]),
        (["--http", "http://a:65536/"], ["65536"]),
        (["--http", "http://a:" + "9" * 5_000], ["port"]),
        (["--http", "http://[::1"], ["http://[::1"]),
        (["--http", "http://::1/"], ["http://::1/"]),
        (["--http", "http://a/", "--port", "1"], ["--port"]),
        (["--http", "http://a/", "-o", "nosuch/file"], ["nosuch/file"]),
        (["--http", "http://a/", "-o", "."], ["'.'"]),
        (["--port", "1", "-o", "file"], ["--output", "--http"]),
        ([], ["--port", "--http"]),
    ],
)
def test_wrong_options_of_the_client(options: list[str], words: list[str]) -> None:
    expect_error(run("client", *options), 2, *words)
    assert not (ROOT / "file").exists()


# The client program.


def test_client_gets_a_page(serving: Server, tmp_path: Path) -> None:
    result = run("client", "--http", url(serving, "/style.css#p"))
    assert (result.returncode, result.stderr) == (0, "")
    head, _, body = result.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\nContent-Type: text/css; charset=utf-8\n")
    assert body == "p { color: rgb(1, 2, 3) }\n"


@pytest.mark.usefixtures("large_answers")
def test_client_saves_a_page(serving: Server, tmp_path: Path, content: bytes) -> None:
    result = run("client", "--http", url(serving, "/large"), "-o", str(tmp_path / "page"))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("HTTP/1.1 200 OK\n")
    assert result.stdout.endswith("\n\n")
    expect_said((tmp_path / "page").read_bytes(), content)


class Says:
    """A server that says always the same, in pieces, and hangs up."""

    def __init__(self, said: bytes, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family)
        self.said = said
        self.heard = b""
        self.thread = threading.Thread(target=self.answer, daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def answer(self) -> None:
        sock, _ = self.listener.accept()
        with sock:
            while not self.heard.endswith(b"\r\n\r\n"):
                self.heard += sock.recv(1_000)
            for at in range(0, len(self.said), 7):
                sock.sendall(self.said[at : at + 7])

    def close(self) -> None:
        self.thread.join(settings.deadline_s)
        self.listener.close()


@pytest.fixture
def says() -> Iterator[Callable[..., Says]]:
    running: list[Says] = []

    def start_one(*arguments: object) -> Says:
        running.append(Says(*arguments))  # type: ignore[arg-type]
        return running[-1]

    yield start_one
    for one in running:
        one.close()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = OK + b"Transfer-Encoding: Chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", "hello"),
        (OK + b"Content-Length: 5\r\n\r\nhello and more", "hello"),
        (OK + b"content-length:0\r\n\r\n", ""),
        (OK + b"\r\nhello, until the end", "hello, until the end"),
        (b"HTTP/1.0 200\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "no"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ""),
        (CHUNKS + b"5\r\nhello\r\n00b;a=b\r\n and so on\n\r\n0\r\n\r\n", "hello and so on\n"),
        (CHUNKS + b"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", "x"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", "x"),
    ],
)
def test_client_finds_the_end_of_a_page(
    says: Callable[..., Says], tmp_path: Path, said: bytes, body: str
) -> None:
    for output in ([], ["-o", str(tmp_path / "page")]):
        one = says(said)
        result = run("client", "--http", f"http://127.0.0.1:{one.port}/a?b", *output)
        assert (result.returncode, result.stderr) == (0, "")
        head, _, printed = result.stdout.partition("\n\n")
        assert head.startswith("HTTP/1.")
        assert (Path(output[1]).read_text() if output else printed) == body
        assert one.heard == (
            b"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % one.port
        )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", ["hung up"]),
        (b"Welcome!\n", ["no HTTP/1.1"]),
        (OK, ["hung up"]),
        (OK + b"Content-Length: x\r\n\r\n", ["length"]),
        (OK + b"A: b\r\n" * 12_000, ["headers"]),
    ],
)
def test_client_says_what_is_no_answer(
    says: Callable[..., Says], tmp_path: Path, said: bytes, words: list[str]
) -> None:
    one = says(said)
    output = tmp_path / "page"
    result = run("client", "--http", f"http://127.0.0.1:{one.port}", "-o", str(output))
    expect_error(result, 1, "cannot get a page", str(one.port), *words)
    assert not output.exists()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (OK + b"Content-Length: 6\r\n\r\nhello", ["1 bytes before the end"]),
        (CHUNKS + b"5\r\nhello\r\n", ["before the end"]),
        (
            CHUNKS + b"6\r\nhello\r\n0\r\n\r\n",
            ["longer than it said"],
        ),
        (CHUNKS + b"hello", ["without a size"]),
    ],
)
def test_client_says_that_a_page_is_not_all(
    says: Callable[..., Says], said: bytes, words: list[str]
) -> None:
    one = says(said)
    result = run("client", "--http", f"http://127.0.0.1:{one.port}")
    expect_error(result, 1, *words, output=result.stdout)


def test_client_knows_ipv6(says: Callable[..., Says]) -> None:
    try:
        one = says(OK + b"\r\nhello", "::1")
    except OSError:
        pytest.skip("this machine has no ::1")
    result = run("client", "--http", f"http://[::1]:{one.port}")
    assert result.stdout.endswith("\n\nhello")
    assert b"\r\nHost: [::1]:%d\r\n" % one.port in one.heard


def test_client_without_a_server() -> None:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))  # not listening
        where = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        expect_error(run("client", "--http", where), 1, "refused")
    expect_error(run("client", "--http", "http://nosuch.invalid/"), 1, "nosuch.invalid")
    expect_error(run("client", "--http", "http://" + "a" * 100 + "/"), 1, "cannot get a page")


def test_client_says_that_the_disk_is_full(says: Callable[..., Says]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    one = says(OK + b"Content-Length: 5\r\n\r\nhello")
    result = run("client", "--http", f"http://127.0.0.1:{one.port}/", "-o", "/dev/full")
    expect_error(result, 1, "/dev/full", "No space left", output=result.stdout)
