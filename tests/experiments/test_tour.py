"""The guided tour goes through all models, and says only what its run measured."""

from pathlib import Path

import records
from harness import ROOT

from loadgen.analysis import run as analysis
from loadgen.experiments import cards, tour
from servers import catalog


def test_every_model_is_a_stop_and_comes_after_what_it_is_set_beside() -> None:
    names = [step.server for step in tour.STEPS]
    assert sorted(names) == sorted(model.name for model in catalog.MODELS)
    for place, step in enumerate(tour.STEPS):
        assert step.question.endswith("?")
        assert step.beside in ("", *names[:place])


def test_a_stop_quotes_its_run(tmp_path: Path) -> None:
    rows = [
        records.record(server, connections=64, block=block, throughput_per_s=rate)
        for block in range(4)
        for server, rate in (("epoll", 4_000.0), ("poll", 2_000.0))
    ]
    stops = {
        stop.server: stop
        for stop in tour.stops(analysis.load(records.write_run(tmp_path / "run", rows)))
    }

    said = dict(stops["epoll"].measured)["requests per second, 64 busy clients"]
    assert "epoll 4,000/s" in said
    assert "poll 2,000/s" in said
    assert "epoll : poll is 2.0" in said
    assert stops["trio"].measured == ()


def test_what_a_stop_asks_of_a_run_exists() -> None:
    figures = cards.wanted(analysis.load(ROOT / "results" / "reference"))
    for step in tour.STEPS:
        for start in step.measured:
            assert any(each.label.startswith(start) for each in figures), (step.server, start)
