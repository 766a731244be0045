"""The run folder: what was planned, and one line per trial. A kill costs the trial in flight.

`run.json` is written once and never changed. `trials.jsonl` only grows; every line carries a hash
of itself and of everything before it, so that `loadgen audit` finds a record changed by hand.
"""

import errno
import fcntl
import functools
import gzip
import hashlib
import json
import os
import random
import subprocess
import types
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from io import FileIO
from pathlib import Path
from typing import (
    Any,
    NotRequired,
    TypedDict,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

SCHEMA = 1
RESULTS = Path("results")
HEADER_NAME = "run.json"
TRIALS_NAME = "trials.jsonl"
LATEST_NAME = "latest"
LIBRARIES = ("numba", "numpy", "scipy", "hdrhistogram", "psutil", "matplotlib")

T = TypeVar("T")


class ResultsError(Exception):
    """A run folder cannot be used. The text is one line that says what is wrong and what to do."""


class Server(TypedDict):
    name: str
    family: str | None
    python: str | None
    command: list[str] | None


class Counts(TypedDict):
    """Requests of the window; `scheduled` is the sum of the others."""

    scheduled: int
    ok: int
    wrong: int
    error: int
    unfinished: int


class Connections(TypedDict):
    attempted: int
    greeted: int
    failed: dict[str, int]
    limit: NotRequired[str | None]
    active: NotRequired[int | None]
    slow_sent_bytes: NotRequired[int | None]
    lost: NotRequired[dict[str, int] | None]


class Summary(TypedDict):
    """Nanoseconds; a percentile is null when too few samples lie beyond it, or it was censored."""

    n: int
    mean: float | None
    min: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    p99_9: float | None
    max: float | None
    censored: NotRequired[int]
    at_least: NotRequired[dict[str, float]]


class Verdict(TypedDict):
    valid: bool
    limiter: str
    reasons: list[str]


class Record(TypedDict):
    """One trial: one line of `trials.jsonl`. What was not measured is null."""

    schema: int
    experiment: str
    cell: str
    block: int
    order: int
    started_at: str
    seed: int
    outcome: str
    failure: NotRequired[str | None]
    server: Server
    workload: dict[str, Any]
    counts: Counts
    connections: Connections
    throughput_per_s: float | None
    latency_ns: dict[str, Summary | None]
    histograms: dict[str, str | None]
    generator: dict[str, Any] | None
    server_cost: dict[str, Any] | None
    machine: dict[str, Any] | None
    fairness: NotRequired[dict[str, Any] | None]
    footprint: NotRequired[dict[str, Any] | None]
    verdict: Verdict
    knee: NotRequired[dict[str, Any] | None]
    timeline: NotRequired[dict[str, Any] | None]
    system_calls: NotRequired[dict[str, Any] | None]
    sha256: NotRequired[str]


class Header(TypedDict):
    """`run.json`. The plan holds at least `cells` (ids) and `blocks` (how often each, at least)."""

    schema: int
    created_at: str
    profile: str
    seed: int
    plan: dict[str, Any]
    environment: dict[str, Any]
    versions: dict[str, str]
    git_commit: str | None


@dataclass(frozen=True)
class RunFolder:
    """A run as stored.

    whole_bytes     length of trials.jsonl without a line that was cut off
    cut_off_bytes   length of that line
    """

    path: Path
    header: Header
    records: Sequence[Record]
    whole_bytes: int
    cut_off_bytes: int

    def done(self) -> set[tuple[int, str]]:
        """The trials that need no repeating, as (block, cell id)."""
        return {(record["block"], record["cell"]) for record in self.records}


class Trials:
    """`trials.jsonl` opened for appending, by one process at a time. Made by `append_to`."""

    def __init__(self, folder: RunFolder, file: FileIO) -> None:
        self.folder = folder
        self._file = file
        self._hash = chain_start(folder.header)
        if folder.records:
            self._hash = folder.records[-1].get("sha256", self._hash)

    def append(self, record: Record) -> Record:
        """Store one trial durably; returns the record as stored, with its hash.

        Raises ResultsError when it cannot be written, and ValueError for NaN or infinity.
        """
        self._hash = chained_hash(record, self._hash)
        stored: Record = {**record, "sha256": self._hash}
        rest = json.dumps(stored, allow_nan=False).encode() + b"\n"
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
    plan: Mapping[str, Any],
    seed: int,
    environment: Mapping[str, Any],
    parent: Path = RESULTS,
    folder: Path | None = None,
) -> Path:
    """Make a new run folder, and let `latest` beside it point at it; returns its path.

    The folder is `parent/<UTC time>-<profile>` unless `folder` names another one, which must be
    empty or not exist; `latest` is left alone then. Nothing that exists is ever overwritten.

    Raises ResultsError.
    """
    header: Header = {
        "schema": SCHEMA,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": profile,
        "seed": seed,
        "plan": dict(plan),
        "environment": dict(environment),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    path = _unused(parent, profile) if folder is None else folder
    try:
        if folder is None:
            path.mkdir(parents=True)
        elif path.is_dir() and any(path.iterdir()):
            raise ResultsError(
                f"{path} is not empty: name another folder, or continue it with --resume"
            )
        else:
            path.mkdir(parents=True, exist_ok=True)
        (path / TRIALS_NAME).touch(exist_ok=False)
        with open(path / HEADER_NAME, "x", encoding="utf-8") as stream:
            json.dump(header, stream, indent=2, allow_nan=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        if folder is None:
            _point_at(path)
    except OSError as error:
        raise _refusal("create", path, error) from error
    return path


def load(path: Path) -> RunFolder:
    """Read a run folder, without a last line that a kill cut off.

    Raises ResultsError for everything else that is missing, broken or newer than this program.
    """
    header = _load_header(path)
    content = _read_trials(path)
    records: list[Record] = []
    whole_bytes = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        where = f"{path / TRIALS_NAME} line {number}"
        try:
            record = _parse(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise ResultsError(
                f"{where} is not JSON: restore the file, or delete the line and resume"
            ) from error
        _require(record, Record, where)
        records.append(record)
        whole_bytes += len(line)
    return RunFolder(path, header, records, whole_bytes, len(content) - whole_bytes)


@contextmanager
def append_to(path: Path) -> Iterator[Trials]:
    """Open a run, new or stopped, to add trials: removes a cut-off last line, keeps others out.

    Raises ResultsError as `load` does, when the run is packed, and when another process is writing
    to it.
    """
    _load_header(path)  # a folder that is no run is named as such before its trials are missed
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
            folder = load(path)
            file.truncate(folder.whole_bytes)
            if folder.whole_bytes:
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


def planned_order(cells: Sequence[T], seed: int, block: int) -> list[T]:
    """The cells (or their ids) of one block in the order they are run in.

    The workloads are shuffled, and within each its servers: by seed and block number. A shared
    host has slow spells of 5 to 10 s, measured: what is compared with each other, the servers
    under one workload, has to run within seconds. A block shuffled as a whole would put minutes
    between them.
    """
    workloads: dict[tuple[str, ...], list[T]] = {}
    for cell in cells:
        experiment, *server_and_rest = str(getattr(cell, "id", cell)).split("/", 2)
        workloads.setdefault((experiment, *server_and_rest[1:]), []).append(cell)
    chance = random.Random(f"{seed}/{block}")
    groups = list(workloads.values())
    chance.shuffle(groups)
    return [cell for group in groups for cell in chance.sample(group, len(group))]


def chain_start(header: Header) -> str:
    """The hash before the first record: that of the header, so that plan and seed are held too."""
    return hashlib.sha256(_canonical(header)).hexdigest()


def chained_hash(record: Record, previous: str) -> str:
    """SHA-256 (hex) of the previous line's hash and the record's canonical JSON without its own."""
    unsigned = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(previous.encode() + _canonical(unsigned)).hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


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


def _point_at(path: Path) -> None:
    """Replace `latest` in one step, so that it never is missing for somebody who looks."""
    fresh = path.with_name(f".{LATEST_NAME}-{os.getpid()}")
    fresh.symlink_to(path.name)
    fresh.replace(path.with_name(LATEST_NAME))


def versions() -> dict[str, str]:
    """Of the libraries that figures depend on."""
    return {name: metadata.version(name) for name in LIBRARIES}


def git_commit() -> str | None:
    """The commit of the lab that measures, with `-dirty` when files differ; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


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

    return json.loads(text, parse_constant=refuse)


def _load_header(path: Path) -> Header:
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ResultsError(f"{path} {what}: name a run folder such as {RESULTS / LATEST_NAME}")
    header_path = path / HEADER_NAME
    try:
        header = _parse(_read(header_path))
    except ValueError as error:
        raise ResultsError(f"{header_path} is not JSON: restore the file") from error
    _require(header, Header, str(header_path))
    return cast(Header, header)


def _require(value: Any, kind: type, where: str) -> None:
    """Raise ResultsError unless `value` has the form of `kind` and a schema that is known here."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ResultsError(
            f"{where} has schema {schema} and this lab reads up to {SCHEMA}: update the lab"
        )
    problem = _mismatch(value, kind, "")
    if problem:
        raise ResultsError(f"{where} is not a {kind.__name__.lower()}: {problem}; restore the file")


_type_hints = functools.cache(get_type_hints)


def _mismatch(value: Any, hint: Any, name: str) -> str | None:
    """What in parsed JSON contradicts a type annotation; None when nothing does."""
    if hint is Any:
        return None
    if is_typeddict(hint):
        if not isinstance(value, dict):
            return f"{name or 'it'} is no object"
        for key, inner in _type_hints(hint).items():
            if key not in value:
                if key in hint.__required_keys__:
                    return f"{_join(name, key)} is missing"
                continue
            if problem := _mismatch(value[key], inner, _join(name, key)):
                return problem
        return None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        problems = [_mismatch(value, argument, name) for argument in arguments]
        return None if None in problems else problems[0]
    if origin is dict:
        if not isinstance(value, dict):
            return f"{name} is no object"
        problems = [
            _mismatch(inner, arguments[1], _join(name, key)) for key, inner in value.items()
        ]
        return next(filter(None, problems), None)
    if origin is list:
        if not isinstance(value, list):
            return f"{name} is no list"
        return next(filter(None, (_mismatch(inner, arguments[0], name) for inner in value)), None)
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        return f"{name} is {value!r:.40}"
    return None


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
