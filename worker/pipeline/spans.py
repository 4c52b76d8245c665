"""The spans of a finished micro-batch, made from the times that its stages noted.

Each job's spans belong to the trace of the request that created it. The micro-batch is a trace of
its own, linked with its jobs.
"""

import time

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from storage.job import Finished
from storage.objects import RESULTS, UPLOADS
from telemetry.spans import QUEUE, REDIS, S3, Attributes, Recorder, context_of, span_of
from worker.pipeline.micro_batch import Item, MicroBatch

PROCESS: Attributes = {**QUEUE, "messaging.operation.name": "process", "messaging.operation.type": "process"}
STAGES: dict[str, tuple[SpanKind, Attributes]] = {
    "fetch": (SpanKind.CLIENT, {**S3, "rpc.method": "S3/GetObject", "aws.s3.bucket": UPLOADS}),
    "store": (SpanKind.CLIENT, {**S3, "rpc.method": "S3/PutObject", "aws.s3.bucket": RESULTS}),
}
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
        creators = {span_of(parent).span_id: span_of(parent) for parent in parents if span_of(parent).is_valid}
        fields = {**PROCESS, "messaging.batch.message_count": len(items), "segue.micro_batch": self._micro_batch.token}
        times_ns = self._claim_ns[0], self._finish_ns[1]
        whole = self._recorder.past(
            "process segment", Context(), times_ns, fields, kind=SpanKind.CONSUMER, links=list(creators.values())
        )
        self._call("claim", whole, self._claim_ns)
        inferred = [self._stage_ns(item, "infer") for item in items if "infer" in item.offsets_ms]
        if inferred:
            both = min(start for start, _ in inferred), max(end for _, end in inferred)
            self._recorder.past("infer", whole, both, {"segue.model": self._micro_batch.segmenter.card.id})
        self._call("finish", whole, self._finish_ns)
        for item, parent, one in zip(items, parents, finished, strict=True):
            self._job(item, parent, whole, one)

    def _job(self, item: Item, parent: Context, whole: Context, one: Finished) -> None:
        spec, error = item.job.spec, one.outcome.error
        queued_ns = spec.created_ms * NS_PER_MS, max(spec.created_ms * NS_PER_MS, self._claim_ns[0])
        self._recorder.past("queued", parent, queued_ns)
        size: Attributes = {"messaging.message.id": spec.id, "messaging.message.body.size": spec.bytes}
        job = self._recorder.past(
            "process segment", parent, (self._claim_ns[0], self._finish_ns[1]), {**PROCESS, **size},
            kind=SpanKind.CONSUMER, links=[span_of(whole)], error=error["code"] if error else "",
        )  # fmt: skip
        self._call("claim", job, self._claim_ns)
        for stage in item.offsets_ms:
            kind, attributes = STAGES.get(stage, (SpanKind.INTERNAL, {}))
            self._recorder.past(stage, job, self._stage_ns(item, stage), attributes, kind=kind)

    def _call(self, function: str, parent: Context, times_ns: tuple[int, int]) -> None:
        attributes = {**REDIS, "db.stored_procedure.name": function}
        self._recorder.past(function, parent, times_ns, attributes, kind=SpanKind.CLIENT)

    def _stage_ns(self, item: Item, stage: str) -> tuple[int, int]:
        start_ns = self._wall_ns(item.claimed_at) + item.offsets_ms[stage] * NS_PER_MS
        return start_ns, start_ns + item.timings_ms[stage] * NS_PER_MS

    def _wall_ns(self, monotonic_s: float) -> int:
        return self._shift_ns + round(monotonic_s * 1e9)
