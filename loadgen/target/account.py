"""The CPU time of a server with all processes that it ever had, also of those that have ended.

A control group counts it (cgroups(7)): the controller cpuacct of version 1, in nanoseconds, or
cpu.stat of version 2, in microseconds. Where we may not make a group there is no account.
"""

import os
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

# How long whoever was killed may take to leave a group.
EMPTY_S = 1.0


class Account:
    """What the processes of a group have used. Whoever they start belongs to it, too.

    group   its folder
    """

    def __init__(self, group: Path) -> None:
        self.group = group
        self._file, self._unit_ns = next(
            (os.open(group / name, os.O_RDONLY | os.O_CLOEXEC), unit_ns)
            for name, unit_ns in (("cpuacct.usage", 1), ("cpu.stat", 1000))
            if (group / name).exists()
        )

    @classmethod
    def opened(cls) -> Self | None:
        """A new one; None where we may not make a group."""
        for parent in _groups():
            try:
                # A name that nobody has: groups may be left of a lab that was killed.
                group = Path(tempfile.mkdtemp(prefix="io-lab-", dir=parent))
            except OSError:
                continue
            try:
                return cls(group)
            except (OSError, StopIteration):
                group.rmdir()
        return None

    def add(self, pid: int) -> None:
        """From now on a process, and whatever it starts, is counted. Raises OSError."""
        (self.group / "cgroup.procs").write_text(str(pid))

    def cpu_ns(self) -> int:
        """What all of them have used so far; of one that runs at this moment up to its last switch
        or tick."""
        digits = re.search(rb"\d+", os.pread(self._file, 4096, 0))
        assert digits
        return int(digits[0]) * self._unit_ns

    def close(self) -> None:
        """Remove the group, as soon as nobody is in it any more; who is killed takes a moment."""
        os.close(self._file)
        deadline_s = time.monotonic() + EMPTY_S
        while time.monotonic() < deadline_s:
            with suppress(OSError):
                self.group.rmdir()
                return
            time.sleep(0.001)


def _groups() -> list[Path]:
    """The folders of the groups that we are in, where CPU time is counted."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        ours[controllers] = path
    found = []
    # proc(5), mountinfo: root, mount point, options, ..., "-", type, source, options
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        second = kind == "cgroup2"
        if not second and not (kind == "cgroup" and "cpuacct" in options.split(",")):
            continue
        for controllers, path in ours.items():
            if "cpuacct" in controllers.split(",") if not second else not controllers:
                found.append((second, Path(point) / os.path.relpath(path, root)))
    return [folder for _, folder in sorted(found)]
