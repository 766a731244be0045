"""The run folder survives kills and hand edits, or says in one line what is wrong with it."""

import gzip
import itertools
import json
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import records

from loadgen.store import chain, provenance, runs, schema
from loadgen.store.runs import ResultsError

PLAN = records.plan([records.cell(server).as_record() for server in ("poll", "epoll")], blocks=2)


def create(parent: Path, **options: Any) -> Path:
    return runs.create(
        "quick", plan=PLAN, seed=7, environment=records.MACHINE, parent=parent, **options
    )


def open_to_append(path: Path) -> None:
    with runs.append_to(path):
        pass


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return records.write_run(tmp_path / "run", [records.record(block=block) for block in range(3)])


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that this process cannot write to, although the tests may run as root."""
    # Whoever we become may not look into our checkout: what is stored of it is read before.
    versions, sources = provenance.versions(), provenance.sources()
    monkeypatch.setattr(provenance, "versions", lambda: versions)
    monkeypatch.setattr(provenance, "sources", lambda: sources)
    folder = Path(tempfile.mkdtemp(prefix="unwritable-"))
    effective = os.geteuid()
    folder.chmod(0o755)
    records.write_run(folder / "run", [records.record()])
    for path in (folder, folder / "run", *(folder / "run").iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if effective == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(effective)
        for path in (folder, folder / "run"):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_new_folder_is_named_by_time_and_profile_and_latest_points_at_it(tmp_path: Path) -> None:
    path = create(tmp_path)

    assert re.fullmatch(r"\d{8}T\d{6}Z-quick", path.name)
    assert (tmp_path / "latest").resolve() == path.resolve()
    assert os.readlink(tmp_path / "latest") == path.name


def test_the_header_says_what_was_run_by_which_program(tmp_path: Path) -> None:
    header = runs.load(create(tmp_path)).header

    assert header["schema"] == schema.SCHEMA
    assert header["seed"] == 7
    assert header["plan"] == PLAN
    assert set(header["versions"]) == set(provenance.LIBRARIES)


def test_runs_started_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    paths = [create(tmp_path) for _ in range(5)]

    assert len(set(paths)) == 5
    assert (tmp_path / "latest").resolve() == paths[-1].resolve()


def test_a_folder_that_was_named_may_be_empty_but_is_never_overwritten(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()

    assert create(tmp_path, folder=chosen) == chosen
    assert not (tmp_path / "latest").exists()
    with pytest.raises(ResultsError, match=r"not empty.*--resume"):
        create(tmp_path, folder=chosen)


def test_a_folder_that_cannot_be_made_is_refused_beforehand(unwritable: Path) -> None:
    with pytest.raises(ResultsError, match="cannot be written to"):
        runs.expect_new(unwritable / "deep" / "er")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot be written to"):
        runs.expect_new(tmp_path / "file")


def test_a_latest_that_is_no_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()

    with pytest.raises(ResultsError, match="not a symbolic link"):
        create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ResultsError, match=r"cannot create .*file"):
        create(tmp_path / "file")


def test_what_was_appended_is_loaded(run: Path) -> None:
    folder = runs.load(run)

    assert [record["block"] for record in folder.records] == [0, 1, 2]
    lines = (run / "trials.jsonl").read_bytes().splitlines(keepends=True)
    assert folder.ends_bytes == list(itertools.accumulate(map(len, lines)))
    assert folder.cut_off_bytes == 0


def test_every_record_is_on_disk_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with runs.append_to(path) as trials:
        trials.append([records.record()])
        assert synced == [(path / "trials.jsonl").stat().st_size]
        assert len(runs.load(path).records) == 1


def test_a_kill_at_any_byte_costs_one_trial(run: Path) -> None:
    trials_path = run / "trials.jsonl"
    whole = trials_path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for length in {last, last + 1, last + 100, len(whole) - 2, len(whole) - 1, len(whole)}:
        trials_path.write_bytes(whole[:length])
        survivors = len(runs.load(run).records)
        assert survivors == (3 if length >= len(whole) - 1 else 2)

        with runs.append_to(run) as trials:
            assert len(trials.folder.records) == survivors
            trials.append([records.record(block=9)])

        resumed = runs.load(run)
        assert [record["block"] for record in resumed.records] == [*[0, 1, 2][:survivors], 9]
        assert_chained(resumed)


def assert_chained(folder: runs.RunFolder) -> None:
    previous = chain.start(folder.raw_header)
    for record in folder.raw_records:
        previous = chain.link(record, previous)
        assert record["sha256"] == previous


def test_hashes_chain_the_records_to_each_other_and_to_the_header(run: Path) -> None:
    folder = runs.load(run)

    assert_chained(folder)
    assert chain.start({**folder.header, "seed": 2}) != chain.start(folder.header)


def test_only_one_process_writes_to_a_run(run: Path) -> None:
    with runs.append_to(run), pytest.raises(ResultsError, match="another process"):
        open_to_append(run)
    open_to_append(run)


def test_a_full_disk_is_said_once_and_costs_the_trial_in_flight(run: Path) -> None:
    trials_path = run / runs.TRIALS_NAME
    whole_bytes = trials_path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def append() -> None:
        with runs.append_to(run) as trials:
            resource.setrlimit(resource.RLIMIT_FSIZE, (whole_bytes + 100, limits[1]))
            trials.append([records.record(block=3)])

    try:
        with pytest.raises(ResultsError, match=r"cannot write .*trials\.jsonl: File too large"):
            append()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert len(runs.load(run).records) == 3
    with runs.append_to(run) as trials:
        trials.append([records.record(block=3)])
    assert_chained(runs.load(run))
    assert len(runs.load(run).records) == 4


def test_a_figure_that_is_no_number_is_not_stored(run: Path) -> None:
    broken = records.record()
    broken["throughput_per_s"] = float("nan")
    with runs.append_to(run) as trials, pytest.raises(ValueError, match="throughput_per_s"):
        trials.append([broken])
    assert len(runs.load(run).records) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 2 is not JSON"),
        (b"", "line 2 is not JSON"),
        (b'{"schema": NaN}', "line 2 is not JSON"),
        (b"\xff\xfe", "line 2 is not JSON"),
        (b"7", "line 2 is not a record"),
        (b'{"schema": 1}', "workload is missing"),
        (b'{"schema": 2}', "slices is missing"),
        (b'{"schema": 6}', "cell: field required"),
        (b'{"schema": 7}', r"schema 7 and this lab reads up to 6: update"),
    ],
)
def test_a_broken_line_in_the_middle_is_named(run: Path, line: bytes, message: str) -> None:
    trials_path = run / "trials.jsonl"
    lines = trials_path.read_bytes().split(b"\n")
    lines[1] = line
    trials_path.write_bytes(b"\n".join(lines))
    before = trials_path.read_bytes()

    for use in (runs.load, open_to_append):
        with pytest.raises(ResultsError, match=message) as caught:
            use(run)
        assert "\n" not in str(caught.value)
    assert trials_path.read_bytes() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block", "first"),
        ("block", True),
        ("throughput_per_s", "fast"),
        ("counts", {"ok": 1}),
        ("verdict", {"valid": "yes", "bottleneck": "server", "reasons": []}),
        ("verdict", {"valid": True, "bottleneck": "fate", "reasons": []}),
        ("verdict", {"valid": True, "bottleneck": "server", "reasons": [1]}),
        ("latency_ns", {"service": {"n": 1}}),
        ("unheard_of", 1),
        ("histograms", []),
    ],
)
def test_a_record_of_the_wrong_form_is_named(run: Path, field: str, value: object) -> None:
    broken = {**records.record(), field: value}
    with open(run / "trials.jsonl", "a") as stream:
        stream.write(json.dumps(broken) + "\n")

    with pytest.raises(ResultsError, match=f"line 4 is not a record: {field}"):
        runs.load(run)


def test_a_missing_folder_or_file_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nowhere does not exist"):
        runs.load(tmp_path / "nowhere")
    with pytest.raises(ResultsError, match="is not a folder"):
        runs.load(run / "run.json")
    (run / "trials.jsonl").unlink()
    for use in (runs.load, open_to_append):
        with pytest.raises(ResultsError, match=r"trials\.jsonl"):
            use(run)
    (run / "run.json").unlink()
    for use in (runs.load, open_to_append):
        with pytest.raises(ResultsError, match=r"run\.json does not exist"):
            use(run)


def test_a_broken_or_newer_header_is_named(run: Path) -> None:
    header_path = run / "run.json"
    header = json.loads(header_path.read_text())
    header_path.write_text(json.dumps({**header, "schema": 99}))
    with pytest.raises(ResultsError, match="schema 99"):
        runs.load(run)
    header_path.write_text(json.dumps({**header, "seed": None}))
    with pytest.raises(ResultsError, match=r"not a header: seed: input should be"):
        runs.load(run)
    header_path.write_text("{")
    with pytest.raises(ResultsError, match="not JSON"):
        runs.load(run)


def test_a_read_only_folder_can_be_read_and_says_so_when_written_to(unwritable: Path) -> None:
    assert len(runs.load(unwritable / "run").records) == 1
    for use in (lambda: create(unwritable), lambda: open_to_append(unwritable / "run")):
        with pytest.raises(ResultsError, match="Permission denied: choose a folder"):
            use()


def test_a_finished_run_may_be_kept_compressed(run: Path) -> None:
    plain = runs.load(run)
    assert plain.records
    trials = run / runs.TRIALS_NAME
    packed = trials.with_name(f"{trials.name}.gz")
    packed.write_bytes(gzip.compress(trials.read_bytes()))
    trials.unlink()
    assert runs.load(run).records == plain.records
    with pytest.raises(ResultsError, match=r"is packed: `gunzip .*trials\.jsonl\.gz` to continue"):
        open_to_append(run)

    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ResultsError, match="restore the file"):
        runs.load(run)
