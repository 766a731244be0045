"""The run folder: what was planned, and one line per trial. A kill costs the trial in flight.

`run.json` is written once and never changed. `trials.jsonl` only grows; every line carries a hash
of itself and of everything before it (chain.py). The form of both is in schema.py; runs of the
form before are read through upgrade.py.
"""

import errno
import fcntl
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from loadgen.store import chain, provenance, schema, upgrade
from loadgen.store.schema import SCHEMA, Calibration, Environment, Header, Plan, Record
from servers import catalog

RESULTS = Path("results")
HEADER_NAME = "run.json"
TRIALS_NAME = "trials.jsonl"
SOURCES_NAME = "servers"
LATEST_NAME = "latest"

T = TypeVar("T")


class ResultsError(Exception):
    """A run folder cannot be used. The text is one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class RunFolder:
    """A run as stored.

    raw_header, raw_records  as they stand in the files: what hashes are made of
    ends_bytes      where in trials.jsonl each record ends
    cut_off_bytes   length of a last line that was cut off
    """

    path: Path
    header: Header
    records: Sequence[Record]
    raw_header: Mapping[str, Any]
    raw_records: Sequence[Mapping[str, Any]]
    ends_bytes: Sequence[int]
    cut_off_bytes: int


class Trials:
    """`trials.jsonl` opened for appending, by one process at a time. Made by `append_to`."""

    def __init__(self, folder: RunFolder, file: FileIO) -> None:
        self.folder = folder
        self._file = file
        self._hash = chain.start(folder.raw_header)
        if folder.records:
            self._hash = folder.records[-1]["sha256"]

    def append(self, records: Sequence[Record]) -> list[Record]:
        """Store what was measured together durably, in one piece; returns it as stored, with its
        hashes.

        Raises ResultsError when it cannot be written, and ValueError for what is no record.
        """
        stored: list[Record] = []
        for record in records:
            self._hash = chain.link(schema.record(record), self._hash)
            stored.append({**record, "sha256": self._hash})
        rest = b"".join(json.dumps(one, allow_nan=False).encode() + b"\n" for one in stored)
        try:
            while rest:  # a disk that is nearly full takes a part (write(2))
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _refusal("write", self.folder.path / TRIALS_NAME, error) from error
        return stored


def create(
    profile: str,
    *,
    plan: Plan,
    seed: int,
    environment: Environment,
    calibration: Sequence[Calibration] = (),
    parent: Path = RESULTS,
    folder: Path | None = None,
    is_latest: bool = True,
    name: str | None = None,
    note: str | None = None,
) -> Path:
    """Make a new run folder, and let `latest` beside it point at it; returns its path.

    The folder is `parent/<UTC time>-<profile>` unless `folder` names another one, which must be
    empty or not exist; `latest` is left alone then, and where it is not to be this run. Nothing
    that exists is ever overwritten. `name` and `note` are for people.

    Raises ResultsError.
    """
    sources = provenance.sources()
    header: Header = {
        "schema": SCHEMA,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": profile,
        "name": name,
        "note": note,
        "seed": seed,
        "plan": plan,
        "catalog": provenance.catalog(),
        "sources": {name: provenance.digest(content) for name, content in sources.items()},
        "calibration": list(calibration),
        "environment": environment,
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
    }
    schema.header(header)
    path = _unused(parent, profile) if folder is None else folder
    try:
        if folder is None:
            path.mkdir(parents=True)
        else:
            expect_new(path)
            path.mkdir(parents=True, exist_ok=True)
        (path / TRIALS_NAME).touch(exist_ok=False)
        (path / SOURCES_NAME).mkdir()
        for name, content in sources.items():
            (path / SOURCES_NAME / name).write_bytes(content)
        with open(path / HEADER_NAME, "x", encoding="utf-8") as stream:
            json.dump(header, stream, indent=2, allow_nan=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        if folder is None and is_latest:
            point_at(path)
    except OSError as error:
        raise _refusal("create", path, error) from error
    return path


def expect_new(path: Path) -> None:
    """Refuse a folder that `create` would refuse, before anything is measured: that disturbs
    whoever is measuring in it. Raises ResultsError."""
    if path.is_dir() and any(path.iterdir()):
        raise ResultsError(
            f"{path} is not empty: name another folder, or continue it with --resume"
        )
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK, effective_ids=True):
        raise ResultsError(f"cannot create {path}: {nearest} cannot be written to")


def load(path: Path) -> RunFolder:
    """Read a run folder, without a last line that a kill cut off.

    Raises ResultsError for everything else that is missing, broken or newer than this program.
    """
    raw_header, header = _load_header(path)
    content = _read_trials(path)
    records: list[Record] = []
    raw_records: list[Mapping[str, Any]] = []
    ends_bytes: list[int] = []
    whole_bytes = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        where = f"{path / TRIALS_NAME} line {number}"
        try:
            raw = _parse(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise ResultsError(
                f"{where} is not JSON: restore the file, or delete the line and resume"
            ) from error
        records.append(_in_form(raw, "record", upgrade.RECORDS, schema.record, where))
        raw_records.append(raw)
        whole_bytes += len(line)
        ends_bytes.append(whole_bytes)
    cut_off_bytes = len(content) - whole_bytes
    return RunFolder(path, header, records, raw_header, raw_records, ends_bytes, cut_off_bytes)


def load_header(path: Path) -> Header:
    """What a run says of itself. Raises ResultsError."""
    return _load_header(path)[1]


def expect_run(path: Path) -> None:
    """Raises ResultsError for what is no run."""
    load_header(path)


def trial_lines(path: Path) -> list[bytes]:
    """The lines of a run's trials as they are stored, unread. Raises ResultsError."""
    return _read_trials(path).splitlines()


@contextmanager
def append_to(path: Path, whole: Callable[[Sequence[Record]], int] = len) -> Iterator[Trials]:
    """Open a run, new or stopped, to add trials: removes a cut-off last line, keeps others out.

    whole   how many of the records to keep: the rest is removed too

    Raises ResultsError as `load` does, when the run is packed or of an older schema, and when
    another process is writing to it.
    """
    # A folder that is no run is named as such before its trials are missed.
    raw_header, _ = _load_header(path)
    if raw_header["schema"] != SCHEMA:
        raise ResultsError(
            f"{path} has schema {raw_header['schema']} and this lab writes {SCHEMA}:"
            " start a new run"
        )
    trials_path = path / TRIALS_NAME
    packed = _packed(path)
    if packed.exists() and not trials_path.exists():
        raise ResultsError(f"{path} is packed: `gunzip {packed}` to continue it")
    try:
        # Nothing is kept back in a buffer that a full disk would refuse once more on closing.
        file = FileIO(trials_path, "r+")
    except OSError as error:
        raise _refusal("write", trials_path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = _first(load(path), whole)
            whole_bytes = folder.ends_bytes[-1] if folder.ends_bytes else 0
            file.truncate(whole_bytes)
            if whole_bytes:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        except BlockingIOError as error:
            raise ResultsError(
                f"{path} is being written by another process: wait for it"
            ) from error
        except OSError as error:
            raise _refusal("write", trials_path, error) from error
        yield Trials(folder, file)


def _first(folder: RunFolder, whole: Callable[[Sequence[Record]], int]) -> RunFolder:
    keep = slice(whole(folder.records))
    return replace(
        folder,
        records=folder.records[keep],
        raw_records=folder.raw_records[keep],
        ends_bytes=folder.ends_bytes[keep],
    )


def _refusal(verb: str, path: Path, error: OSError) -> ResultsError:
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason += ": choose a folder that can be written to"
    return ResultsError(f"cannot {verb} {path}: {reason}")


def _unused(parent: Path, profile: str) -> Path:
    latest = parent / LATEST_NAME
    if latest.exists() and not latest.is_symlink():
        raise ResultsError(f"{latest} is not a symbolic link: move it out of the way")
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{profile}"
    names = [name, *(f"{name}-{again}" for again in range(2, 100))]
    return next(parent / name for name in names if not (parent / name).exists())


def point_at(path: Path) -> None:
    """Let `latest` beside a run be this one, in one step: it never is missing for somebody who
    looks. Raises OSError."""
    fresh = path.with_name(f".{LATEST_NAME}-{os.getpid()}")
    fresh.symlink_to(path.name)
    fresh.replace(path.with_name(LATEST_NAME))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ResultsError(f"{path} does not exist: is {path.parent} a run folder?") from error
    except OSError as error:
        raise _refusal("read", path, error) from error


def _read_trials(path: Path) -> bytes:
    """The trials of a run; a finished one may be kept compressed (`gzip trials.jsonl`)."""
    packed = _packed(path)
    if (path / TRIALS_NAME).exists() or not packed.exists():
        return _read(path / TRIALS_NAME)
    try:
        return gzip.decompress(_read(packed))
    except (EOFError, OSError, zlib.error) as error:
        raise ResultsError(f"{packed} is not a whole gzip file: restore the file") from error


def _packed(path: Path) -> Path:
    return path / f"{TRIALS_NAME}.gz"


def _parse(text: bytes) -> Any:
    """JSON without the NaN and Infinity that Python would accept. Raises ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("brackets within brackets, without end") from error


def _load_header(path: Path) -> tuple[Mapping[str, Any], Header]:
    """`run.json` as it stands there, and in today's form."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else f"does not exist{_guess(path)}"
        raise ResultsError(f"{path} {what}: name a run folder such as {RESULTS / LATEST_NAME}")
    header_path = path / HEADER_NAME
    try:
        raw = _parse(_read(header_path))
    except ValueError as error:
        raise ResultsError(f"{header_path} is not JSON: restore the file") from error
    return raw, _in_form(raw, "header", upgrade.HEADERS, schema.header, str(header_path))


def _guess(path: Path) -> str:
    """Which run beside it may have been meant, or in the folder where runs are."""
    try:
        known = [each.name for each in path.parent.iterdir() if (each / HEADER_NAME).exists()]
    except OSError:
        return ""
    return catalog.guess(path.name, known)


def _in_form(
    raw: Any,
    what: str,
    steps: Mapping[int, upgrade.Step],
    checked: Callable[[object], T],
    where: str,
) -> T:
    """Parsed JSON in today's form. Raises ResultsError for another form and for a newer schema."""
    number = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(number, int) and number > SCHEMA:
        raise ResultsError(
            f"{where} has schema {number} and this lab reads up to {SCHEMA}: update the lab"
        )
    try:
        return checked(upgrade.upgraded(raw, steps) if isinstance(raw, dict) else raw)
    except KeyError as error:
        problem = f"{error.args[0]} is missing"
    except (AttributeError, TypeError, ValueError) as error:
        problem = str(error)
    raise ResultsError(f"{where} is not a {what}: {problem}; restore the file")
