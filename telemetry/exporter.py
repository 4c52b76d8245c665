"""Serves this process's metrics on a port of its own, apart from the HTTP API."""

import errno
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import REGISTRY, Info, disable_created_metrics, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

PORTS = 32  # one machine may run this many processes with the same settings

log = logging.getLogger(__name__)


class Disks(Collector):
    """Free and total bytes of the file systems that hold these folders.

    `folders`: label → absolute path; if a folder does not exist yet, the one above it counts.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        free = GaugeMetricFamily(
            "segue_disk_free_bytes", "Bytes that an unprivileged process can still write", labels=["disk"]
        )
        size = GaugeMetricFamily("segue_disk_size_bytes", "Bytes of the file system", labels=["disk"])
        for name, folder in self._folders.items():
            found = os.statvfs(next(path for path in (folder, *folder.parents) if path.exists()))
            free.add_metric([name], found.f_bavail * found.f_frsize)
            size.add_metric([name], (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize)
        yield from (free, size)


def start(role: str, bind: str, first_port: int, collectors: Iterable[Collector] = ()) -> int | None:
    """Serve `/metrics` in a thread, on the first free port from `first_port` on. Returns the port.

    Returns None if `first_port` is 0 or no port is free: a process works without its metrics. Call it after a fork,
    once per process. `role`: the process's kind, in `segue_process_info`.
    """
    if not first_port:
        return None
    for port in range(first_port, first_port + PORTS):
        try:
            start_http_server(port, bind)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                log.error("metrics_not_served", extra={"address": f"{bind}:{port}", "error": error.strerror})
                return None
        else:
            _register(role, collectors)
            log.info("metrics_served", extra={"address": f"{bind}:{port}"})
            return port
    reason = f"ports {first_port} to {first_port + PORTS - 1} are in use"
    log.error("metrics_not_served", extra={"address": bind, "error": reason})
    return None


def _register(role: str, collectors: Iterable[Collector]) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which Prometheus does not need
    Info("segue_process", "The kind of this process").info({"role": role})
    for collector in collectors:
        REGISTRY.register(collector)
