"""CPU time and memory of the processes of a stack or of a peer, from /proc."""

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from figures import group
from stack import Stack, children

PROCESSES = {"web": "gunicorn", "workers": "-Q segment", "housekeeper": "-Q control", "redis": "-server", "s3": "weed"}
CLIENT = "client"
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
Families = Mapping[str, list[int]]  # kind of process → the pids at the roots of its process trees


def families(stack: Stack) -> Families:
    return {name: stack.pids(mark) for name, mark in PROCESSES.items()}


def tree(pid: int) -> list[int]:
    """The pids of a process and its descendants; empty if the process has ended."""
    try:
        return [pid, *(one for child in children(pid) for one in tree(child))]
    except OSError:
        return []


def cpu_ms(roots: Iterable[int]) -> float:
    """CPU milliseconds so far of these processes and all their descendants, ended ones included."""
    return sum(_own_ms(pid) for root in roots for pid in tree(root))


def _own_ms(pid: int) -> float:
    """CPU milliseconds of one process, including the children that it has reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * TICK_MS


def memory_mb(roots: Iterable[int], kind: str = "VmRSS") -> float:
    """Resident megabytes of these processes and all their descendants. `kind`: VmRSS for now, VmHWM for the peak."""
    return sum(_kilobytes(pid, kind) for root in roots for pid in tree(root)) / 1000


def _kilobytes(pid: int, kind: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1])
    return 0


def forget_peaks(roots: Iterable[int]) -> None:
    """Reset VmHWM to the current size (proc_pid_clear_refs(5))."""
    for pid in (pid for root in roots for pid in tree(root)):
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


class Meter:
    """Measures CPU time and memory from its creation on. The client is this process and the children it has reaped."""

    def __init__(self, processes: Families) -> None:
        self._processes = processes
        for pids in processes.values():
            forget_peaks(pids)
        self._before = self._used()

    def _used(self) -> dict[str, float]:
        return {CLIENT: sum(os.times()[:4]) * 1000, **{name: cpu_ms(pids) for name, pids in self._processes.items()}}

    def figures(self, images: int) -> dict[str, float]:
        """CPU milliseconds per image, of each kind of process and of all but the client; peak memory of each kind."""
        spent = {name: (after - self._before[name]) / images for name, after in self._used().items()}
        everything = sum(ms for name, ms in spent.items() if name != CLIENT)
        peaks = {name: memory_mb(pids, "VmHWM") for name, pids in self._processes.items()}
        return {**group("cpu_ms", {"all": everything, **spent}), **group("peak_mb", peaks)}
