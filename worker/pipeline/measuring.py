"""Counts what a worker does, for Prometheus."""

from collections.abc import Iterable, Sequence

from model.segmenter import Segmenter
from telemetry import metrics
from worker.pipeline.micro_batch import Item


def count_claim(images: int) -> None:
    metrics.MICRO_BATCH.observe(images)


def count_inference(segmenter: Segmenter, items: Sequence[Item]) -> None:
    """Count one forward pass. Each of its images has noted the time of all of it."""
    metrics.ENGINE_SECONDS.inc(items[0].timings_ms["infer"] / 1000)
    metrics.IMAGES.labels(segmenter.card.id).inc(len(items))
    metrics.MEGAPIXELS.inc(sum(item.job.spec.pixels for item in items) / 1e6)


def count_stages(items: Iterable[Item]) -> None:
    for item in items:
        for stage, ms in item.timings_ms.items():
            metrics.STAGE_SECONDS.labels(stage).observe(ms / 1000)
