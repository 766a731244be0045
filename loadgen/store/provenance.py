"""What a run was made with: libraries, the commit of the lab, the catalog and the servers' sources.

A run stands alone: its pictures are drawn, and its servers read, from what is stored with it.
"""

import hashlib
import subprocess
from importlib import metadata
from pathlib import Path

import servers
from loadgen.store.schema import Model
from servers.catalog import every

LIBRARIES = ("numba", "numpy", "scipy", "hdrhistogram", "psutil", "matplotlib")


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


def catalog() -> list[Model]:
    """How the models are shown, in reading order."""
    return [
        {
            "name": model.name,
            "family": model.family,
            "idea": model.idea,
            "waits": model.waits,
            "cost": model.cost,
            "breaks": model.breaks,
            "colour": model.colour,
            "marker": model.marker,
            "sleeps": model.sleeps,
        }
        for model in every()
    ]


def sources() -> dict[str, bytes]:
    """File name => contents of every module of the servers."""
    (folder,) = servers.__path__
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.py"))}


def digest(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()
