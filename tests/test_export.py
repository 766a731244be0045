"""A run in the forms of other programs says what the run says."""

import csv
import json
import re
from pathlib import Path

import pytest
import records
from command_line import expect_error
from harness import ROOT

from loadgen import __main__
from loadgen.analysis import run as analysis
from loadgen.store import histogram

REFERENCE = ROOT / "results" / "reference"


def exported(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert __main__.main(["export", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_the_table_has_a_row_per_trial_with_the_figures_of_the_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = analysis.load(REFERENCE)
    rows = list(csv.DictReader(exported(capsys, REFERENCE, "--csv").splitlines()))

    assert len(rows) == len(run.records)
    for row, record in zip(rows, run.records, strict=True):
        assert row["server"] == record["server"]["name"]
        assert row["workload_connections"] == str(record["cell"]["workload"]["connections"])
        assert row["valid"] == ("true" if record["verdict"]["valid"] else "false")
        assert row["reasons"] == "; ".join(record["verdict"]["reasons"])
        summary, rate = record["latency_ns"]["service"], record["throughput_per_s"]
        p99_ns = summary["p99"] if summary else None
        assert row["service_p99_us"] == ("" if p99_ns is None else str(p99_ns / 1000))
        assert row["throughput_per_s"] == ("" if rate is None else str(rate))
        assert None not in row.values()  # no row is shorter than its head


def test_every_column_with_a_measure_names_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    head, *_ = exported(capsys, REFERENCE, "--csv").splitlines()
    units = r"(_us|_ms|_per_s|_s|_bytes|_fraction|_per_request)$"
    counts = r"^(requests_|clients_|server_threads|server_descriptors)"
    figures = head.split(",")[head.split(",").index("clients_attempted") :]
    assert [each for each in figures if not re.search(f"{units}|{counts}", each)] == []


def test_hostile_texts_stay_in_their_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records.record()
    said = '<script>alert("1")</script>, x\nnext line'
    record["verdict"] |= {"valid": False, "reasons": [said]}
    run = records.write_run(tmp_path / "run", [record])

    out = tmp_path / "trials.csv"
    exported(capsys, run, "--csv", "--out", out)
    with out.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["reasons"] == said


def test_percentiles_are_those_of_the_stored_histograms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.sound_run(tmp_path / "run")
    out = tmp_path / "hgrm"
    paths = [Path(line) for line in exported(capsys, run, "--hgrm", "--out", out).splitlines()]

    cells = analysis.load(run).cells.values()
    assert sorted(out.iterdir()) == sorted(paths)
    assert len(paths) == len(cells)  # the closed loop has service times only
    for path, data in zip(paths, cells, strict=True):
        assert path.name.endswith("-service-ns.hgrm")
        answered, _ = data.merged("service")
        lines = path.read_text().splitlines()
        assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        found = [line.split() for line in lines if re.match(r" *\d", line)]
        assert float(found[-1][1]) == 1.0
        assert int(found[-1][2]) == answered.get_total_count()
        for value, share, *_ in found[:-3]:
            expected_ns = histogram.percentile(answered, 100 * float(share))
            if expected_ns is not None:
                assert float(value) == pytest.approx(expected_ns, rel=2e-3)
        assert lines[-1] == "#[Unanswered = 0]"


def test_what_was_never_answered_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records.record()
    summary = record["latency_ns"]["service"]
    assert summary is not None
    summary["censored"] = 7
    run = records.write_run(tmp_path / "run", [record])

    (line,) = exported(capsys, run, "--hgrm", "--out", tmp_path / "out").splitlines()
    assert Path(line).read_text().endswith("#[Unanswered = 7]\n")


def test_names_of_files_are_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [records.record("../../<script>" + "x" * 500), records.record("../../<script>y")]
    run = records.write_run(tmp_path / "run", rows)
    out = tmp_path / "out"
    exported(capsys, run, "--hgrm", "--out", out)

    names = [path.name for path in out.iterdir()]
    assert len(names) == 2
    assert all(re.fullmatch(r"[\w.=,-]{1,200}", name) for name in names)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("", 2, "one of the arguments --csv --hgrm is required"),
        ("--csv --hgrm", 2, "not allowed"),
        ("--hgrm", 2, "name a new folder for them by --out"),
        ("--csv --out {run}", 1, "exists: name a new file or folder"),
        ("--csv --out {run}/no/such.csv", 1, "No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_said(
    words: str, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record()])
    assert said in expect_error(capsys, status, "export", run, *words.format(run=run).split())


def test_a_run_of_void_trials_has_rows_and_no_percentiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record(steal=0.5)])

    assert len(exported(capsys, run, "--csv").splitlines()) == 2
    said = expect_error(capsys, 1, "export", run, "--hgrm", "--out", tmp_path / "out")
    assert "holds no latency of a valid trial" in said


def test_a_run_without_trials_is_nothing_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [])
    assert "holds no whole trial" in expect_error(capsys, 1, "export", run, "--csv")
    assert json.loads((run / "run.json").read_text())
