"""The experiment that draws who waits for whom, from real servers to the finding."""

import itertools
from pathlib import Path

import pytest
import records

from experiments.making import MODELS, STEADY, WILD, blocks, drawn, found_in, measure, times
from loadgen import experiments
from loadgen.analysis import run as analysis
from loadgen.clients.timeline import APART_NS, SLOW_CLIENT, SLOW_REQUEST
from loadgen.experiments.timeline import WORK_MS, WORKLOAD
from loadgen.store.schema import ClientTimeline, Record

pytestmark = pytest.mark.measures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """A timeline of every server."""
    log = tmp_path_factory.mktemp("timeline") / "log"
    return {server: measure(log, "timeline", server) for server in MODELS}


def clients(record: Record) -> list[ClientTimeline]:
    timeline = record["timeline"]
    assert timeline is not None
    return list(timeline["clients"])


def overlaps(record: Record) -> int:
    """Pairs of requests of different clients that were completely sent and not yet answered."""
    asked = [
        (number, request["complete_ns"], request["arrived_ns"])
        for number, client in enumerate(clients(record))
        for request in client["requests"]
    ]
    return sum(
        a != b and start < other_end and other_start < end
        for (a, start, end), (b, other_start, other_end) in itertools.combinations(asked, 2)
    )


@pytest.mark.parametrize("server", MODELS)
def test_timeline_end_to_end(server: str, pictures: dict[str, Record]) -> None:
    record = pictures[server]

    assert record["outcome"] == "measured", record["failure"]
    everybody = WORKLOAD.connections * WORKLOAD.requests
    assert record["counts"]["ok"] == record["counts"]["scheduled"] == everybody
    for number, client in enumerate(clients(record)):
        assert client["failure"] is None
        stamps = [client["connect_ns"], client["greeted_ns"]]
        for request in client["requests"]:
            stamps += [request["sent_ns"], request["complete_ns"], request["arrived_ns"]]
        stamps.append(client["left_ns"])
        assert stamps == sorted(stamps)
        assert client["connect_ns"] >= number * APART_NS
        work_ns = WORK_MS * 10**6
        for request in client["requests"]:
            assert request["arrived_ns"] - request["complete_ns"] > 0.9 * work_ns


def test_the_timeline_is_drawn_from_what_was_stored(
    pictures: dict[str, Record], tmp_path: Path
) -> None:
    assert drawn(tmp_path / "run", *pictures.values()) == ["timeline.svg"]
    figure = experiments.find("timeline").figures(analysis.load(tmp_path / "run"))[0]
    assert [panel.title.split(":")[0] for panel in figure.panels[1:]] == MODELS
    waiting = {
        panel.title.split(":")[0]: max(bar.end - bar.start for bar in panel.bars if bar.lane == 4)
        for panel in figure.panels[1:]
    }
    assert max(waiting, key=lambda server: waiting[server]) == "blocking"


def test_only_the_slow_client_pauses_and_only_once(pictures: dict[str, Record]) -> None:
    for record in pictures.values():
        pauses = [
            (number, turn)
            for number, client in enumerate(clients(record))
            for turn, request in enumerate(client["requests"])
            if request["complete_ns"] > request["sent_ns"]
        ]
        assert pauses == [(SLOW_CLIENT, SLOW_REQUEST)]


def test_blocking_is_a_staircase(pictures: dict[str, Record]) -> None:
    served = sorted(
        (client["requests"][0]["sent_ns"], client["requests"][-1]["arrived_ns"])
        for client in clients(pictures["blocking"])
    )
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(served))
    assert overlaps(pictures["blocking"]) == 0


def test_everybody_else_serves_them_side_by_side(pictures: dict[str, Record]) -> None:
    for server, record in pictures.items():
        assert server == "blocking" or overlaps(record) > 0


def timeline_record(server: str, done_ms: float, block: int) -> Record:
    made = records.record(server, experiment="timeline", connections=5, block=block)
    lanes: list[ClientTimeline] = [
        {
            "connect_ns": number * 5_000_000,
            "greeted_ns": number * 5_000_000 + 1_000_000,
            "left_ns": round(done_ms * 1e6),
            "requests": [],
            "mismatched": 0,
            "failure": None,
        }
        for number in range(5)
    ]
    made["cell"]["workload"] = WORKLOAD.as_record()
    made["timeline"] = {"clients": lanes}
    return made


def test_the_finding_of_the_timeline_names_a_clear_win_an_equal_and_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    said = found_in(
        tmp_path / "decided",
        blocks(
            timeline_record,
            {
                "blocking": times(120, STEADY),
                "threaded": times(60, STEADY),
                "epoll": times(120, STEADY[::-1]),
            },
        ),
    )
    assert "2.00 [" in said
    assert "times as long as threaded" in said
    assert "and is equal within 3 % to epoll (1.00 [" in said
    assert "1.0 ms with threaded" in said
    wild = {"blocking": times(100, WILD), "epoll": times(100, STEADY)}
    said = found_in(tmp_path / "wild", blocks(timeline_record, wild))
    assert "is not resolved from epoll" in said
    alone = {"epoll": times(100, STEADY)}
    assert "took no part" in found_in(tmp_path / "alone", blocks(timeline_record, alone))
