"""Run a server, and write down each line of its file at the moment it is reached.

    python recorder.py FILE NAME [options of the server]

Nothing but the standard library is used, as this runs under the interpreter of the server. A note
is one line, `<ns> <process> <thread> <line> <function>`, written at once: a server ends without
asking Python. From Python 3.12 on sys.monitoring tells of lines, in all threads and in no file but
that of the server; before, sys.settrace does, which slows down everything.
"""

import fcntl
import os
import runpy
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

# Or the next one that is free. What is written to it is no call of the server's.
DESCRIPTOR = 900


def record(descriptor: int, file: str) -> None:
    """From now on note every line of `file` that is reached."""

    def note(code: CodeType, line: int) -> None:
        who = f"{os.getpid()} {threading.get_native_id()}"
        said = f"{time.time_ns()} {who} {line} {code.co_name}\n"
        os.write(descriptor, said.encode())

    if sys.version_info >= (3, 12):
        monitoring = sys.monitoring

        def reached(code: CodeType, line: int) -> Any:
            if code.co_filename != file:
                return monitoring.DISABLE  # this place is not asked about again
            note(code, line)
            return None

        monitoring.use_tool_id(monitoring.DEBUGGER_ID, "film")
        monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.LINE, reached)
        monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.LINE)
        return

    def traced(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            note(frame.f_code, frame.f_lineno)
        return traced

    threading.settrace(traced)
    sys.settrace(traced)


def main() -> None:
    """As the command line says."""
    notes, name = sys.argv[1], sys.argv[2]
    low = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    # Out of the way: a server's own descriptors have the numbers that they always have.
    descriptor = fcntl.fcntl(low, fcntl.F_DUPFD, DESCRIPTOR)
    os.close(low)
    sys.path[0] = os.getcwd()
    sys.argv[:] = ["servers", *sys.argv[2:]]
    record(descriptor, os.path.join(os.getcwd(), "servers", f"{name}_server.py"))
    runpy.run_module("servers", run_name="__main__")


if __name__ == "__main__":
    main()
