"""The metrics of the drift of stable's inputs."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import redis
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from storage.connection import Storage
from storage.inputs.report import Report, report
from storage.problems import Unavailable

log = logging.getLogger(__name__)


class InputMetrics(Collector):
    """Each scrape exports the report that a thread has made since the previous one, and lets it make the next one.

    So an object store that hangs delays no scrape. Exports nothing if Redis or the object store did not answer, or if
    stable has no profile.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._thread = ThreadPoolExecutor(1, "drift")
        self._reading: Future[Report | None] | None = None
        self._known: Report | None = None

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        if self._reading is None or self._reading.done():
            self._known = self._reading.result() if self._reading else None
            self._reading = self._thread.submit(self._read)
        if self._known is None:
            return
        photos = GaugeMetricFamily(
            "segue_input_photos", "Photos of the last 24 hours that were compared", labels=["model"]
        )
        photos.add_metric([self._known.version], self._known.photos)
        index = GaugeMetricFamily(
            "segue_input_psi", "Population stability index of the photos of the last 24 hours", labels=["feature"]
        )
        drift = GaugeMetricFamily(
            "segue_input_drift",
            "Whether the feature drifts in the photos of the last 24 hours: 1 or 0",
            labels=["feature"],
        )
        for feature in self._known.features:
            if feature.psi is not None:
                index.add_metric([feature.name], feature.psi)
                drift.add_metric([feature.name], feature.drifts)
        yield from (photos, index, drift)

    def _read(self) -> Report | None:
        try:
            return report(self._storage)
        except (redis.RedisError, Unavailable, ValueError) as error:
            log.warning("drift_unknown", extra={"error": str(error)})
            return None
