"""The runs that lie in one folder: what they are, which may go, and what they are called."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadgen.store import runs
from loadgen.store.runs import HEADER_NAME, LATEST_NAME, TRIALS_NAME, ResultsError

# What is quoted by a README is called so, and stays even where git does not know it.
QUOTED = "reference"
LONGEST_FOLDER_NAME = 100


@dataclass(frozen=True)
class Stored:
    """A run, as far as it can be read; one that cannot has a problem, and neither date nor trials.

    void   trials that do not count
    kept   why it is never deleted; None: it may be
    """

    path: Path
    size_bytes: int
    kept: str | None
    problem: str | None = None
    created_at: datetime | None = None
    profile: str = ""
    name: str | None = None
    note: str | None = None
    servers: tuple[str, ...] = ()
    trials: int = 0
    void: int = 0


def stored(parent: Path) -> list[Stored]:
    """All runs in a folder, the newest first, and what cannot be read last.

    Raises ResultsError when there is no such folder.
    """
    try:
        folders = [each for each in sorted(parent.iterdir()) if _is_run(each)]
    except OSError as error:
        raise ResultsError(f"cannot read {parent}: {error.strerror}") from error
    committed, latest = _committed(parent), _latest(parent)
    found = [_examined(folder, _kept(folder, committed, latest)) for folder in folders]
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda each: each.created_at or never, reverse=True)


def disposable(
    found: Sequence[Stored], keep: int, older_than_s: float, now: datetime
) -> list[Stored]:
    """Which of these runs may be deleted, the newest first, when the newest `keep` of those that
    may go stay, and whatever is not so old."""
    ours = [each for each in found if each.kept is None and each.created_at is not None]
    return [
        each
        for each in ours[keep:]
        if each.created_at and (now - each.created_at).total_seconds() >= older_than_s
    ]


def delete(run: Stored) -> None:
    """Delete a run for good. Raises ResultsError, also where somebody has begun to write to it."""
    with _not_being_written(run.path):
        try:
            shutil.rmtree(run.path)
        except OSError as error:
            raise ResultsError(f"cannot delete {run.path}: {error.strerror}") from error


def rename(folder: Path, name: str) -> Path:
    """Call the folder of a run otherwise, and let `latest` go with it; returns the new path. What
    the run says of itself stays as it is, and so do its hashes.

    Raises ResultsError.
    """
    runs.expect_run(folder)
    fit = name.isprintable() and not name.startswith(".") and "/" not in name
    if not fit or not 0 < len(name.encode()) <= LONGEST_FOLDER_NAME or name == LATEST_NAME:
        raise ResultsError(
            f"{name[:40]!r} cannot be the name of a run: it is a folder beside the others, of 1 to"
            f" {LONGEST_FOLDER_NAME} bytes"
        )
    folder = folder.resolve()
    target = folder.with_name(name)
    if target.exists():
        raise ResultsError(f"{target} exists: choose another name")
    if folder.name in _committed(folder.parent):
        raise ResultsError(f"{folder} is committed: rename it by `git mv`")
    was_latest = _latest(folder.parent) == folder
    with _not_being_written(folder):
        try:
            folder.rename(target)
            if was_latest:
                runs.point_at(target)
        except OSError as error:
            raise ResultsError(f"cannot rename {folder}: {error.strerror}") from error
    return target


def _is_run(folder: Path) -> bool:
    """A folder of its own that a run was begun in, whatever became of it."""
    return not folder.is_symlink() and any(
        (folder / name).exists() for name in (HEADER_NAME, TRIALS_NAME)
    )


def _kept(folder: Path, committed: set[str], latest: Path | None) -> str | None:
    if folder.name in committed:
        return "committed"
    if folder.name.startswith(QUOTED):
        return "a reference"
    if latest is not None and folder.resolve() == latest:
        return "latest"
    return None


def _examined(folder: Path, kept: str | None) -> Stored:
    size_bytes = sum(each.lstat().st_size for each in folder.rglob("*") if not each.is_dir())
    try:
        header = runs.load_header(folder)
        valid = [_is_valid(line) for line in runs.trial_lines(folder)]
    except ResultsError as error:
        return Stored(folder, size_bytes, kept, str(error))
    try:
        created_at = datetime.fromisoformat(header["created_at"])
        created_at = created_at.astimezone(UTC)
    except ValueError:
        problem = f"{folder / HEADER_NAME} has no date: {header['created_at'][:40]!r}"
        return Stored(folder, size_bytes, kept, problem)
    return Stored(
        folder,
        size_bytes,
        kept,
        None,
        created_at,
        header["profile"],
        header["name"],
        header["note"],
        tuple(header["plan"]["servers"]),
        len(valid),
        sum(each is False for each in valid),
    )


def _is_valid(line: bytes) -> bool | None:
    """Does a trial count? None where nobody can tell: the line is cut off, or no record."""
    try:
        return bool(json.loads(line)["verdict"]["valid"])
    except (KeyError, TypeError, ValueError):
        return None


def _committed(parent: Path) -> set[str]:
    """The names in a folder that git holds files of; none where there is no git."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"],
            cwd=parent,
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {os.fsdecode(path).split("/")[0] for path in done.stdout.split(b"\0") if path}


def _latest(parent: Path) -> Path | None:
    link = parent / LATEST_NAME
    return link.resolve() if link.is_symlink() else None


@contextmanager
def _not_being_written(folder: Path) -> Iterator[None]:
    """Keep others from writing to a run. Raises ResultsError when somebody does."""
    try:
        file = os.open(folder / TRIALS_NAME, os.O_RDONLY)
    except OSError:  # packed, or broken: nobody can write to it
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ResultsError(f"{folder} is being written by another process: wait for it") from error
    finally:
        os.close(file)
