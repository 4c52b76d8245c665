"""Which metrics each role's process serves."""

from pathlib import Path

from storage.connection import Storage
from storage.inputs.metrics import InputMetrics
from storage.queue.metrics import QueueMetrics
from storage.roles.roles import Role
from telemetry import exporter


def serve(storage: Storage, role: Role) -> int | None:
    """Serve the metrics of this process, if METRICS_PORT is set. Returns the port.

    Web processes and housekeepers add what Redis knows; a worker spends its time on images. Housekeepers compare the
    inputs with the training photos.
    """
    settings = storage.settings
    disks = exporter.Disks({"data": settings.model_cache.absolute(), "program": Path(__file__).parent})
    queue = [] if role is Role.WORKER else [QueueMetrics(storage.jobs, settings.workers)]
    inputs = [InputMetrics(storage)] if role is Role.HOUSEKEEPER else []
    return exporter.start(role, settings.metrics_bind, settings.metrics_port, [disks, *queue, *inputs])
