"""The ports and Unix sockets that the processes of a stack listen on."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from stack import Stack, children

LISTENING = "0A"


def everything_of(stack: Stack) -> Iterator[int]:
    """The pids of the supervisor and of all its descendants."""
    waiting = [int((stack.var / "supervisord.pid").read_text())]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children(pid)


def ports(pids: Iterable[int]) -> dict[int, str]:
    """Map each listening port to its address, as the kernel writes it: "0100007F" is 127.0.0.1."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENING and inode in inodes:
                address, _, port = local.partition(":")
                found[int(port, 16)] = address
    return found


def unix_sockets(pids: Iterable[int]) -> list[Path]:
    """The paths of the Unix sockets that are bound to a file."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return [Path(row[7]) for row in rows if row[6] in inodes and len(row) > 7 and row[7].startswith("/")]


def _sockets(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]
