"""Runs of older schemas, read as if they had been stored today: one step per schema, to the next.

Schema 1 named a cell by a text (experiment/server/field=value,...), kept the options of a server in
its command line alone, had one workload for all methods, and knew nothing of the catalog that its
charts were drawn with. This is the only place that takes such texts apart. Nothing is invented:
what schema 1 did not store is null.

Schema 2 divided the answers of a slice by its length, and not by what they took, and nobody asked
whether others wanted the server's CPU.

Schema 3 ran all servers with a heap that gives nothing back, under whatever interpreter.
"""

from collections.abc import Callable, Mapping
from typing import Any

# Its catalog, as far as charts show it: markers were given by position.
_LOOKS = (
    ("blocking", "one at a time", "#000000", "o", True),
    ("threaded", "threads", "#E69F00", "s", True),
    ("nonblocking", "busy loop", "#CC79A7", "D", False),
    ("select", "readiness", "#56B4E9", "^", True),
    ("poll", "readiness", "#009E73", "v", True),
    ("epoll", "readiness", "#D55E00", "P", True),
)
_IDEAS = {
    "blocking": "Serve one client until it leaves, then take the next.",
    "threaded": "Give every client a thread, and let each of them block.",
    "nonblocking": "Ask every socket in turn, again and again, and never wait.",
    "select": "Ask about all sockets at once: which can be read or written?",
    "poll": "Hand the kernel an array of all sockets, get the events back.",
    "epoll": "Let the kernel keep the list, and hear of the ready ones only.",
}
_PLAIN: dict[str, Any] = {
    "connections": 1,
    "idle_connections": 0,
    "message_bytes": 16,
    "mode": "closed",
    "offered_per_s": None,
    "arrivals": None,
    "greedy_pipeline": 0,
    "slow_connections": 0,
    "slow_behaviour": None,
    "knee_limit_s": 0.0,
    "stall_s": 0.0,
    "stall_every_s": 1.0,
    "driver": "requests",
}
_TIMES = {"warmup_s": 0.0, "duration_s": 0.0, "drain_s": 0.0}
# What its generator did not say of itself.
_GENERATOR = {"send_path_ns": None, "longest_gap_ns": None, "realtime": False}
# Its servers held four descriptors for themselves: three standard streams and the listener.
_SELECT_SERVES = 1020
_TIMELINE_REQUESTS = 4
_TRACE_REQUESTS = 20


def header_of_1(old: Mapping[str, Any]) -> dict[str, Any]:
    """`run.json` of schema 1 in the form of schema 2. Raises KeyError, TypeError or ValueError for
    what is none."""
    plan, environment = old["plan"], dict(old["environment"])
    return {
        **old,
        "schema": 2,
        "plan": {
            "experiments": plan["experiments"],
            "servers": plan["servers"],
            "blocks": plan["blocks"],
            "trials": plan["blocks"],
            "extra_time": plan["spare"],
            "cells": [_named(text) for text in plan["cells"]],
            "skipped": [
                {"cell": _named(skip["cell"]), "reason": skip["reason"]} for skip in plan["skipped"]
            ],
            "precision": None,
        },
        "catalog": [
            {
                "name": name,
                "family": family,
                "idea": _IDEAS[name],
                "waits": "",
                "cost": "",
                "breaks": "",
                "colour": colour,
                "marker": marker,
                "sleeps": sleeps,
            }
            for name, family, colour, marker, sleeps in _LOOKS
        ],
        "sources": {},
        "calibration": [
            {"bottleneck": point["limiter"], **_without(point, "limiter")}
            for point in environment.pop("calibration", [])
        ],
        "environment": environment,
    }


def record_of_1(old: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `trials.jsonl`; as `header_of_1`."""
    load, counts, connections = old["workload"], old["counts"], old["connections"]
    knee, limit = old.get("knee"), connections.get("limit")
    cell = _cell(old, load)
    active = connections.get("active")
    verdict = old["verdict"]
    is_designed = bool(limit and active == 0 and load["connections"])
    timeline = old.get("timeline")
    machine = old["machine"]
    return {
        **_without(old, "experiment", "workload", "order"),
        "schema": 2,
        "cell": cell,
        "position": old["order"],
        "offered_per_s": knee["rate_per_s"] if knee else load["offered_per_s"],
        "counts": {
            "scheduled": counts["scheduled"],
            "ok": counts["ok"],
            "mismatched": counts["wrong"],
            "error": counts["error"],
            "timed_out": counts["unfinished"],
        },
        "warmup": None,
        "window": None,
        "connections": {"unanswered": None, **connections, "due": _due(connections, limit)},
        "generator": old["generator"] and {**_GENERATOR, **old["generator"]},
        "machine": machine
        and {"listener_drops": None, "clock_drift_ns": None, "hiccup_ns": None, **machine},
        "timeline": timeline
        and {
            "clients": [
                {"mismatched": client["wrong"], **_without(client, "wrong")}
                for client in timeline["clients"]
            ]
        },
        "slices": None,
        "verdict": {
            "valid": verdict["valid"],
            "overloaded": None,
            "bottleneck": "model" if is_designed else verdict["limiter"],
            "reasons": verdict["reasons"],
        },
    }


def _cell(old: Mapping[str, Any], load: Mapping[str, Any]) -> dict[str, Any]:
    """The cell of a record, from its data; of a server that never came up, the options are known
    from the name alone."""
    named = _named(old["cell"])
    command = old["server"]["command"]
    words = command[command.index("--port") + 2 :] if command else None
    options = dict(zip(words[::2], words[1::2], strict=True)) if words is not None else None
    from_data = _of(old["experiment"], old["server"]["name"], load, options or {})
    if options is not None:
        return from_data
    return {**from_data, **{key: named[key] for key in ("options", "replica")}} | {
        "workload": {
            **from_data["workload"],
            **{key: named["workload"][key] for key in ("work", "max_line_bytes")},
        }
    }


def _named(text: str) -> dict[str, Any]:
    """The cell that a text of schema 1 names. It leaves the times out."""
    experiment, server, rest = text.split("/", 2)
    parts = dict(part.split("=", 1) for part in rest.split(",")) if rest != "plain" else {}
    fields = {name: _PLAIN[name] for name in _PLAIN} | {
        name: _value(value) for name, value in parts.items() if name in _PLAIN
    }
    options = {f"--{name}": value for name, value in parts.items() if name not in _PLAIN}
    return _of(experiment, server, {**_TIMES, **fields}, options)


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _of(
    experiment: str, server: str, load: Mapping[str, Any], options: Mapping[str, str]
) -> dict[str, Any]:
    rest = dict(options)
    # An equal command line under another name was how it repeated a server.
    replica = int(experiment == "trust" and "--host" in rest)
    server_side = {
        "work": rest.pop("--work", None),
        "max_line_bytes": int(rest.pop("--max-line", 65_536)),
    }
    return {
        "experiment": experiment,
        "server": server,
        "workload": {**_workload(load), **server_side},
        "options": [word for pair in rest.items() for word in pair],
        "replica": replica,
    }


def _workload(load: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: float(load[name]) for name in _TIMES}
    lines = {"connections": load["connections"], "message_bytes": load["message_bytes"]}
    if load["driver"] == "churn":
        return {"method": "churn", **lines, **times}
    if load["driver"] == "timeline":
        return {
            "method": "timeline",
            "connections": load["connections"],
            "requests": _TIMELINE_REQUESTS,
        }
    if load["driver"] == "trace":
        return {
            "method": "trace",
            "connections": 1,
            "idle_connections": load["idle_connections"],
            "requests": _TRACE_REQUESTS,
        }
    if load["knee_limit_s"]:
        return {
            "method": "search",
            **lines,
            "arrivals": load["arrivals"],
            "p99_limit_s": load["knee_limit_s"],
            **times,
        }
    return {
        "method": "requests",
        **lines,
        "idle_connections": load["idle_connections"],
        "slow_connections": load["slow_connections"],
        "slow_behaviour": load["slow_behaviour"],
        "offered_per_s": load["offered_per_s"],
        "arrivals": load["arrivals"],
        "pipeline_depth": load["greedy_pipeline"],
        "stall_s": float(load["stall_s"]),
        "stall_every_s": float(load["stall_every_s"]),
        **times,
    }


def header_of_2(old: Mapping[str, Any]) -> dict[str, Any]:
    """`run.json` of schema 2 in the form of schema 3."""
    return {**old, "schema": 3}


def record_of_2(old: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `trials.jsonl`; as `header_of_2`."""
    slices = old["slices"]
    return {
        **old,
        "schema": 3,
        "slices": slices
        and {
            **slices,
            "span_ns": slices["length_ns"],
            "crowded": [None if turn is None else False for turn in slices["turn"]],
        },
    }


def header_of_3(old: Mapping[str, Any]) -> dict[str, Any]:
    """`run.json` of schema 3 in the form of schema 4."""
    plan = old["plan"]
    return {
        **old,
        "schema": 4,
        "plan": {
            **plan,
            "pythons": [],
            "cells": list(map(_with_kept_heap, plan["cells"])),
            "skipped": [
                {**skip, "cell": _with_kept_heap(skip["cell"])} for skip in plan["skipped"]
            ],
        },
        "environment": _without(old["environment"], "server_environment"),
    }


def record_of_3(old: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `trials.jsonl`; as `header_of_3`."""
    return {
        **old,
        "schema": 4,
        "cell": _with_kept_heap(old["cell"]),
        "server": {**old["server"], "implementation": None, "gil": None},
        "death": None,
    }


def _with_kept_heap(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **cell,
        "workload": {**cell["workload"], "server_cpus": 1},
        "python": None,
        "heap": "kept",
    }


def header_of_4(old: Mapping[str, Any]) -> dict[str, Any]:
    """`run.json` of schema 4 in the form of schema 5."""
    plan = old["plan"]
    return {
        **old,
        "schema": 5,
        "plan": {
            **plan,
            "cells": list(map(_over_ipv4, plan["cells"])),
            "skipped": [{**skip, "cell": _over_ipv4(skip["cell"])} for skip in plan["skipped"]],
        },
    }


def record_of_4(old: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `trials.jsonl`; as `header_of_4`."""
    generator = old["generator"]
    return {
        **old,
        "schema": 5,
        "cell": _over_ipv4(old["cell"]),
        "generator": generator and {**generator, "stamps": "kernel"},
        "datagrams": None,
        "reaping": None,
        "observation": None,
    }


def header_of_5(old: Mapping[str, Any]) -> dict[str, Any]:
    """`run.json` of schema 5 in the form of schema 6."""
    return {**old, "schema": 6, "name": None, "note": None}


def record_of_5(old: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `trials.jsonl`; as `header_of_5`."""
    return {**old, "schema": 6, "retries": None}


def _over_ipv4(cell: Mapping[str, Any]) -> dict[str, Any]:
    plain = {"transport": "ipv4", "protocol": "hello", "idle_timeout_s": None}
    return {**cell, "workload": {**cell["workload"], **plain}}


def _due(connections: Mapping[str, Any], limit: str | None) -> int:
    """How many the model had to greet. Its limits were "serves 1 at a time" and "no descriptor
    beyond 1023"."""
    attempted = int(connections["attempted"])
    if limit is None:
        return attempted
    if limit.startswith("serves "):
        return min(attempted, int(limit.split()[1]))
    return min(attempted, _SELECT_SERVES)


def _without(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key not in names}


Step = Callable[[Mapping[str, Any]], dict[str, Any]]

# From the schema of this number to the next.
HEADERS: dict[int, Step] = {
    1: header_of_1,
    2: header_of_2,
    3: header_of_3,
    4: header_of_4,
    5: header_of_5,
}
RECORDS: dict[int, Step] = {
    1: record_of_1,
    2: record_of_2,
    3: record_of_3,
    4: record_of_4,
    5: record_of_5,
}


def upgraded(old: Mapping[str, Any], steps: Mapping[int, Step]) -> Mapping[str, Any]:
    """A header or a record in today's form, as far as there are steps.

    Raises KeyError, TypeError or ValueError for what is none.
    """
    while (step := steps.get(old["schema"])) is not None:
        old = step(old)
    return old
