"""A film as a value: what happened, moment by moment, ready to be stored and shown.

Times are ns since the first client came. Events are sorted by them, and have one of these forms:
    line    a thread reached a line of the server's file
    call    a thread made a system call; it returns `took_ns` later, or never (null)
    client  a client did something, or heard something
    kernel  what waits in the kernel has changed
    again   the events before it, so many of them, happened again, so many times
"""

from typing import Annotated, Literal

from typing_extensions import TypedDict


class Line(TypedDict):
    """A thread reached a line."""

    kind: Literal["line"]
    at_ns: int
    thread: int
    line: int
    function: str


class Call(TypedDict):
    """A thread made a system call."""

    kind: Literal["call"]
    at_ns: int
    thread: int
    name: str
    arguments: str
    result: str
    took_ns: int | None


class Deed(TypedDict):
    """A client did something, or heard something."""

    kind: Literal["client"]
    at_ns: int
    client: int
    what: str
    data: str
    more_bytes: Annotated[int, "of the data, that are not shown"]


class Kernel(TypedDict):
    """What waits in the kernel from now on."""

    kind: Literal["kernel"]
    at_ns: int
    backlog: int
    unread: Annotated[dict[str, int], "client => bytes that the server has not received"]
    unsent: Annotated[dict[str, int], "client => bytes that the client's side has not taken"]


class Again(TypedDict):
    """What came before happened again."""

    kind: Literal["again"]
    at_ns: int
    thread: int
    events: Annotated[int, "how many of this thread's events"]
    times: int


Event = Line | Call | Deed | Kernel | Again


class Film(TypedDict):
    """A server playing the scene."""

    server: str
    python: str
    file: str
    source: str
    threads: Annotated[list[str], "what each thread is called, by number"]
    not_recorded: Annotated[list[str], "what could not be, and why, in words"]
    events: list[Event]
