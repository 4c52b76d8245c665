"""The spans of a finished micro-batch, made from the times that its stages noted.

Each job has one span in the trace of the request that created it, with the durations of its stages.
The micro-batch is a trace of its own, linked with its jobs, with a span for each stage.
"""

import time

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from storage.job import Finished
from telemetry.spans import QUEUE, REDIS, Attributes, Recorder, context_of, span_of
from worker.pipeline.micro_batch import Item, MicroBatch

PROCESS: Attributes = {**QUEUE, "messaging.operation.name": "process", "messaging.operation.type": "process"}
NS_PER_MS = 1_000_000


class MicroBatchSpans:
    def __init__(self, recorder: Recorder, micro_batch: MicroBatch, finishing_at: float) -> None:
        """`finishing_at`: when `finish` was called, in monotonic seconds; it has returned now."""
        self._recorder, self._micro_batch = recorder, micro_batch
        self._shift_ns = time.time_ns() - time.monotonic_ns()
        self._finish_ns = self._wall_ns(finishing_at), self._wall_ns(time.monotonic())
        self._claim_ns = self._wall_ns(micro_batch.claiming_at), self._wall_ns(micro_batch.claimed_at)

    def record(self, finished: list[Finished]) -> None:
        """`finished`: one for each item, in the same order."""
        items = self._micro_batch.items
        parents = [context_of(item.job.spec.traceparent) for item in items]
        whole = self._whole(parents)
        for item, parent, one in zip(items, parents, finished, strict=True):
            self._job(item, parent, whole, one)

    def _whole(self, parents: list[Context]) -> Context:
        """The micro-batch. A stage is one span, from the first job's start to the last job's end."""
        items, past = self._micro_batch.items, self._recorder.past
        creators = {span_of(parent).span_id: span_of(parent) for parent in parents if span_of(parent).is_valid}
        fields = {
            **PROCESS,
            "messaging.batch.message_count": len(items),
            "segue.micro_batch": self._micro_batch.token,
            "segue.model": self._micro_batch.segmenter.card.id,
        }
        whole = past(
            "process segment", Context(), self._times_ns, fields, kind=SpanKind.CONSUMER, links=list(creators.values())
        )
        self._call("claim", whole, self._claim_ns)
        for stage in dict.fromkeys(stage for item in items for stage in item.offsets_ms):
            times = [self._stage_ns(item, stage) for item in items if stage in item.offsets_ms]
            past(stage, whole, (min(start for start, _ in times), max(end for _, end in times)))
        self._call("finish", whole, self._finish_ns)
        return whole

    def _job(self, item: Item, parent: Context, whole: Context, one: Finished) -> None:
        spec, error = item.job.spec, one.outcome.error
        fields = {
            **PROCESS,
            "messaging.message.id": spec.id,
            "messaging.message.body.size": spec.bytes,
            **{f"segue.{stage}_ms": took_ms for stage, took_ms in item.timings_ms.items()},
        }
        code, links = error["code"] if error else "", [span_of(whole)]
        self._recorder.past(
            "process segment", parent, self._times_ns, fields, kind=SpanKind.CONSUMER, links=links, error=code
        )

    def _call(self, function: str, parent: Context, times_ns: tuple[int, int]) -> None:
        attributes = {**REDIS, "db.stored_procedure.name": function}
        self._recorder.past(function, parent, times_ns, attributes, kind=SpanKind.CLIENT)

    @property
    def _times_ns(self) -> tuple[int, int]:
        return self._claim_ns[0], self._finish_ns[1]

    def _stage_ns(self, item: Item, stage: str) -> tuple[int, int]:
        start_ns = self._wall_ns(item.claimed_at) + item.offsets_ms[stage] * NS_PER_MS
        return start_ns, start_ns + item.timings_ms[stage] * NS_PER_MS

    def _wall_ns(self, monotonic_s: float) -> int:
        return self._shift_ns + round(monotonic_s * 1e9)
