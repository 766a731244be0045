"""The system calls of a film: what strace wrote, with the moments of beginning and end."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from loadgen.film.recorder import DESCRIPTOR

# What has to do with waiting, with sockets and with processes; memory and the GIL's futexes do not.
# With a question mark where not every machine has it (strace(1)).
TRACED = ",".join(
    (
        "%network,?close,?read,?write,?readv,?writev,?fcntl,?ioctl",
        "?select,?pselect6,?poll,?ppoll,?epoll_create1,?epoll_ctl,?epoll_wait,?epoll_pwait,?epoll_pwait2",
        "?io_uring_enter,?eventfd2,?rt_sigtimedwait,?clock_nanosleep,?fork,?vfork,?clone,?clone3,?wait4",
    )
)
OPTIONS = (
    "-f", "-I", "2", "-yy", "-s", "40", "-e", "signal=none", "-e", f"trace={TRACED}",
    "--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns",
)  # fmt: skip
# Of a socket with its two ends, as -yy writes them: "<TCP:[127.0.0.1:80->127.0.0.1:1234]>".
_SOCKET = re.compile(r"<(?:TCP(?:v6)?|UNIX[^:]*):\[(.*?)\]>")
_FILE = re.compile(r"<(?:anon_inode|pipe|socket|UDP|NETLINK|/)[^>]*>+")
# What epoll_ctl() is given to be brought back by epoll_wait(): here it is a descriptor.
_DATA = re.compile(r"data=\{u32=(\d+), u64=\d+\}")
_ADDED = re.compile(r"^\d+, EPOLL_CTL_ADD, (\d+)(<[^>]*>)")
_LINE = re.compile(r"^(\d+) +(\d+)\.(\d+) (.*)$")
_WHOLE = re.compile(r"^(\w+)\((.*)\)\s+= (.*?)(?: <([\d.]+)>)?$")
_BEGUN = re.compile(r"^(\w+)\((.*?) *<unfinished \.\.\.>$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)\)\s+= (.*?)(?: <([\d.]+)>)?$")


@dataclass(frozen=True)
class Call:
    """A system call; `end_ns` is None if it never returned."""

    thread: int
    begin_ns: int
    end_ns: int | None
    name: str
    arguments: str
    result: str


def parse(lines: Iterable[str]) -> list[Call]:
    """The calls behind the ready line, each where it began."""
    calls: list[Call] = []
    unfinished: dict[tuple[int, str], int] = {}
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if not match:
            continue
        thread, at_ns = int(match[1]), int(match[2]) * 10**9 + int(match[3])
        if found := _RESUMED.match(match[4]):
            name, rest, result, took_s = found.groups()
            if (index := unfinished.pop((thread, name), None)) is not None:
                begun = calls[index]
                calls[index] = replace(
                    begun,
                    end_ns=begun.begin_ns + _ns(took_s),
                    arguments=begun.arguments + rest,
                    result=result,
                )
        elif found := _BEGUN.match(match[4]):
            unfinished[thread, found[1]] = len(calls)
            calls.append(Call(thread, at_ns, None, found[1], found[2], ""))
        elif found := _WHOLE.match(match[4]):
            name, arguments, result, took_s = found.groups()
            calls.append(Call(thread, at_ns, at_ns + _ns(took_s), name, arguments, result))
    return [call for call in _serving(calls) if not call.arguments.startswith(f"{DESCRIPTOR}<")]


def _ns(seconds: str | None) -> int:
    return round(float(seconds or 0) * 1e9)


def _serving(calls: list[Call]) -> list[Call]:
    for index, call in enumerate(calls):
        if '"listening on ' in call.arguments:
            return calls[index + 1 :]
    return calls


def told(text: str, port: int, clients: Mapping[int, int]) -> str:
    """Arguments or a result for people: sockets by the client at their other end."""

    def named(match: re.Match[str]) -> str:
        here, _, there = match[1].partition("->")
        if there and (client := clients.get(int(there.rpartition(":")[2] or 0))):
            return f"<client {client}>"
        return "<listener>" if here.endswith(f":{port}") and not there else ""

    return _FILE.sub("", _SOCKET.sub(named, text))


class Watched:
    """Whose descriptors a thread has told the kernel to watch."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, str], str] = {}

    def told(self, thread: int, arguments: str) -> str:
        """Arguments of epoll_ctl() or epoll_wait() with what is brought back by its name. The calls
        of a thread have to come in their order."""
        if added := _ADDED.match(arguments):
            self._names[thread, added[1]] = added[2]
        return _DATA.sub(
            lambda data: f"data={data[1]}{self._names.get((thread, data[1]), '')}", arguments
        )
