"""What people type on the command line, and what it stands for."""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from loadgen.commands import UsageError, UserError
from loadgen.target.address import Address
from servers import catalog
from servers.catalog import Model


def host_and_port(text: str) -> Address:
    """The type of an option: 127.0.0.1:8000, localhost:8000, [::1]:8000, unix:PATH.

    Raises argparse.ArgumentTypeError.
    """
    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def names(text: str) -> list[str]:
    """The type of an option: a,b,c. Raises argparse.ArgumentTypeError."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return found


UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """The type of an option that takes a length of time: 10, 10s, 500ms, 1.5m, 2h, 30d.

    Raises argparse.ArgumentTypeError.
    """
    unit = text.lstrip("+-.0123456789 ").strip()
    try:
        if unit in UNITS_S:
            return float(text.strip().removesuffix(unit)) * UNITS_S[unit]
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is no length of time, such as 10, 10s, 500ms or 1m"
        ) from error


LONGEST_NAME, LONGEST_NOTE = 60, 1000


def name(text: str) -> str:
    """The type of an option: what a run is called by people, a short line of any characters that
    can be seen. Raises argparse.ArgumentTypeError."""
    return _for_people("a name", text, LONGEST_NAME)


def note(text: str) -> str:
    """The type of an option, as `name`, and longer."""
    return _for_people("a note", text, LONGEST_NOTE)


def _for_people(what: str, text: str, longest: int) -> str:
    told = text.strip()
    if not told or len(told) > longest:
        raise argparse.ArgumentTypeError(f"{what} has 1 to {longest} characters, not {len(told):,}")
    if not told.isprintable():
        raise argparse.ArgumentTypeError(f"{what} is one line of characters that can be seen")
    return told


Completer = Callable[..., Iterable[str]]


def completed(action: argparse.Action, completer: Completer) -> None:
    """Say what a shell may offer for an option or a word (library: argcomplete, Completers)."""
    action.completer = completer  # type: ignore[attr-defined]


def one_of(known: Callable[[], Iterable[str]]) -> Completer:
    """Offer these names."""
    return lambda **_: known()


def some_of(known: Callable[[], Iterable[str]]) -> Completer:
    """Offer these names behind the commas of a list, too; those that it has are left out."""

    def offered(prefix: str, **_: object) -> list[str]:
        *before, _last = prefix.split(",")
        return [",".join([*before, name]) for name in known() if name not in before]

    return offered


def server_names() -> list[str]:
    """For a completer."""
    return [model.name for model in catalog.MODELS]


def experiment_names() -> Sequence[str]:
    """For a completer."""
    from loadgen import experiments

    return experiments.ALL


def run_folders(prefix: str = "", **_: object) -> list[str]:
    """A completer: runs in the folder that is being typed, `results` to begin with, and folders
    that may hold some."""
    typed = Path(prefix or "results/")
    parent = typed if not prefix or prefix.endswith("/") else typed.parent
    try:
        found = [each for each in parent.iterdir() if each.is_dir() and each.name[0] != "."]
    except OSError:
        return []
    return [f"{each}" if (each / "run.json").exists() else f"{each}/" for each in sorted(found)]


def intermixed(parser: argparse.ArgumentParser) -> None:
    """Let words stand before, between and behind options, as people type them. Otherwise argparse
    takes the first words that it meets for all there are (library: parse_intermixed_args)."""
    if "_ARGCOMPLETE" in os.environ:  # its library reads the command line in its own way
        return
    plain = parser.parse_known_args

    def parse(args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        parser.parse_known_args = plain  # type: ignore[method-assign]
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            parser.parse_known_args = parse  # type: ignore[assignment, method-assign]

    parser.parse_known_args = parse  # type: ignore[assignment, method-assign]


ALL_SERVERS = "all"


def servers(names: Sequence[str] | None) -> list[Model]:
    """The servers of these names; `all` is every one, and none are the usual ones. Raises
    UsageError."""
    if not names:
        return catalog.usual()
    if list(names) == [ALL_SERVERS]:
        return list(catalog.MODELS)
    try:
        return [catalog.find(name) for name in names]
    except KeyError as error:
        raise UsageError(error.args[0]) from error


def interpreter(text: str) -> str:
    """The type of an option: an interpreter that can run servers of ours, by its path or a name
    that is looked for as a shell does. Raises argparse.ArgumentTypeError."""
    from loadgen.target.interpreter import InterpreterError, examine

    try:
        examine(text)
    except InterpreterError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def resolve(address: Address, by_datagrams: bool = False) -> Address:
    """The numeric address at which somebody listens, of all that a host's name stands for; or
    answers datagrams.

    Raises UserError when nobody does.
    """
    from loadgen.clients import scripted

    try:
        return (scripted.resolve_datagrams if by_datagrams else scripted.resolve)(address)
    except scripted.UnreachableError as error:
        raise UserError(str(error)) from error
