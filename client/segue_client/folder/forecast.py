"""Forecasts at the start of a run whether it will be done by a given time of day."""

import math
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from segue_client.client import Client


def announce(client: Client, photos: int, by: str) -> dict[str, Any] | None:
    """Print to stderr whether the run will be done in time.

    `photos`: how many are still to be sent. Returns the forecast's document; None if `by` is empty.
    """
    if not by:
        return None
    now = datetime.now().astimezone()
    forecast = Forecast.of(client.queue(), photos, deadline(by, now), now)
    print(forecast.line(), file=sys.stderr, flush=True)
    return forecast.document()


def is_time(text: str) -> bool:
    try:
        deadline(text, datetime.now().astimezone())
    except ValueError:
        return False
    return True


def deadline(text: str, now: datetime) -> datetime:
    """The next time at which the local clock shows `text`, HH:MM; tomorrow if it has passed today.

    Raises ValueError. `now`: with its time zone.
    """
    clock = datetime.strptime(text, "%H:%M").time()
    today = datetime.combine(now.date(), clock)
    # Each day needs its own astimezone(): the offset changes when daylight saving begins or ends.
    return next(at for day in range(3) if (at := (today + timedelta(days=day)).astimezone()) > now)


@dataclass(frozen=True)
class Forecast:
    """When the photos will be done if each takes as long as the server's recent ones did.

    `images`: those still to be sent and those that the server has already accepted from anyone; `done_at`: None
    without a live worker or a measured pace; `workers_needed`: None without a measured pace.
    """

    by: datetime
    images: int
    workers: int
    done_at: datetime | None
    workers_needed: int | None

    @classmethod
    def of(cls, queue: dict[str, Any], photos: int, by: datetime, now: datetime) -> "Forecast":
        """`queue`: the document of GET /v1/queue; `photos`: how many are still to be sent."""
        images = photos + sum(lane["pending"] + lane["running"] for lane in queue["lanes"].values())
        workers, ms_per_image = queue["workers"], queue.get("ms_per_image")
        if ms_per_image is None:
            return cls(by, images, workers, None, None)
        work_s = images * ms_per_image / 1000
        done_at = now + timedelta(seconds=work_s / workers) if workers else None
        return cls(by, images, workers, done_at, max(1, math.ceil(work_s / (by - now).total_seconds())))

    @property
    def in_time(self) -> bool | None:
        return self.done_at <= self.by if self.done_at else None

    def document(self) -> dict[str, Any]:
        return {
            "by": self.by.isoformat(timespec="seconds"),
            "done_at": self.done_at.isoformat(timespec="seconds") if self.done_at else None,
            "in_time": self.in_time,
            "images": self.images,
            "workers": self.workers,
            "workers_needed": self.workers_needed,
        }

    def line(self) -> str:
        if self.workers_needed is None:
            return "The server has not measured its pace yet, so it is unknown when the photos will be done."
        needed = f"{self.workers_needed} {'worker' if self.workers_needed == 1 else 'workers'} would be enough"
        if self.done_at is None:
            return f"No worker is running, so the photos will not be done by {self.by:%H:%M}; {needed}."
        order = "before" if self.in_time else "after"
        return (
            f"{self.images} images at the server's pace: done about {_moment(self.done_at, self.by)}, "
            f"{order} {self.by:%H:%M}; it has {self.workers} live, {needed}."
        )


def _moment(at: datetime, by: datetime) -> str:
    return at.strftime("%H:%M" if at.date() == by.date() else "%Y-%m-%d %H:%M")
