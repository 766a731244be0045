"""The ways of measuring, one file each: what a cell's workload says, and how it is measured.

To add one: a dataclass of the form of `Method` in a file of its own, and its line in METHODS.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from loadgen.trial.methods.churn import Churn
from loadgen.trial.methods.death import Death
from loadgen.trial.methods.demonstration import Demonstration
from loadgen.trial.methods.method import Method
from loadgen.trial.methods.reaping import Reaping
from loadgen.trial.methods.requests import Requests
from loadgen.trial.methods.search import Search
from loadgen.trial.methods.slices import ChurnSlices, Slices
from loadgen.trial.methods.timeline import Timeline
from loadgen.trial.methods.trace import Trace

__all__ = [
    "METHODS",
    "Churn",
    "ChurnSlices",
    "Death",
    "Demonstration",
    "Method",
    "Reaping",
    "Requests",
    "Search",
    "Slices",
    "Timeline",
    "Trace",
    "of",
]

METHODS: tuple[type[Method], ...] = (
    Slices,
    ChurnSlices,
    Requests,
    Search,
    Churn,
    Timeline,
    Trace,
    Death,
    Demonstration,
    Reaping,
)


def of(workload: Mapping[str, Any]) -> Method:
    """The method that a stored workload names, with its fields, all of them.

    Raises ValueError for what this lab does not know.
    """
    fields = dict(workload)
    name = fields.pop("method", None)
    for method in METHODS:
        if method.name == name:
            known = {field.name for field in dataclasses.fields(method)}
            if other := sorted(known ^ fields.keys()):
                raise ValueError(f"the workload is none of this lab: {', '.join(other)}")
            return method(**fields)
    there_are = ", ".join(method.name for method in METHODS)
    raise ValueError(f"unknown method {name!r}; there are: {there_are}")
