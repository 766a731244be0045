"""The form of stored records: checked when they are read, and documented as it is."""

import inspect
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
import records
from typing_extensions import is_typeddict

from loadgen.store import runs, schema, upgrade
from loadgen.trial import methods
from loadgen.trial.cell import Cell

ROOT = Path(__file__).parent.parent


def meant(hint: Any) -> str:
    """The type of a field as people read it."""
    if get_origin(hint) is Annotated:
        return meant(get_args(hint)[0])
    if is_typeddict(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    if get_origin(hint) is Literal:
        return " or ".join(f"`{value!r}`" for value in get_args(hint))
    if get_origin(hint) is types.UnionType:
        return " or ".join(map(meant, get_args(hint)))
    if get_origin(hint) in (list, dict):
        *_, inner = get_args(hint)
        return f"{hint.__origin__.__name__} of {meant(inner)}"
    return {type(None): "null"}.get(hint, getattr(hint, "__name__", str(hint)))


def forms(hint: Any) -> Iterator[type]:
    """All forms that a form consists of, itself first."""
    if is_typeddict(hint):
        yield hint
        for inner in get_type_hints(hint).values():
            yield from forms(inner)
    for argument in get_args(hint):
        yield from forms(argument)


def documented(form: type) -> Iterator[str]:
    """A form as a section: what it is, and a row for each of its fields."""
    yield from ("", f"### {form.__name__}", "", " ".join((form.__doc__ or "").split()), "")
    yield from ("| field | type | meaning |", "|---|---|---|")
    for name, hint in get_type_hints(form, include_extras=True).items():
        meaning = hint.__metadata__[0] if get_origin(hint) is Annotated else ""
        yield f"| `{name}` | {meant(hint)} | {meaning} |"


def chapter() -> str:
    """What results/README.md has to say of the schema."""
    lines = ["## The form of a record", ""]
    lines += [f"Schema {schema.SCHEMA}. Times that end in `_ns` are nanoseconds."]
    for form in dict.fromkeys([*forms(schema.Header), *forms(schema.Record)]):
        lines += documented(form)
    lines += ["", "### Workloads", "", "`method` says which of these a workload is; with"]
    lines += ["`work`: what an answer costs the server (`cpu:100us`, `sleep:10ms`), null: nothing;"]
    lines += ["`max_line_bytes`: the longest line that the server takes;"]
    lines += ["`server_cpus`: CPUs that the server has, as far as there are so many."]
    for method in methods.METHODS:
        lines += ["", f"#### {method.name}", "", "```", inspect.getdoc(method) or "", "```"]
    return "\n".join(lines) + "\n"


def test_the_schema_is_documented_as_it_is() -> None:
    """If this fails: put what it expects behind the mark in results/README.md."""
    page = (ROOT / "results" / "README.md").read_text()
    assert page[page.index("## The form of a record") :] == chapter()


def test_every_field_that_a_record_has_is_in_the_form_and_no_other() -> None:
    made: Any = records.record()
    assert schema.record(made) is made
    for path in (["unheard_of"], ["counts", "unheard_of"], ["cell", "unheard_of"]):
        spoilt: Any = records.record()
        inner = spoilt
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = 1
        with pytest.raises(ValueError, match=rf"^{'.'.join(path)}: "):
            schema.record(spoilt)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 0),
        (("block",), True),
        (("block",), 1.0),
        (("counts", "ok"), "1"),
        (("throughput_per_s",), float("nan")),
        (("verdict", "bottleneck"), "fate"),
        (("latency_ns", "service", "p50"), "fast"),
        (("machine", "hiccup_ns"), {}),
        (("connections", "failed"), {"ECONNREFUSED": None}),
    ],
)
def test_a_field_of_another_type_is_named(path: tuple[str, ...], value: object) -> None:
    made: Any = records.record()
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=rf"^{'.'.join(path)}"):
        schema.record(made)


@pytest.mark.parametrize("name", ["schema-1", "schema-1-trust"])
def test_runs_of_schema_1_are_read_as_if_they_were_stored_today(name: str) -> None:
    """Each figure stands where it stood; the cell of a record says what its text said."""
    stored = runs.load(ROOT / "tests" / "data" / name)
    assert stored.raw_header["schema"] == 1
    texts = {}
    for raw, record in zip(stored.raw_records, stored.records, strict=True):
        assert record["schema"] == schema.SCHEMA
        for field in ("throughput_per_s", "latency_ns", "histograms", "server_cost"):
            assert record[field] == raw[field]  # type: ignore[literal-required]
        not_said = {
            "send_path_ns": None,
            "longest_gap_ns": None,
            "realtime": False,
            "stamps": "kernel",
        }
        assert record["generator"] == (raw["generator"] and {**not_said, **raw["generator"]})
        assert sum(record["counts"].values()) == sum(raw["counts"].values())
        assert record["verdict"]["reasons"] == raw["verdict"]["reasons"]
        assert record["connections"]["due"] >= record["connections"]["greeted"]
        texts.setdefault(raw["cell"], Cell.of(record["cell"]).id)
    assert len(set(texts.values())) == len(texts) == len(stored.header["plan"]["cells"])
    planned = [Cell.of(cell).id for cell in stored.header["plan"]["cells"]]
    assert planned == [texts[text] for text in stored.raw_header["plan"]["cells"]]


def test_slices_of_schema_2_are_divided_by_their_length_as_they_were() -> None:
    slices = {"answers": [3, None], "length_ns": [10, None], "turn": [0, None]}
    found = upgrade.record_of_2({"schema": 2, "slices": slices, "block": 1})

    more = {"span_ns": [10, None], "crowded": [False, None]}
    assert found == {"schema": 3, "slices": {**slices, **more}, "block": 1}
    assert upgrade.record_of_2({"schema": 2, "slices": None})["slices"] is None


def test_servers_of_schema_3_kept_their_heap_and_ran_under_the_python_of_the_lab() -> None:
    cell = {"server": "epoll", "workload": {"method": "slices"}}
    found = upgrade.record_of_3({"schema": 3, "cell": cell, "server": {"name": "epoll"}})

    now = {
        "server": "epoll",
        "workload": {"method": "slices", "server_cpus": 1},
        "python": None,
        "heap": "kept",
    }
    unknown = {"name": "epoll", "implementation": None, "gil": None}
    assert found == {"schema": 4, "cell": now, "server": unknown, "death": None}
    plan = {"cells": [cell], "skipped": [{"cell": cell, "reason": "why"}]}
    environment = {"cpu": "some", "server_environment": {"MALLOC_TRIM_THRESHOLD_": "1"}}
    assert upgrade.header_of_3({"schema": 3, "plan": plan, "environment": environment}) == {
        "schema": 4,
        "plan": {"cells": [now], "skipped": [{"cell": now, "reason": "why"}], "pythons": []},
        "environment": {"cpu": "some"},
    }


def test_servers_of_schema_4_were_asked_over_ipv4_and_stamped_by_the_kernel() -> None:
    cell = {"server": "epoll", "workload": {"method": "slices"}}
    found = upgrade.record_of_4({"schema": 4, "cell": cell, "generator": {"unstamped": 0}})

    plain = {"transport": "ipv4", "protocol": "hello", "idle_timeout_s": None}
    now = {"server": "epoll", "workload": {"method": "slices", **plain}}
    assert found == {
        "schema": 5,
        "cell": now,
        "generator": {"unstamped": 0, "stamps": "kernel"},
        "datagrams": None,
        "reaping": None,
        "observation": None,
    }
    plan = {"cells": [cell], "skipped": [{"cell": cell, "reason": "why"}]}
    assert upgrade.header_of_4({"schema": 4, "plan": plan}) == {
        "schema": 5,
        "plan": {"cells": [now], "skipped": [{"cell": now, "reason": "why"}]},
    }


def test_runs_of_schema_5_had_no_name_and_measured_nothing_again() -> None:
    assert upgrade.record_of_5({"schema": 5, "block": 1}) == {
        "schema": 6,
        "block": 1,
        "retries": None,
    }
    assert upgrade.header_of_5({"schema": 5, "seed": 1}) == {
        "schema": 6,
        "seed": 1,
        "name": None,
        "note": None,
    }


def test_each_older_schema_has_a_step_to_the_next() -> None:
    older = set(range(1, schema.SCHEMA))
    assert upgrade.HEADERS.keys() == upgrade.RECORDS.keys() == older


def test_steps_follow_each_other_up_to_the_last() -> None:
    def step(old: Mapping[str, Any]) -> dict[str, Any]:
        return {"schema": old["schema"] + 1, "steps": [*old.get("steps", []), old["schema"]]}

    found = upgrade.upgraded({"schema": 1}, {1: step, 2: step})
    assert found == {"schema": 3, "steps": [1, 2]}


def test_an_old_run_is_not_written_to() -> None:
    with (
        pytest.raises(runs.ResultsError, match="has schema 1 and this lab writes 6: start a new"),
        runs.append_to(ROOT / "tests" / "data" / "schema-1"),
    ):
        pass
