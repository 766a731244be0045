"""The command line of the servers: options, what may stand behind them, and
what goes together."""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from servers.protocol import MAX_LINE_BYTES, hello

# A socket's name has this many bytes, a zero at its end included (unix(7)).
SUN_PATH_BYTES = 108


# Of `serve`, besides the listener and the sessions, where it takes them.
PARAMETERS = {
    "workers": "threads or processes that share the clients",
    "turns": "receives and sends for one client in a row",
}


def add_options(parser: argparse.ArgumentParser, receive_bytes: int) -> None:
    """Add the options that every server understands.

    receive_bytes  the default of --receive-bytes
    """
    parser.add_argument(
        "--host",
        help="address to listen on (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        help="port to listen on; 0, the default, lets the kernel choose",
    )
    parser.add_argument(
        "--unix",
        type=socket_path,
        metavar="PATH",
        help="listen on a Unix socket of this name instead",
    )
    parser.add_argument(
        "--work",
        type=work,
        default=hello,
        metavar="KIND:TIME",
        help="cost of an answer: cpu:100us or sleep:10ms (default: none)",
    )
    parser.add_argument(
        "--max-line",
        type=line_limit,
        default=MAX_LINE_BYTES,
        metavar="BYTES",
        help="a longer line, \\r included, is an error (default: %(default)s)",
    )
    parser.add_argument(
        "--receive-bytes",
        type=receive_size,
        default=receive_bytes,
        metavar="BYTES",
        help="received at once, at most (default: %(default)s); what a"
        " framework receives by itself is its own affair",
    )
    parser.add_argument(
        "--idle-timeout",
        type=seconds,
        metavar="S",
        help="who is silent for S seconds is told so and let go (default:"
        " nobody is)",
    )
    parser.add_argument(
        "--announce",
        action="store_true",
        help="answer `python -m servers discover` on the local network",
    )
    parser.add_argument(
        "--protocol",
        choices=("hello", "http"),
        default="hello",
        help="what is spoken (default: %(default)s); http takes --max-line"
        " for the limit of a request's head",
    )
    parser.add_argument(
        "--root",
        type=folder,
        metavar="DIR",
        help="with --protocol http: serve the files below this folder"
        " (default: a page that says hello)",
    )


def add_parameters(parser: argparse.ArgumentParser, names: set[str]) -> None:
    """Add the options that only some servers understand: those of PARAMETERS
    that are among `names`."""
    for name, meaning in PARAMETERS.items():
        if name in names:
            parser.add_argument(
                f"--{name}",
                type=small_number,
                metavar="N",
                help=f"{meaning} (default: see the file)",
            )


def small_number(text: str) -> int:
    """An argparse type: 1 to 1,000."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 1000")
    return int(text)


def receive_size(text: str) -> int:
    """An argparse type: 1 byte to 16 MiB."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 2**24:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to {2**24} bytes")
    return int(text)


def seconds(text: str) -> float:
    """An argparse type: a millisecond to a day, in seconds."""
    if re.fullmatch(r"\d{1,5}(\.\d{1,9})?", text, re.ASCII) is None or not (
        0.001 <= float(text) <= 86_400
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is not 0.001 to 86400 s")
    return float(text)


def port_number(text: str) -> int:
    """An argparse type: 0 to 65535."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0-65535)")
    return int(text)


def socket_path(text: str) -> str:
    """An argparse type: the name of a Unix socket, 1 to 107 bytes."""
    size = len(os.fsencode(text))
    if size >= SUN_PATH_BYTES:
        raise argparse.ArgumentTypeError(
            f"a path of {size:,} bytes is too long for a Unix socket, which"
            f" has room for {SUN_PATH_BYTES - 1}"
        )
    if not text or "\n" in text:  # where it listens is said in one line
        raise argparse.ArgumentTypeError(f"{text!r} is not a path for it")
    return text


def line_limit(text: str) -> int:
    """An argparse type: 1 byte to 1 GiB."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 2**30:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to {2**30} bytes")
    return int(text)


def folder(text: str) -> bytes:
    """An argparse type: a folder that can be listed, as where it really is."""
    from servers import http_session  # by few, who can wait for it

    try:
        return http_session.open_root(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise argparse.ArgumentTypeError(f"{text!r}: {reason}") from None


def work(text: str) -> Callable[[bytes], bytes]:
    """An argparse type: "cpu:100us" or "sleep:10ms", at most a minute.

    Returns a `respond` that takes that long before it says hello. CPU time is
    that of the calling thread: waiting for the GIL does not count as work.
    """
    match = re.fullmatch(r"(cpu|sleep):(\d{1,8})(us|ms|s)", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not like cpu:100us or sleep:10ms"
        )
    nanoseconds = (
        int(match[2]) * {"us": 10**3, "ms": 10**6, "s": 10**9}[match[3]]
    )
    if nanoseconds > 60 * 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a minute")

    def burn(line: bytes) -> bytes:
        until = time.thread_time_ns() + nanoseconds
        while time.thread_time_ns() < until:
            pass
        return hello(line)

    def sleep(line: bytes) -> bytes:
        time.sleep(nanoseconds / 10**9)
        return hello(line)

    return burn if match[1] == "cpu" else sleep


def one_address_only(options: argparse.Namespace) -> None:
    """Status 2 if --unix is given, and --host or --port as well."""
    for name in ("host", "port"):
        if options.unix is not None and getattr(options, name) is not None:
            misused(f"--unix and --{name} exclude each other")


def misused(message: str) -> NoReturn:
    """Say in one line what is wrong with the command line; status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def place(options: argparse.Namespace) -> str:
    """Where the options say that the server is, in words."""
    if options.unix is not None:
        return f"unix:{options.unix}"
    return f"{options.host or '127.0.0.1'} port {options.port or 0}"
