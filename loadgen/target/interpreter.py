"""The interpreter that servers run under: what it is, and which of them it can run.

Nothing has to be installed there: a server needs the standard library, and its file.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The folder that `import servers` finds the servers in.
LAB = Path(__file__).parents[2]
PATIENCE_S = 30.0

# sys._is_gil_enabled is of 3.13 and later; before, every CPython has a GIL, and PyPy too.
_ASK = """
import json, platform, sys
from servers import catalog
print(json.dumps({
    "implementation": f"{platform.python_implementation()} {platform.python_version()}",
    "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
    "missing": {model.name: model.missing() for model in catalog.every()},
}))
"""


class InterpreterError(Exception):
    """It cannot run our servers. The text is one line."""


@dataclass(frozen=True)
class Interpreter:
    """What an interpreter says of itself.

    implementation  with its version: "CPython 3.13.5", "PyPy 3.11.13"
    gil             does one thread at a time run Python?
    missing         by server: why it cannot run there, in words; None if it can
    """

    implementation: str
    gil: bool
    missing: Mapping[str, str | None]


@functools.cache
def examine(python: str = sys.executable) -> Interpreter:
    """Ask an interpreter, which is named as on a command line. Raises InterpreterError."""
    try:
        done = subprocess.run(
            [python, "-c", _ASK],
            cwd=LAB,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        return Interpreter(**json.loads(done.stdout))
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"status {error.returncode}"]
        raise InterpreterError(f"{python} cannot run the servers: {said[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise InterpreterError(f"{python} said nothing within {PATIENCE_S:.0f} s") from error
    except OSError as error:
        raise InterpreterError(f"cannot run {python}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise InterpreterError(f"{python} is no Python: it does not say what it is") from error
