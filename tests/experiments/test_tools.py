"""What experiments say about ratios and marks."""

import records

from experiments.making import STEADY, WILD
from loadgen.analysis.run import CellData
from loadgen.experiments import tools
from loadgen.report.figure import Panel, Point, Series
from loadgen.store.metric import throughput


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
    assert doubtful.startswith("epoll cannot be told from poll (")
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
