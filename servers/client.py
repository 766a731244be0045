"""The plain blocking client of the tutorials: one line out, one answer in.

python -m servers client --port 8000
"""

import argparse
import socket
import sys

from servers import common


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the client understands."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="where the server is (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=common.port_number,
        required=True,
        help="the port it listens on",
    )


def run(options: argparse.Namespace) -> None:
    """Print the greeting, send each line of stdin, print each answer."""
    where = f"{options.host} port {options.port}"
    try:
        with socket.create_connection((options.host, options.port)) as sock:
            converse(sock)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"error: cannot talk to {where}: {reason}")
    except KeyboardInterrupt:
        pass


def converse(sock: socket.socket) -> None:
    """One conversation, until either side has had enough."""
    answers = sock.makefile("rb")
    show(answers.readline())
    for line in sys.stdin.buffer:
        sock.sendall(line.rstrip(b"\n") + b"\n")
        answer = answers.readline()
        if not answer:
            return
        show(answer)


def show(answer: bytes) -> None:
    """Print at once, whatever the bytes are."""
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
