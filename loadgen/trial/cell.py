"""What is measured again in every block: a server under a workload, for a question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from loadgen.store import schema
from loadgen.trial import methods
from loadgen.trial.methods.method import Method


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a question, a server and a workload.

    options   further words of the server's command line, besides what the workload asks for
    python    the interpreter that the server runs under, as it was named; None: the lab's own
    heap      how the C library's is set: see `HEAPS`
    replica   1: the same once more under another name, to be told apart from the first
    """

    experiment: str
    server: str
    workload: Method
    options: tuple[str, ...] = ()
    python: str | None = None
    heap: schema.Heap = "system"
    replica: int = 0

    @property
    def id(self) -> str:
        """Stable and unique within a run, for people to read and to type; nothing is read back
        from it. What is not named is as in the plainest workload."""
        parts = [f"{name}={value}" for name, value in self.workload.differences().items()]
        if self.workload.name not in ("requests", "slices"):
            parts.insert(0, self.workload.name)
        if self.options:
            parts.append(" ".join(self.options))
        if self.python:
            parts.append(f"python={self.python}")
        if self.heap != "system":
            parts.append(f"heap={self.heap}")
        if self.replica:
            parts.append("again")
        return "/".join((self.experiment, self.server, ",".join(parts) or "plain"))

    @property
    def command_options(self) -> tuple[str, ...]:
        """What the server's command line says behind the port."""
        return (*self.workload.server_options(), *self.options)

    def as_record(self) -> schema.Cell:
        """As stored."""
        return {
            "experiment": self.experiment,
            "server": self.server,
            "workload": self.workload.as_record(),
            "options": list(self.options),
            "python": self.python,
            "heap": self.heap,
            "replica": self.replica,
        }

    @classmethod
    def of(cls, stored: schema.Cell) -> Self:
        """A cell as it was stored. Raises ValueError for a workload that this lab does not know."""
        return cls(
            experiment=stored["experiment"],
            server=stored["server"],
            workload=methods.of(cast(Mapping[str, Any], stored["workload"])),
            options=tuple(stored["options"]),
            python=stored["python"],
            heap=stored["heap"],
            replica=stored["replica"],
        )
