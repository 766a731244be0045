"""What people type on the command line, and what it stands for."""

import argparse
import socket
from collections.abc import Sequence

from loadgen.commands import UsageError, UserError
from servers import catalog
from servers.catalog import Variant

CONNECT_S = 5.0


def host_and_port(text: str) -> tuple[str, int]:
    """The type of an option: 127.0.0.1:8000, localhost:8000, [::1]:8000.

    Raises argparse.ArgumentTypeError.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host.strip("[]"), int(port)


def names(text: str) -> list[str]:
    """The type of an option: a,b,c. Raises argparse.ArgumentTypeError."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return found


def servers(names: Sequence[str] | None) -> list[Variant]:
    """The servers of these names; all of the catalog where none is named. Raises UsageError."""
    try:
        return [catalog.find(name) for name in names or ()] or list(catalog.VARIANTS)
    except KeyError as error:
        raise UsageError(error.args[0]) from error


def resolve(address: tuple[str, int]) -> tuple[str, int]:
    """The numeric address at which somebody listens, of all that a host's name stands for.

    Raises UserError when nobody does within CONNECT_S.
    """
    from loadgen.report.units import endpoint

    try:
        with socket.create_connection(address, CONNECT_S) as sock:
            host, port, *_ = sock.getpeername()
            return host, port
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: no name at all (idna)
        raise UserError(f"cannot resolve {address[0]!r}") from error
    except ConnectionRefusedError as error:
        raise UserError(f"nobody listens at {endpoint(address)}") from error
    except OSError as error:
        raise UserError(f"cannot connect to {endpoint(address)}: {error}") from error
