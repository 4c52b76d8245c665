"""Server-sent events of something that changes until it has ended."""

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
    """`id` differs with every change; `last`: nothing comes after it."""

    id: str
    name: str
    data: str
    last: bool


@dataclass(frozen=True)
class Source(Generic[T]):
    """What is watched: the key of its changes, how it is read, what is told of it. `pause_s`: between two events."""

    key: str
    read: Callable[[], T | None]
    tell: Callable[[T], Event]
    pause_s: float = 0.0


def stream(room: Waiting, source: Source[T], now: T, allowed: Callable[[], bool]) -> Response:
    """The state now, then every change, until the last; or until it is gone, or the caller's key is."""
    headers = {"X-Accel-Buffering": "no"}
    return Response(_events(room, source, now, allowed), content_type="text/event-stream", headers=headers)


def _events(room: Waiting, source: Source[T], now: T, allowed: Callable[[], bool]) -> Iterator[str]:
    seen: T | None = now
    told = ""
    while seen is not None and allowed():
        event = source.tell(seen)
        if event.id == told:
            yield ": still here\n\n"
        else:
            told = event.id
            yield f"id: {event.id}\nevent: {event.name}\ndata: {event.data}\n\n"
        if event.last or room.closed:
            return
        # In a room that is full a wait ends at once.
        time.sleep(CROWDED_PAUSE_S if room.full else source.pause_s)
        seen = room.until(source.key, source.read, lambda value, told=told: source.tell(value).id != told, PING_S)  # type: ignore[misc]
