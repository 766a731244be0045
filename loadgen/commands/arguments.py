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


def servers(names: Sequence[str] | None) -> list[Model]:
    """The servers of these names; all of the catalog where none is named. Raises UsageError."""
    try:
        return [catalog.find(name) for name in names or ()] or list(catalog.MODELS)
    except KeyError as error:
        raise UsageError(error.args[0]) from error


def resolve(address: Address) -> Address:
    """The numeric address at which somebody listens, of all that a host's name stands for.

    Raises UserError when nobody does.
    """
    from loadgen.clients import scripted

    try:
        return scripted.resolve(address)
    except scripted.UnreachableError as error:
        raise UserError(str(error)) from error
