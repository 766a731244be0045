"""What machine this is: what is stored once per run."""

import os
import platform
import resource
from pathlib import Path
from typing import Any

import psutil


def describe_machine() -> dict[str, Any]:
    """The machine, as stored once per run. What this system does not tell is null."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "hypervisor": " hypervisor " in f" {_cpu_flags()} ",
        "memory_bytes": psutil.virtual_memory().total,
        "governor": read_setting("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "somaxconn": read_setting("/proc/sys/net/core/somaxconn"),
        "port_range": read_setting("/proc/sys/net/ipv4/ip_local_port_range"),
        "congestion_control": read_setting("/proc/sys/net/ipv4/tcp_congestion_control"),
        "tcp_rmem": read_setting("/proc/sys/net/ipv4/tcp_rmem"),
        "tcp_wmem": read_setting("/proc/sys/net/ipv4/tcp_wmem"),
        "descriptors": {"soft": soft, "hard": hard},
        "load_1min": os.getloadavg()[0],
    }


def read_setting(path: str) -> str | None:
    """The content of a file of /proc or /sys; None where it does not exist."""
    try:
        return " ".join(Path(path).read_text().split())
    except OSError:
        return None


def _cpu_model() -> str | None:
    return _cpuinfo("model name") or platform.processor() or None


def _cpu_flags() -> str:
    return _cpuinfo("flags") or ""


def _cpuinfo(name: str) -> str | None:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
