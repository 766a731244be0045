"""All servers, in reading order: what each is, can do and cannot do.

The tests, the load generator and the charts know a server by its line here
and by its command line, and by nothing else.
"""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

# Descriptors that a server needs before its first client has one: standard
# input, output and error, the listening socket, and the system's libffi, which
# keeps itself open where ctypes uses it (its src/tramp.c); not every Python's
# does, and then there is room for one client more.
OWN_DESCRIPTORS = 3 + 1 + 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """One I/O model.

    name             what it is called on the command line
    family           the group it belongs to in tables
    idea             the model in one sentence
    waits            the call in which it sleeps
    cost             system calls or work per wake-up
    breaks           what gives first
    colour           the same in every chart: a hue for each family, and in it
                     shades that differ in lightness, for colour-blind readers;
                     the six of the tutorials have Okabe and Ito's palette
    marker           the same in every chart, in Matplotlib's letters; so that
                     the models of a family are told apart without colour
    clients_at_once  how many it serves at a time (None: no limit of its own)
    descriptor_limit  clients with a descriptor this high are refused (None:
                     no limit of its own)
    refuses_threads  refuses clients for which it can start no thread
    sleeps           uses no CPU while nothing happens
    threads          how many each of its processes has without a client
    processes        how many it is
    parameters       options that it takes besides those of all
    needs            modules outside the standard library
    rings            what it sends and receives is not in its system calls
    asks             its module says whether the kernel has what it needs
    standing         one of the six that tutorials show ("classic"), or the one
                     of its family that a run takes which names no servers
                     ("usual"); the others have to be named
    gaps             what it leaves undone, by its nature or by that of its
                     framework, and why
    """

    name: str
    family: str
    idea: str
    waits: str
    cost: str
    breaks: str
    colour: str
    marker: str
    clients_at_once: int | None = None
    descriptor_limit: int | None = None
    refuses_threads: bool = False
    sleeps: bool = True
    threads: int = 1
    processes: Literal["one", "one per client", "one per worker"] = "one"
    parameters: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    rings: bool = False
    asks: bool = False
    standing: Literal["classic", "usual", "named"] = "named"
    gaps: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module with this model's `serve`."""
        return f"servers.{self.name}_server"

    def serves(self, clients: int) -> int:
        """How many of so many clients it serves at the same time, at least.

        They connect one after the other, and stay: who came first is served.
        What the machine cannot do (threads, `ulimit -n`) is not counted.
        """
        most = clients
        if self.clients_at_once is not None:
            most = min(most, self.clients_at_once)
        if self.descriptor_limit is not None:
            most = min(most, self.descriptor_limit - OWN_DESCRIPTORS)
        return most

    def why_not_all(self, clients: int) -> str | None:
        """Why it serves fewer at the same time, in words; None if it does."""
        served = self.serves(clients)
        if served == clients:
            return None
        if served == self.clients_at_once:
            return f"serves {served:,} at a time"
        assert self.descriptor_limit is not None
        return f"no descriptor beyond {self.descriptor_limit - 1:,}"

    @property
    def connectionless(self) -> bool:
        """Is it spoken to by datagrams?"""
        return self in DATAGRAMS

    @property
    def leaves_waiting(self) -> bool:
        """Do the clients that it does not serve wait in the backlog?

        If not, they are refused in words.
        """
        return self.clients_at_once is not None

    def missing(self) -> str | None:
        """Why it cannot run here, in words; None if it can."""
        for library in self.needs:
            if importlib.util.find_spec(library) is None:
                return f"{library} is not installed"
        if self.asks:
            try:
                module = importlib.import_module(self.module)
            except ImportError as error:  # a Python without ctypes
                return f"{error.name} is not installed"
            reason: str | None = module.why_not()
            return reason
        return None


MODELS = (
    Model(
        name="blocking",
        family="one at a time",
        idea="Serve one client until it leaves, then take the next.",
        waits="accept(), recv(), send()",
        cost="O(1)",
        breaks="with the second client",
        colour="#000000",
        marker="o",
        standing="classic",
        clients_at_once=1,
    ),
    Model(
        name="threaded",
        family="threads",
        idea="Give every client a thread, and let each of them block.",
        waits="recv(), send(), in every thread",
        cost="O(1), a thread per client",
        breaks="with a thousand busy clients",
        colour="#E69F00",
        marker="s",
        standing="classic",
        refuses_threads=True,
    ),
    Model(
        name="nonblocking",
        family="busy loop",
        idea="Ask every socket in turn, again and again, and never wait.",
        waits="nowhere",
        cost="O(clients) system calls",
        breaks="burns a core while idle",
        colour="#CC79A7",
        marker="D",
        standing="classic",
        sleeps=False,
    ),
    Model(
        name="select",
        family="readiness",
        idea="Ask about all sockets at once: which can be read or written?",
        waits="select()",
        cost="O(highest descriptor)",
        breaks="at descriptor 1,024",
        colour="#56B4E9",
        marker="^",
        standing="classic",
        descriptor_limit=1024,
    ),
    Model(
        name="poll",
        family="readiness",
        idea="Hand the kernel an array of all sockets, get the events back.",
        waits="poll()",
        cost="O(clients)",
        breaks="slower with every idle client",
        colour="#009E73",
        marker="v",
        standing="classic",
    ),
    Model(
        name="epoll",
        family="readiness",
        idea="Let the kernel keep the list, and hear of the ready ones only.",
        waits="epoll_wait()",
        cost="O(ready)",
        breaks="when descriptors run out",
        colour="#D55E00",
        marker="P",
        standing="classic",
    ),
    Model(
        name="epoll_et",
        family="readiness",
        idea="Hear of a socket only when something new happens; drain it.",
        waits="epoll_wait()",
        cost="O(ready), and one EAGAIN for each",
        breaks="a chatty client, without a cap",
        parameters=("turns",),
        colour="#7F2A00",
        marker="X",
    ),
    Model(
        name="selectors",
        family="readiness",
        idea="Let the standard library choose among select, poll and epoll.",
        waits="epoll_wait()",
        cost="O(ready), and a tuple for each",
        breaks="as whatever it has found",
        colour="#F0A080",
        marker="d",
    ),
    Model(
        name="sigio",
        family="signals",
        idea="Sleep until a signal says that something new has happened.",
        waits="sigwaitinfo()",
        cost="O(clients) system calls",
        breaks="slower with every client",
        colour="#00565B",
        marker="v",
        standing="usual",
    ),
    Model(
        name="threadpool",
        family="threads",
        idea="Let a fixed number of threads serve a client each at a time.",
        waits="accept(), recv(), send(), in every thread",
        cost="O(1)",
        breaks="with client 17, for 16 threads",
        colour="#A86A00",
        marker="<",
        clients_at_once=16,
        parameters=("workers",),
        threads=16,
        gaps={
            "no descriptor": "every thread that waits holds one in reserve",
            "too few threads": "has all of them before the first client",
        },
    ),
    Model(
        name="socketserver",
        family="threads",
        idea="Let the standard library's framework start a thread per client.",
        waits="recv(), send(), in every thread",
        cost="O(1), a thread per client",
        breaks="with a thousand busy clients",
        colour="#F0C75E",
        marker=">",
        refuses_threads=True,
    ),
    Model(
        name="epoll_threads",
        family="threads",
        idea="Let a pool of threads find the answers, so that none blocks.",
        waits="epoll_wait(), and every thread",
        cost="O(ready), two queues per answer",
        breaks="16 slow answers at a time",
        colour="#5E3A00",
        marker="D",
        parameters=("workers",),
        threads=17,
        gaps={
            "many answers": "each takes its way through the pool",
            "too few threads": "has all of them before the first client",
        },
    ),
    Model(
        name="fork",
        family="processes",
        idea="Give every client a process, and let each of them block.",
        waits="recv(), send(), in every process",
        cost="O(1), a process per client",
        breaks="with clients that come and go",
        colour="#C6CC5A",
        marker="o",
        processes="one per client",
        gaps={"fewer descriptors": "a client takes one in its own process"},
    ),
    Model(
        name="prefork",
        family="processes",
        idea="Let a fixed number of processes share a listening socket.",
        waits="epoll_wait(), in every process",
        cost="O(ready), a herd per newcomer",
        breaks="one worker may get most clients",
        colour="#4A5500",
        marker="*",
        standing="usual",
        parameters=("workers",),
        processes="one per worker",
        gaps={
            "room": "any worker may accept, until none has room",
        },
    ),
    Model(
        name="reuseport",
        family="processes",
        idea="Let a fixed number of processes have a listener each.",
        waits="epoll_wait(), in every process",
        cost="O(ready)",
        breaks="few clients are spread badly",
        colour="#8C9622",
        marker="s",
        parameters=("workers",),
        processes="one per worker",
        gaps={
            "unix": "no two Unix sockets have the same name",
            "room": "whose worker has no room waits, whoever else has",
            "room of others": "whose worker has none waits for that worker",
        },
    ),
    Model(
        name="asyncio",
        family="frameworks",
        idea="Let an event loop call back when a client has said something.",
        waits="epoll_wait(), in the loop",
        cost="O(ready), three calls for each",
        breaks="keeps trying out of descriptors",
        colour="#4B2A9B",
        marker="^",
        standing="usual",
        gaps={
            "full list": "its loop forgets whom it cannot watch",
            "idle while full": "its loop tries 4,096 times, each second",
        },
    ),
    Model(
        name="asyncio_buffered",
        family="frameworks",
        idea="Let the event loop receive into a buffer of ours.",
        waits="epoll_wait(), in the loop",
        cost="O(ready), four calls for each",
        breaks="one slow callback holds up all",
        colour="#7F69D0",
        marker="s",
        gaps={
            "full list": "its loop forgets whom it cannot watch",
            "idle while full": "its loop tries 4,096 times, each second",
        },
    ),
    Model(
        name="asyncio_streams",
        family="frameworks",
        idea="Give every client a coroutine that reads as if it blocked.",
        waits="epoll_wait(), in the loop",
        cost="O(ready), a task's turn for each",
        breaks="memory, without drain()",
        colour="#D0C4F5",
        marker="D",
        gaps={
            "full list": "its loop forgets whom it cannot watch",
            "idle while full": "its loop tries 4,096 times, each second",
        },
    ),
    Model(
        name="uvloop",
        family="frameworks",
        idea="Let an event loop written in C call back, with libuv below.",
        waits="epoll_wait(), in libuv",
        cost="O(ready), one call for each",
        breaks="without descriptors it hangs up",
        colour="#23083F",
        marker="o",
        needs=("uvloop",),
        gaps={
            "failed greeting": "it sends by itself",
            "full accept": "libuv lets newcomers in, and out at once",
            "no descriptor": "libuv lets newcomers in, and out at once",
            "fewer descriptors": "libuv lets newcomers in, and out at once",
            "room": "libuv lets newcomers in, and out at once",
        },
    ),
    Model(
        name="gevent",
        family="frameworks",
        idea="Give every client a greenlet, switched wherever it waits.",
        waits="epoll_wait(), in libev",
        cost="O(ready), two switches for each",
        breaks="a call that is not patched",
        colour="#CF86E5",
        marker="v",
        needs=("gevent",),
        gaps={"failed greeting": "it sends by itself"},
    ),
    Model(
        name="trio",
        family="frameworks",
        idea="Give every client a coroutine, in a nursery.",
        waits="epoll_wait(), in the loop",
        cost="O(ready), a task's turn for each",
        breaks="one error ends all",
        colour="#7A3DA8",
        marker="P",
        needs=("trio",),
        gaps={
            "full list": "a client that it cannot watch is let go",
            "no ctypes": "it cannot be imported",
        },
    ),
    Model(
        name="io_uring",
        family="completion",
        idea="Ask the kernel to receive and send, and hear when it is done.",
        waits="io_uring_enter()",
        cost="O(completed), one call for all",
        breaks="where the kernel has none",
        colour="#0072B2",
        marker="X",
        standing="usual",
        rings=True,
        asks=True,
        gaps={
            "failed greeting": "sends are completed later, by the kernel",
            "high water": "a receive goes on for 32 buffers, 64 KiB each",
            "failing calls": "the kernel makes them, when it likes",
            "no descriptor": "the limit counts as it was when asked to accept",
            "fewer descriptors": "the limit counts as it was then, too",
            "no ctypes": "there is no other way to the kernel's rings",
            "urgent data": "what comes behind it may wait until more comes",
        },
    ),
)

# Servers without connections, which are no stream servers: what is measured
# and tested of those needs a connection.
DATAGRAMS = (
    Model(
        name="udp",
        family="datagrams",
        idea="Receive a datagram, answer its sender, and forget both.",
        waits="recvfrom()",
        cost="O(1), two system calls per datagram",
        breaks="drops what its buffer cannot hold",
        colour="#4D4D4D",
        marker="o",
    ),
    Model(
        name="udp_batched",
        family="datagrams",
        idea="Receive many datagrams at once, and send all answers at once.",
        waits="recvmmsg()",
        cost="O(received), two calls for up to 64",
        breaks="as udp, at a higher rate",
        colour="#A6A6A6",
        marker="s",
        asks=True,
    ),
)


def every() -> tuple[Model, ...]:
    """All servers that there are, with and without connections."""
    return MODELS + DATAGRAMS


def usual() -> list[Model]:
    """The servers of a run that names none: one of every family at least."""
    return [model for model in MODELS if model.standing != "named"]


def find(name: str) -> Model:
    """The model of that name; KeyError says which names there are."""
    for model in every():
        if model.name == name:
            return model
    raise KeyError(unknown("server", name, [each.name for each in every()]))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """That there is nothing of that name, what may have been meant, and what
    there is: in one line, however long the name is."""
    names = list(known)
    shown = name if len(name) <= 60 else f"{name[:57]}..."
    there_are = ", ".join(names)
    return (
        f"unknown {what} {shown!r}{guess(name, names)}; there are: {there_are}"
    )


def guess(name: str, known: Iterable[str]) -> str:
    """Which of these names may have been meant, in brackets; "" if none."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
