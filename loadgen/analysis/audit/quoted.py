"""The hash under which a run is quoted elsewhere: whoever rewrites all of a run changes it.

A README quotes a run in one sentence of this form: `results/reference` ends in hash `0123456789ab`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadgen.store import chain, runs
from loadgen.store.runs import RunFolder

README_NAME = "README.md"
_QUOTE = re.compile(r"`([\w./-]+)`\s+ends\s+in\s+hash\s+`([0-9a-f]+)`")


@dataclass(frozen=True)
class Quote:
    """What a README says: the run in this folder ends in this hash."""

    readme: Path
    folder: Path
    hash: str


def quotes(readme: Path) -> list[Quote]:
    """All that a README says of runs; none where there is no README."""
    try:
        text = readme.read_text()
    except OSError:
        return []
    return [Quote(readme, readme.parent / name, hash) for name, hash in _QUOTE.findall(text)]


def quotes_of(stored: RunFolder, readmes: Iterator[Path]) -> list[Quote]:
    """What READMEs say of a run, or of the one that it is a copy of: begun at the same second with
    the same seed."""
    return [
        quote
        for readme in dict.fromkeys(readmes)
        for quote in quotes(readme)
        if quote.folder.resolve() == stored.path.resolve() or _is_copy(stored, quote.folder)
    ]


def _is_copy(stored: RunFolder, folder: Path) -> bool:
    try:
        header = json.loads((folder / runs.HEADER_NAME).read_text())
        return all(header[name] == stored.header[name] for name in ("created_at", "seed"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def readmes_about(path: Path) -> Iterator[Path]:
    """The READMEs that may quote a run: those above its folder, and that of this lab."""
    for folder in (*path.resolve().parents, Path(__file__).resolve().parents[3]):
        yield folder / README_NAME


def differences(stored: RunFolder, found: list[Quote]) -> Iterator[str]:
    """Where a README quotes another run than this one."""
    last = chain.last(stored.raw_header, stored.raw_records)
    for quote in found:
        if not last.startswith(quote.hash):
            yield (
                f"the run ends in hash {chain.short(last)}, and {_near(quote.readme)} quotes it"
                f" under {quote.hash}: the one or the other was changed"
            )


def sentence(stored: RunFolder, found: list[Quote]) -> str:
    """The hash of the last record, and who quotes the run under it."""
    last = chain.last(stored.raw_header, stored.raw_records)
    said = [_near(quote.readme) for quote in found if last.startswith(quote.hash)]
    if said:
        return f"last hash {chain.short(last)}: {' and '.join(said)} quotes this run under it"
    if found:
        return f"last hash {chain.short(last)}: not the one under which this run is quoted"
    return f"last hash {chain.short(last)}: no README quotes this run"


def _near(path: Path) -> str:
    """A path as seen from here, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
