"""What every way of measuring has."""

import argparse
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from loadgen.store import metric
from loadgen.store.metric import Metric
from loadgen.store.schema import Record
from loadgen.store.schema import Verdict as VerdictRecord
from loadgen.target.process import UNIX_OPTION, UNIX_PATH
from loadgen.trial import verdict
from loadgen.workload.load import Protocol, Transport, check_number
from servers import command_line
from servers.catalog import Model
from servers.protocol import MAX_LINE_BYTES

if TYPE_CHECKING:
    from loadgen.trial.rig import Rig

# Starting, verifying, connecting and stopping, besides what is measured.
OVERHEAD_S = 0.3
CONNECTS_PER_S = 5_000
# As the servers' option --max-line takes it.
MAX_LINE_LIMITS = (1, 2**30)
SERVER_CPUS = (1, 1_000)
IDLE_TIMEOUT_S = (0.001, 86_400.0)
# Fields that say how long is measured, and not what.
TIMES = ("warmup_s", "duration_s", "drain_s", "rounds")


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way of measuring; its fields are its workload, and are stored with every record.

    connections     clients that ask
    server_cpus     CPUs that the server has, as far as there are so many: see `Pinning.wider`
    work            what an answer costs the server: "cpu:100us", "sleep:10ms"; None: nothing
    max_line_bytes  the longest line that the server takes
    transport       what connects clients and server
    protocol        what they speak over it
    idle_timeout_s  after so much silence the server lets a client go; None: never
    """

    name: ClassVar[str]
    # Are all servers of a comparison measured at once, by turns?
    together: ClassVar[bool] = False
    # What has to hold of a record so that it counts.
    checks: ClassVar[tuple[verdict.Check, ...]] = verdict.CHECKS
    # What connects clients and servers where streams do, and what they may speak.
    transports: ClassVar[tuple[Transport, ...]] = ("ipv4", "ipv6", "unix")
    protocols: ClassVar[tuple[Protocol, ...]] = ("hello", "http")
    # Can it be done by datagrams?
    by_datagrams: ClassVar[bool] = False
    # What each number may be; a whole one, where its limits are.
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}

    connections: int = 1
    server_cpus: int = 1
    work: str | None = None
    max_line_bytes: int = MAX_LINE_BYTES
    transport: Transport = "ipv4"
    protocol: Protocol = "hello"
    idle_timeout_s: float | None = None

    @property
    @abstractmethod
    def clients(self) -> int:
        """How many clients are connected at once, silent and slow ones included."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """About how long a trial takes."""

    @property
    @abstractmethod
    def headline(self) -> Metric:
        """What a record of it is about, in one figure."""

    @property
    def target(self) -> Metric:
        """The figure whose interval is to become narrow."""
        return self.headline

    @property
    def is_back_to_back(self) -> bool:
        """Does a client send its next request at the stamp at which it read the last answer?"""
        return False

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The figures in which two runs are compared."""
        return tuple(dict.fromkeys((self.target, self.headline, metric.cpu_us)))

    @abstractmethod
    def run(self, rig: "Rig") -> None:
        """Measure, and fill in the records of the rig.

        Raises TrialError, TargetError, TraceError, ConversationError or OSError; what was filled in
        by then stays.
        """

    def cannot_reach(self, model: Model) -> str | None:
        """Why a model cannot be spoken to over this transport, in words; None if it can."""
        if model.connectionless == (self.transport == "udp"):
            return None
        if model.connectionless:
            return "it has no connections: it speaks UDP only"
        return "it does not speak UDP"

    def missing(self, model: Model) -> str | None:
        """Why a model cannot be measured like this here, in words, besides what it needs to run;
        None if it can."""
        del model
        return None

    def judge(self, record: Record) -> VerdictRecord:
        """The verdict on a record."""
        return verdict.judge(record, self.checks)

    def check(self) -> None:
        """Raise ValueError, in one line, unless this can be run."""
        for name, limits in self.limits.items():
            whole = all(isinstance(limit, int) for limit in limits)
            check_number(name, getattr(self, name), limits, whole=whole)
        check_number("server_cpus", self.server_cpus, SERVER_CPUS, whole=True)
        check_number("max_line_bytes", self.max_line_bytes, MAX_LINE_LIMITS, whole=True)
        if self.transport == "udp":
            self._check_datagrams()
        else:
            _check_choice(self.name, "transport", self.transport, self.transports)
        _check_choice(self.name, "protocol", self.protocol, self.protocols)
        if self.idle_timeout_s is not None:
            check_number("idle_timeout_s", self.idle_timeout_s, IDLE_TIMEOUT_S, whole=False)
        if self.work is not None:
            try:
                command_line.work(self.work)
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"work is {error}") from error

    def _check_datagrams(self) -> None:
        """Raise ValueError, in one line, unless this can be run by datagrams."""
        if not self.by_datagrams:
            raise ValueError(f"transport is 'udp': {self.name} needs connections")
        if self.protocol != "hello":
            raise ValueError(f"protocol is {self.protocol!r}: by datagrams there is 'hello' only")
        if self.idle_timeout_s is not None:
            raise ValueError(
                f"idle_timeout_s is {self.idle_timeout_s}: it must be None without connections"
            )

    def server_options(self) -> tuple[str, ...]:
        """What the workload asks of the server's command line."""
        words: list[str] = []
        if self.transport == "ipv6":
            words += ["--host", "::1"]
        elif self.transport == "unix":
            words += [UNIX_OPTION, UNIX_PATH]
        if self.protocol != "hello":
            words += ["--protocol", self.protocol]
        if self.idle_timeout_s is not None:
            words += ["--idle-timeout", f"{self.idle_timeout_s:g}"]
        if self.work is not None:
            words += ["--work", self.work]
        if self.max_line_bytes != MAX_LINE_BYTES:
            words += ["--max-line", str(self.max_line_bytes)]
        return tuple(words)

    @property
    def comparable(self) -> "Method":
        """The same for all that may be compared by turns: the clients and what they ask, without
        how they reach the server, what they speak, and how long it bears silence."""
        return dataclasses.replace(self, transport="ipv4", protocol="hello", idle_timeout_s=None)

    def as_record(self) -> dict[str, Any]:
        """The workload as stored: `method` and its fields."""
        return {"method": self.name, **dataclasses.asdict(self)}

    def differences(self) -> dict[str, Any]:
        """The fields that are not as in the plainest workload of this method, without times: how
        long a trial lasts is no part of what it measures."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if field.name not in TIMES and (value := getattr(self, field.name)) != field.default
        }


def _check_choice(method: str, name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError, in one line, unless a method knows a value."""
    if value not in allowed:
        raise ValueError(
            f"{name} is {value!r}: of {method} it must be {' or '.join(map(repr, allowed))}"
        )


def connecting_s(clients: int) -> float:
    """About how long it takes to start a server and to connect its clients."""
    return OVERHEAD_S + clients / CONNECTS_PER_S
