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
    if sys.stdin is None:  # it was closed before we started
        sys.exit("error: there is no standard input")
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
        line = line.rstrip(b"\n")
        try:
            sock.sendall(line + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has hung up; what it said before can still be read
        answer = answers.readline()
        if not answer and line in (b"exit", b"exit\r"):
            return
        show(answer)


def show(answer: bytes) -> None:
    """Print what came, whatever the bytes are, even if it is not all."""
    common.say(answer)
    if not answer.endswith(b"\n"):
        raise ConnectionError("it hung up before it had answered")
