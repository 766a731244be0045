"""All servers, in reading order: what each is, can do and cannot do.

The tests, the load generator and the charts know a server by its line here
and by its command line, and by nothing else.
"""

import importlib.util
from dataclasses import dataclass

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
    colour           the same in every chart; after Okabe and Ito's palette,
                     which colour-blind readers can tell apart
    marker           the same in every chart, in Matplotlib's letters; so that
                     models are told apart without colour
    clients_at_once  how many it serves at a time (None: no limit of its own)
    descriptor_limit  clients with a descriptor this high are refused (None:
                     no limit of its own)
    refuses_threads  refuses clients for which it can start no thread
    sleeps           uses no CPU while nothing happens
    needs            modules outside the standard library
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
    needs: tuple[str, ...] = ()

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
    ),
)


def find(name: str) -> Model:
    """The model of that name; KeyError says which names there are."""
    for model in MODELS:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in MODELS)
    raise KeyError(f"unknown server {name!r}; there are: {known}")
