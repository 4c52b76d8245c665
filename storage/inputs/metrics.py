"""The drift of stable's inputs, for Prometheus."""

import logging
import time
from collections.abc import Iterable, Iterator

import redis
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from storage.connection import Storage
from storage.inputs.report import Report, report
from storage.problems import Unavailable

FRESH_S = 30.0  # the window changes slowly, and each reading costs two objects and a round trip

log = logging.getLogger(__name__)


class InputMetrics(Collector):
    """Exports nothing while Redis or the object store is down, or while stable has no profile."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: Report | None = None
        self._read_at = -FRESH_S

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        if time.monotonic() - self._read_at >= FRESH_S:
            self._known, self._read_at = self._read(), time.monotonic()
        if self._known is None:
            return
        photos = GaugeMetricFamily("segue_input_photos", "Photos of the last day that were compared", labels=["model"])
        photos.add_metric([self._known.version], self._known.photos)
        index = GaugeMetricFamily(
            "segue_input_psi", "Population stability index of the last day's photos", labels=["feature"]
        )
        drift = GaugeMetricFamily(
            "segue_input_drift", "Whether the feature of the last day's photos has drifted", labels=["feature"]
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
