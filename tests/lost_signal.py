"""A server that is told to stop at the worst moment: python tests/lost_signal.py NAME --port 0

CPython's signal handlers only take a note; Python code runs when the main thread looks at its
notes next. A signal that arrives between the last look and a call that blocks is not seen until
that call returns. This makes the rare moment certain: on SIGUSR1 the note of a SIGTERM is
taken, and nothing interrupts the call that the main thread is in.
"""

import ctypes
import signal
import threading

from servers.__main__ import main

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


def take_note() -> None:
    signal.sigwait({signal.SIGUSR1})
    ctypes.pythonapi.PyErr_SetInterruptEx(signal.SIGTERM)


threading.Thread(target=take_note, daemon=True).start()
main()
