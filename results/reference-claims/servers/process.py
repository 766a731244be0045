"""A server as a process: it ends when it is told, its children with it, and
leaves no name of a socket behind."""

import atexit
import os
import signal
import threading
import warnings
from contextlib import suppress

# How often a thread looks whether the parent is still there.
LOOK_S = 0.1

# The name of our Unix socket, which is ours to remove.
ours: str | None = None


def stop_when_told() -> None:
    """From now on end with status 0 on SIGTERM or Ctrl-C, come what may.

    There is little to undo: the kernel closes what a process that ends has
    open. (A name in the file system stays, see remove_at_the_end().) But
    Python is late. Its handlers run in the main thread, between two
    calls: a signal that comes just before a call that blocks would not be
    noticed until that call returns. And a thread that waits for the signal
    has to queue for the GIL, with 3,000 busy threads for 18 s. So C does it.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    try:
        exit_in_c(signals)
    except (ImportError, AttributeError):  # no ctypes, or another libc
        exit_in_a_thread(signals)


def exit_in_c(signals: set[signal.Signals]) -> None:
    """End at once, whatever the threads do; needs glibc.

    As a handler, _exit() would take the signal's number for the status. So
    the handler is quick_exit(), which nobody else uses, and which first calls
    what is registered for it, here _exit(), with a null pointer for argument
    (glibc, stdlib/cxa_at_quick_exit.c). That is status 0.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    end = libc._exit if ours is None else libc.exit  # remove_at_the_end()
    libc.__cxa_at_quick_exit(end, None)
    for number in signals:
        signal.signal(number, signal.SIG_DFL)  # or frameworks take it over
        libc.signal(number, libc.quick_exit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def exit_in_a_thread(
    signals: set[signal.Signals], parent: int | None = None
) -> None:
    """End as soon as a thread of Python gets the GIL; works everywhere.

    And soon after the process `parent` has ended, if there is one.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # threads inherit it

    def wait() -> None:
        # What servers wait for is none of its business (sigio_server.py).
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if parent is None:
            signal.sigwait(signals)
        else:
            while not signal.sigtimedwait(signals, LOOK_S):
                if os.getppid() != parent:
                    break
        remove_ours()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def remove_at_the_end(path: str) -> None:
    """Have the name of our Unix socket removed when this process ends.

    However it ends, but for SIGKILL and its like: what is left over then, the
    next server removes (remove_if_stale). Its children leave the name alone.

    What is registered for quick_exit() gets no argument, so it cannot say
    which name. What is registered for exit() can. Functions are called in the
    reverse order of their registration: so a signal calls quick_exit(), which
    calls exit(0), which calls unlink(path), then _exit(), and nothing else of
    what others have registered (glibc, stdlib/exit.c). _exit() is told the
    status by on_exit(3), also that of sys.exit().
    """
    global ours
    ours = path
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        libc.strdup.restype = ctypes.c_void_p
        name = ctypes.c_void_p(libc.strdup(os.fsencode(path)))  # for good
        libc.on_exit(libc._exit, None)
        libc.__cxa_atexit(libc.unlink, name, None)
        libc.__cxa_at_quick_exit(libc.exit, None)
    except (ImportError, AttributeError):  # no ctypes, or another libc
        atexit.register(remove_ours)


def leave_it_to_the_parent() -> None:
    """In a child: do not remove the name of the Unix socket at the end."""
    global ours
    if ours is None:
        return
    ours = None
    with suppress(ImportError, AttributeError):
        import ctypes

        libc = ctypes.CDLL(None)
        libc.on_exit(libc._exit, None)
        libc.__cxa_at_quick_exit(libc._exit, None)


def remove_ours() -> None:
    """Remove the name of our Unix socket, if it is for us to do so."""
    if ours is not None:
        with suppress(OSError):
            os.unlink(ours)


def fork() -> int:
    """os.fork(), whose child ends when it is told, and with its parent.

    Raises OSError: no more processes, or no memory for one.
    """
    parent = os.getpid()
    with warnings.catch_warnings():
        # Where there is no ctypes, a thread waits to be told to stop. Python
        # 3.12 and later warn of it, but it holds nothing that a child needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        told = {signal.SIGTERM, signal.SIGINT}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, told)
        try:
            child = os.fork()
            if not child:
                leave_it_to_the_parent()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if child:
        return child
    try:
        import ctypes

        # Even if the parent was killed (prctl(2), PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (ImportError, AttributeError):  # no thread survives fork(2)
        exit_in_a_thread({signal.SIGTERM, signal.SIGINT}, parent)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(0)
    return child
