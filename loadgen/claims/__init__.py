"""What tutorials say of sockets, put to the test: one file per claim, each of which runs alone.

A claim is decided by cells of the experiment `claims`, which are measured as those of any other
experiment, or by a small program of its own, or by both. Its file holds the words, the program and
the rule by which figures become a verdict; `CLAIM` at its end is all of it as one value.

    python -m loadgen claim NAME     some repeats and the verdict
    python -m loadgen.claims NAME    the small program alone, once, and what it saw

A program is a function without arguments that uses nothing but Python's standard library, so that
what tutorials show can be read off it. It runs in a process of its own. Heavy imports happen inside
the functions that need them, and never on the way to a program.
"""

import importlib

from loadgen.claims.claim import Claim

# As the page shows them; a name is that of a file.
ALL = (
    "readiness",
    "blocking",
    "nonblocking",
    "edge",
    "uvloop",
    "scaling",
    "udp",
    "backlog",
    "sticking",
    "receiving",
    "sending",
    "ports",
    "rebinding",
)


def find(name: str) -> Claim:
    """The claim of that name. KeyError says which one may be meant, and which there are."""
    if name not in ALL:
        import difflib

        near = difflib.get_close_matches(name, ALL, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise KeyError(f"unknown claim {name!r}.{meant} There are: {', '.join(ALL)}")
    found: Claim = importlib.import_module(f"{__name__}.{name}").CLAIM
    return found
