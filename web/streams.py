"""Server-sent events about a job or a batch, until it has ended."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import Response

from web.waiting import Waiting

PING_S = 15.0
CROWDED_PAUSE_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """`id` differs for every state; `last`: the stream ends after this event."""

    id: str
    name: str
    data: str
    last: bool


@dataclass(frozen=True)
class Source(Generic[T]):
    """What a stream reports. `key`: the job's or batch's id. `read`: returns its state, None once erased.

    `to_event`: turns a state into an event. `pause_s`: the shortest time between two events.
    """

    key: str
    read: Callable[[], T | None]
    to_event: Callable[[T], Event]
    pause_s: float = 0.0


def stream(room: Waiting, source: Source[T], now: T, allowed: Callable[[], bool]) -> Response:
    """Send the state `now`, then each change.

    The stream ends after the last event, once `source` is erased, or once `allowed` returns False.
    """
    headers = {"X-Accel-Buffering": "no"}
    return Response(_events(room, source, now, allowed), content_type="text/event-stream", headers=headers)


def _events(room: Waiting, source: Source[T], now: T, allowed: Callable[[], bool]) -> Iterator[str]:
    state: T | None = now
    sent_id = ""
    while state is not None and allowed():
        event = source.to_event(state)
        if event.id == sent_id:
            yield ": still here\n\n"
        else:
            sent_id = event.id
            yield f"id: {event.id}\nevent: {event.name}\ndata: {event.data}\n\n"
        if event.last or room.closed:
            return
        # When the room is full, `until` returns immediately: pause, to avoid a busy loop.
        time.sleep(CROWDED_PAUSE_S if room.full else source.pause_s)
        state = room.until(source.key, source.read, lambda new, sent=sent_id: source.to_event(new).id != sent, PING_S)  # type: ignore[misc]
