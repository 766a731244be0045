"""What people type on the command line, and what it stands for."""

import argparse
from collections.abc import Sequence
from typing import Any

from loadgen.commands import UsageError, UserError
from loadgen.target.address import Address
from servers import catalog
from servers.catalog import Model


def host_and_port(text: str) -> Address:
    """The type of an option: 127.0.0.1:8000, localhost:8000, [::1]:8000.

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


def intermixed(parser: argparse.ArgumentParser) -> None:
    """Let words stand before, between and behind options, as people type them. Otherwise argparse
    takes the first words that it meets for all there are (library: parse_intermixed_args)."""
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


def resolve(address: Address) -> Address:
    """The numeric address at which somebody listens, of all that a host's name stands for.

    Raises UserError when nobody does.
    """
    from loadgen.clients import scripted

    try:
        return scripted.resolve(address)
    except scripted.UnreachableError as error:
        raise UserError(str(error)) from error
