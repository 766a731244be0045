"""python -m loadgen.claims NAME: the small program of a claim, once; what it saw, as JSON.

Exit status: 0 done; 1 it failed, and one line says why; 2 there is no such program.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence

from loadgen import claims


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m loadgen.claims NAME", file=sys.stderr)
        return 2
    try:
        claim = claims.find(arguments[0])
    except KeyError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 2
    if claim.program is None:
        print(
            f"error: {claim.name} has no program of its own: python -m loadgen claim {claim.name}",
            file=sys.stderr,
        )
        return 2
    end_with_parent()
    try:
        print(json.dumps(claim.program(), allow_nan=False))
    except (OSError, RuntimeError) as error:
        print(f"error: {claim.name}: {error}", file=sys.stderr)
        return 1
    return 0


def end_with_parent() -> None:
    """A program must not outlive whoever asked for it and was killed (prctl(2),
    PR_SET_PDEATHSIG)."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("error: nobody waits for the answer")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
