"""The queue's length and throughput."""

from typing import Any

from flask import Blueprint, Response, jsonify

from storage.keys import Lane
from web.services import connected

blueprint = Blueprint("queue", __name__)


@blueprint.get("/v1/queue")
def state() -> Response:
    queue, planned = connected().jobs.queue(), connected().settings.workers
    backlog_s = queue.backlog_s(planned)

    def of_lane(lane: Lane) -> dict[str, Any]:
        oldest_s = queue.oldest_s(lane)
        return {
            "pending": queue.pending[lane],
            "running": queue.running[lane],
            "oldest_age_s": round(oldest_s, 3) if oldest_s is not None else None,
        }

    return jsonify(
        object="queue",
        lanes={lane.value: of_lane(lane) for lane in Lane},
        workers=queue.workers,
        images_per_s=round(queue.images_per_s, 2),
        ms_per_image=round(queue.ms_per_image, 2) if queue.ms_per_image else None,
        mean_micro_batch=round(queue.micro_batch, 2) if queue.micro_batch else None,
        backlog_s=round(backlog_s, 2) if backlog_s is not None else None,
    )
