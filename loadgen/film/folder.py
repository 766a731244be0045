"""Films in the folder of a run: one compressed file each, whose form is checked when it is read."""

import gzip
import json
import zlib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from loadgen.film.film import Film

FILMS_NAME = "films"
SUFFIX = ".json.gz"
_FILM: TypeAdapter[Film] = TypeAdapter(Film)


def write(film: Film, folder: Path) -> Path:
    """Store a film in a folder that exists; the same film gives the same bytes. Raises OSError."""
    path = folder / f"{film['server']}{SUFFIX}"
    text = json.dumps(film, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def read(run_path: Path) -> tuple[dict[str, Film], dict[str, str]]:
    """The films of a run by server; and of those that cannot be shown, why, in words."""
    films: dict[str, Film] = {}
    broken: dict[str, str] = {}
    folder = run_path / FILMS_NAME
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []:
        name = path.name.removesuffix(SUFFIX)
        try:
            films[name] = _FILM.validate_python(json.loads(gzip.decompress(path.read_bytes())))
        except (gzip.BadGzipFile, EOFError, zlib.error):
            broken[name] = "its film is not whole, or not compressed"
        except OSError as error:
            broken[name] = f"its film cannot be read: {error.strerror}"
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            broken[name] = f"its film is not in the form of one: {where}: {first['msg']}"
        except (ValueError, RecursionError):
            broken[name] = "its film is not JSON"
    return films, broken
