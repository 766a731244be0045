"""The libc calls that the hot loop makes, callable from compiled code.

They are named as external symbols, because only then can Numba cache what it compiled: a function
that holds a ctypes pointer is compiled anew in every process. Pointers travel as plain integers
(`array.ctypes.data`).

Numba notices a change of the file that a compiled function is in, not of what that function
inlines from another: such code would be measured in its old version. So the folder of the cache is
named after the contents of the files that others inline from.
"""

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import config, njit, types

Function = TypeVar("Function", bound=Callable[..., object])
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

# The kernel aligns struct epoll_event like its 32-bit ancestor on x86-64 and naturally elsewhere
# (EPOLL_PACKED in linux/eventpoll.h). In 32-bit words: its size, and where its data begins.
EPOLL_EVENT_WORDS, EPOLL_DATA_WORD = (3, 1) if platform.machine() == "x86_64" else (4, 2)

# The same on every architecture that CPython 3.11 runs on except PA-RISC, SPARC, MIPS and Alpha
# (asm-generic/socket.h).
SOL_SOCKET = 1
SO_TIMESTAMPNS, SO_TIMESTAMPING = 35, 37
MSG_DONTWAIT, MSG_ERRQUEUE, MSG_NOSIGNAL = 0x40, 0x2000, 0x4000
# linux/net_tstamp.h: stamp what is sent; report stamps of the kernel; without the packet itself.
SOF_TIMESTAMPING_TX_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE = 1 << 1, 1 << 4
SOF_TIMESTAMPING_OPT_TSONLY = 1 << 11

NS_PER_S = 1_000_000_000

# Each file whose functions or constants become part of functions that are compiled in another.
INLINED_FROM = ("syscalls.py", "samples.py", "buffers.py", "loop.py")


def cache_folder(package: Path, base: str = "") -> str:
    """Where compiled code is kept: below `base`, or else below the package's own __pycache__."""
    digest = hashlib.sha256(b"".join((package / name).read_bytes() for name in INLINED_FROM))
    return str(Path(base or package / "__pycache__") / f"numba-{digest.hexdigest()[:12]}")


# Where that folder cannot be written to, Numba takes one below the user's own cache folder.
config.CACHE_DIR = cache_folder(Path(__file__).parent, config.CACHE_DIR)  # type: ignore[attr-defined]


def compiled(function: Function) -> Function:
    """Compile `function` on its first call: cached on disk, without the interpreter's lock.

    Inlined into whatever calls it and without counting references to arrays: calls and atomic
    instructions took 8 % of the hot loop. So it can only use the arrays that it is given;
    allocating one is a compile error.
    """
    options: dict[str, Any] = {"nogil": True, "cache": True, "forceinline": True, "_nrt": False}
    return cast(Function, njit(**options)(function))


def external(name: str, result: Any, *arguments: Any) -> Callable[..., int]:
    """Return the libc function `name` for use in compiled code."""
    return cast(Callable[..., int], types.ExternalFunction(name, result(*arguments)))


_int, _pointer, _ssize = types.int32, types.intp, types.intp

bind = external("bind", _int, _int, _pointer, _int)
clock_gettime = external("clock_gettime", _int, _int, _pointer)
clock_nanosleep = external("clock_nanosleep", _int, _int, _int, _pointer, _pointer)
close = external("close", _int, _int)
connect = external("connect", _int, _int, _pointer, _int)
epoll_ctl = external("epoll_ctl", _int, _int, _int, _int, _pointer)
epoll_wait = external("epoll_wait", _int, _int, _pointer, _int, _int)
errno_location = external("__errno_location", _pointer)
memcmp = external("memcmp", _int, _pointer, _pointer, _ssize)
memcpy = external("memcpy", _pointer, _pointer, _pointer, _ssize)
ppoll = external("ppoll", _int, _pointer, _ssize, _pointer, _pointer)
recv = external("recv", _ssize, _int, _pointer, _ssize, _int)
recvmsg = external("recvmsg", _ssize, _int, _pointer, _int)
send = external("send", _ssize, _int, _pointer, _ssize, _int)
setsockopt = external("setsockopt", _int, _int, _int, _int, _pointer, _int)
socket = external("socket", _int, _int, _int, _int)


def process_cpu_clock(pid: int) -> int:
    """Return the id of the clock that counts the CPU time of process `pid`, ended threads included.

    The formula is the kernel's ABI (MAKE_PROCESS_CPUCLOCK in linux/posix-timers.h);
    clock_getcpuclockid(3) does the same.
    """
    return (~pid << 3) | 2
