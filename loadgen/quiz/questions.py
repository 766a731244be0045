"""The questions: data, no code.

Each asks for a ratio: a figure of `one` divided by that of `other`. `because` explains what comes
out, and `line` is the line of `file` that is the reason; a test holds that it stands there.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    one, other  contestants as `loadgen duel` takes them: a server, or one with options in one word
    load        words of the duel's command line
    figure      what is compared: answers per second, or CPU time per answer
    """

    name: str
    one: str
    other: str
    load: tuple[str, ...] = ()
    figure: Literal["answers", "cpu"] = "answers"
    scene: str
    because: str
    file: str
    line: str

    @property
    def text(self) -> str:
        """As it is asked."""
        one, other = self.one.split()[0], self.other.split()[0]
        if one == other:  # their options tell them apart
            one, other = self.one, self.other
        if self.figure == "cpu":
            asked = f"How much CPU time per answer does {one} use"
        else:
            asked = f"How many answers per second does {one} give"
        return f"{self.scene} {asked}, as a multiple of {other}?"


BUSY = "64 clients are busy."
ALONE = ("--connections", "1")

QUESTIONS = (
    Question(
        name="silent",
        one="poll",
        other="epoll",
        load=("--connections", "8", "--idle", "1000"),
        scene="Eight clients are busy beside 1,000 silent ones.",
        because="poll() hands over the whole list at every call, and the kernel asks every socket"
        " in it; epoll hears of the ready ones only.",
        file="servers/poll_server.py",
        line="ready = interest.poll(timeout_s and 1000 * timeout_s)",
    ),
    Question(
        name="busy",
        one="poll",
        other="epoll",
        scene=BUSY,
        because="when everybody is ready, everybody has to be looked at in either way: a list of 64"
        " is short.",
        file="servers/epoll_server.py",
        line="for fd, events in ready:",
    ),
    Question(
        name="sets",
        one="select",
        other="poll",
        scene=BUSY,
        because="select() takes bits where poll() takes a list, and Python makes a list of either:"
        " what differs is where they end, at descriptor 1,024.",
        file="servers/select_server.py",
        line="readable, writable, _ = select.select(reading, writing, (), timeout_s)",
    ),
    Question(
        name="threads",
        one="threaded",
        other="epoll",
        scene=BUSY,
        because="each thread waits in recv() and needs no loop around it, but 64 of them hand the"
        " GIL to each other, and on one CPU every hand-over is a switch.",
        file="servers/threaded_server.py",
        line="client.start()",
    ),
    Question(
        name="alone",
        one="blocking",
        other="epoll",
        load=ALONE,
        scene="A single client is busy.",
        because="recv() waits by itself; whoever asks epoll first makes a second system call per"
        " request.",
        file="servers/blocking_server.py",
        line="session.receive(sock.recv(common.RECEIVE_BYTES))",
    ),
    Question(
        name="spinning",
        one="nonblocking",
        other="epoll",
        scene=BUSY,
        because="with all clients busy hardly any question is in vain: the price of a busy loop is"
        " the CPU that it burns while nobody says anything.",
        file="servers/nonblocking_server.py",
        line="except BlockingIOError:",
    ),
    Question(
        name="edge",
        one="epoll_et",
        other="epoll",
        scene=BUSY,
        because="edge-triggered, it has to receive until there is nothing left: one receive in vain"
        " for every client that was ready.",
        file="servers/epoll_et_server.py",
        line="for _ in range(turns):",
    ),
    Question(
        name="comfort",
        one="selectors",
        other="epoll",
        scene=BUSY,
        because="underneath it is epoll; each event is wrapped into a tuple with a key, in Python.",
        file="servers/selectors_server.py",
        line="ready = interest.select(timeout_s)",
    ),
    Question(
        name="callbacks",
        one="asyncio",
        other="epoll",
        scene=BUSY,
        because="its loop, written in Python, makes a handle for each event and calls back through"
        " it.",
        file="servers/asyncio_server.py",
        line="def data_received(self, data: bytes) -> None:",
    ),
    Question(
        name="coroutines",
        one="asyncio_streams",
        other="asyncio",
        scene=BUSY,
        because="each line wakes a task: its coroutine is scheduled, resumed and suspended again.",
        file="servers/asyncio_streams_server.py",
        line="await write(writer, session)",
    ),
    Question(
        name="libuv",
        one="uvloop",
        other="asyncio",
        scene=BUSY,
        because="the same file with the loop in C; what is left is the protocol, in Python.",
        file="servers/uvloop_server.py",
        line="uvloop.run(listen(listener, new_session))",
    ),
    Question(
        name="rings",
        one="io_uring",
        other="epoll",
        figure="cpu",
        scene=BUSY,
        because="one system call hands over all requests and takes all results, but the rings are"
        " filled and read in Python, by ctypes.",
        file="servers/io_uring_server.py",
        line="def serve(listener: socket.socket, new_session: Callable[[], Session]) -> None:",
    ),
    Question(
        name="pool",
        one="epoll_threads",
        other="epoll",
        figure="cpu",
        scene=BUSY,
        because="every answer goes through two queues and rings a bell; that is worth it only where"
        " answers take long.",
        file="servers/epoll_threads_server.py",
        line="os.eventfd_write(bell, 1)  # the loop sleeps in another call",
    ),
    Question(
        name="sleeping",
        one="threaded --work sleep:1ms",
        other="epoll --work sleep:1ms",
        scene="64 clients are busy, and an answer takes 1 ms in which the server sleeps.",
        because="64 threads sleep at the same time; the loop sleeps for one client after another.",
        file="servers/threaded_server.py",
        line="target=converse, args=(sock, session), daemon=True",
    ),
    Question(
        name="working",
        one="threaded --work cpu:100us",
        other="epoll --work cpu:100us",
        scene="64 clients are busy, and an answer takes 100 us of CPU time.",
        because="the GIL lets one thread at a time run Python, so threads do not help where an"
        " answer is work.",
        file="servers/command_line.py",
        line="until = time.thread_time_ns() + nanoseconds",
    ),
    Question(
        name="processes",
        one="fork",
        other="threaded",
        scene="64 clients are busy, and stay.",
        because="processes share no GIL, and here not more than one CPU either: what they save is"
        " handing it over.",
        file="servers/fork_server.py",
        line="child = process.fork()",
    ),
    Question(
        name="signals",
        one="sigio",
        other="epoll",
        load=("--connections", "8", "--idle", "500"),
        scene="Eight clients are busy beside 500 silent ones.",
        because="the signal says that something has happened and not to whom: everybody is asked.",
        file="servers/sigio_server.py",
        line="signal.sigwaitinfo",
    ),
    Question(
        name="greenlets",
        one="gevent",
        other="threaded",
        scene=BUSY,
        because="a switch between greenlets is a function call and takes no GIL.",
        file="servers/gevent_server.py",
        line="gevent.sleep(0)",
    ),
    Question(
        name="nursery",
        one="trio",
        other="asyncio_streams",
        scene=BUSY,
        because="both resume a coroutine per line; trio checks for cancellation at every step.",
        file="servers/trio_server.py",
        line="await stream.send_all(data)  # waits while the kernel is full",
    ),
    Question(
        name="long_lines",
        one="epoll --receive-bytes 262144",
        other="epoll",
        scene=f"{BUSY} One epoll server receives up to 256 KiB at once, the other 64 KiB.",
        because="CPython allocates what it may receive before each call; from some size on that is"
        " memory from the kernel each time, and whether it is depends on the heap.",
        file="servers/common.py",
        line="RECEIVE_BYTES = 65_536",
    ),
)


def find(name: str) -> Question:
    """The question of that name. Raises KeyError."""
    for question in QUESTIONS:
        if question.name == name:
            return question
    raise KeyError(name)
