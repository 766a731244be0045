"""All servers, in reading order: what each is, can do and cannot do.

The tests, the load generator and the charts know a server by its line here
and by its command line, and by nothing else.
"""

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One I/O model.

    name             what it is called on the command line
    family           the group it belongs to in tables
    idea             the model in one sentence
    waits            the call in which it sleeps
    cost             system calls or work per wake-up
    breaks           what gives first
    colour           the same in every chart; after Okabe and Ito's palette,
                     which colour-blind readers can tell apart
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
        """The module with this variant's `serve`."""
        return f"servers.{self.name}_server"

    def serves(self, clients: int) -> int:
        if self.clients_at_once is not None:
            return min(clients, self.clients_at_once)
        return clients if self.descriptor_limit is None else min(clients, self.descriptor_limit - 4)

    def why_not_all(self, clients: int) -> str | None:
        if self.serves(clients) == clients:
            return None
        if self.clients_at_once is not None:
            return f"serves {self.clients_at_once} at a time"
        return "no descriptor beyond 1,023"

    @property
    def leaves_waiting(self) -> bool:
        return self.clients_at_once is not None

    def missing(self) -> str | None:
        """Why it cannot run here, in words; None if it can."""
        for library in self.needs:
            if importlib.util.find_spec(library) is None:
                return f"{library} is not installed"
        return None


VARIANTS = (
    Variant(
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
    Variant(
        name="threaded",
        family="threads",
        idea="Give every client a thread, and let each of them block.",
        waits="recv(), send(), in every thread",
        cost="O(1), a thread per client",
        breaks="when no more threads can be started",
        colour="#E69F00",
        marker="s",
        refuses_threads=True,
    ),
    Variant(
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
    Variant(
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
    Variant(
        name="poll",
        family="readiness",
        idea="Hand the kernel an array of all sockets, get the events back.",
        waits="poll()",
        cost="O(clients)",
        breaks="slower with every idle client",
        colour="#009E73",
        marker="v",
    ),
    Variant(
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


def find(name: str) -> Variant:
    """The variant of that name; KeyError says which names there are."""
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    known = ", ".join(variant.name for variant in VARIANTS)
    raise KeyError(f"unknown server {name!r}; there are: {known}")
