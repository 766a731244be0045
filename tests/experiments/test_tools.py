"""What experiments say about ratios and marks."""

from pathlib import Path
from typing import Any

import records

from experiments.making import STEADY, WILD
from loadgen.analysis.run import CellData, Run
from loadgen.experiments import headlines, tools
from loadgen.report.figure import Panel, Point, Series
from loadgen.store import provenance
from loadgen.store.metric import throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices


def rows(**factors: tuple[float, ...]) -> tools.Rows:
    """A cell for each server, whose throughput is 1,000 times the factor of the block."""
    return {
        server: {
            1.0: CellData(
                records.cell(server),
                [
                    records.record(server, block=block, throughput_per_s=1000 * factor)
                    for block, factor in enumerate(each)
                ],
            )
        }
        for server, each in factors.items()
    }


def said(others: list[str], **factors: tuple[float, ...]) -> str:
    return tools.ratio_sentence("epoll", rows(**factors), others, 1.0, throughput)


def test_each_outcome_of_a_comparison_has_its_words() -> None:
    ones = (1.0,) * 6
    two = said(["poll", "select"], epoll=STEADY, poll=ones, select=ones)
    assert two.startswith("epoll is equal within 3 % to poll (1.00 [")
    assert " and select (1.00 [" in two
    doubtful = said(["poll", "select"], epoll=WILD, poll=ones, select=ones)
    assert doubtful.startswith("epoll is not resolved from poll (")
    assert " or select (" in doubtful
    clear = said(["poll"], epoll=tuple(4 * factor for factor in STEADY), poll=ones)
    assert clear.startswith("epoll answers 4.00 [")
    assert clear.endswith("] times as many requests per second as poll")


def test_few_blocks_are_said_to_be_few() -> None:
    few = "epoll has too few valid blocks to be compared with poll"
    assert said(["poll"], epoll=(2.0, 2.0), poll=(1.0, 1.0)) == f"{few} (2.00 in 2 blocks)"
    assert said(["poll"], epoll=(2.0,), poll=(1.0,)) == f"{few} (2.00 in one block)"
    assert said(["poll"], epoll=(2.0,)) == (
        "epoll has no block of valid trials in common with poll"
    )


def test_hollow_marks_are_explained_where_there_are_some() -> None:
    def panel(hollow: bool) -> Panel:
        points = (Point(1, 1), Point(2, 2, hollow=hollow))
        return Panel("x", "y", (Series("epoll", points),))

    assert tools.about_hollow((panel(False),), "by chance") == ""
    assert tools.about_hollow((panel(False), panel(True))) == (
        " A hollow mark: no valid trial here."
    )
    assert tools.about_hollow((panel(True),), "by chance").endswith("here, by chance.")


def test_who_serves_a_part_of_the_clients_only_is_drawn_in_grey() -> None:
    """But not who does so beyond a wall: it has served all of them up to there."""

    def cell(clients: int, limit: str | None) -> CellData:
        row = records.record(connections=clients)
        row["connections"] |= {"limit": limit, "greeted": 1 if limit else clients}
        return CellData(records.cell(connections=clients), [row])

    one, some, many = cell(1, None), cell(8, "serves one at a time"), cell(64, "no descriptor")
    assert tools.partial([one, some, many])
    assert not tools.partial([one, cell(8, None), many])
    assert not tools.partial([one]), "one client is all there are"
    (line,) = tools.lines({"blocking": {1.0: one, 8.0: some}}, throughput)
    assert line.partial


def test_precision_is_of_those_who_serve_all_clients() -> None:
    def comparison(limit: str | None) -> Run:
        found = []
        for server, replica, rate in (
            ("epoll", 0, 1.0),
            ("epoll", 1, 1.0),
            ("poll", 0, 0.9),
            ("blocking", 0, 0.3),
        ):
            for block, factor in enumerate((1.0, 1.1, 0.9)):
                each = factor if server == "blocking" else 1.0
                row: Any = records.record(server, block=block)
                cell = Cell(experiment="idle", server=server, workload=Slices(), replica=replica)
                row |= {"cell": cell.as_record(), "slices": columns(1000 * rate * each)}
                row["connections"]["limit"] = limit if server == "blocking" else None
                found.append(row)
        header: Any = {"plan": {"cells": []}, "catalog": provenance.catalog()}
        return Run(Path(), header, found)

    assert headlines.precision(comparison(None)).startswith("Of 2 ratios to epoll, 50% are known")
    assert headlines.precision(comparison("one at a time")).startswith("Of 1 ratio to epoll, 100%")


def columns(rate: float) -> dict[str, object]:
    """Slices of three rounds."""
    return {
        "void": [None] * 3,
        "answers": [rate] * 3,
        "span_ns": [10**9] * 3,
        "drive_answers": [rate] * 3,
        "cpu_ns": [10] * 3,
        "crowded": [False] * 3,
    }
