"""Two orders of an operator: workers claim no job (a pause), and the web server accepts no new work (a refusal).

Each stands alone: without the other, a pause still lets jobs be accepted, and a refusal lets the queue be worked off.
Redis has a copy of each, because every claim and every submission reads it. The objects are the truth, and outlive a
loss of Redis.
"""

from typing import cast

import redis
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from storage import clock, keys
from storage.objects import MODELS, MinioObjects
from storage.queue.epoch import Epoch

# The Redis key of each order → its object, in the bucket of the models.
OBJECTS = {keys.PAUSE: "pause.json", keys.REFUSAL: "refusal.json"}


@dataclass(frozen=True)
class Order:
    """`reason`: why, as senders read it; not empty."""

    reason: str
    since_ms: int


_ADAPTER = TypeAdapter(Order)


class Pausing:
    """Raises Unavailable or redis.RedisError if the object store or Redis does not answer."""

    def __init__(self, objects: MinioObjects, client: redis.Redis, epoch: Epoch) -> None:
        self._objects, self._client, self._epoch = objects, client, epoch

    def pause(self, reason: str) -> Order:
        """Let no job be claimed from now on. Running jobs continue. Another call replaces the reason."""
        return self._give(keys.PAUSE, reason)

    def refuse(self, reason: str) -> Order:
        """Accept no new work from now on. Another call replaces the reason."""
        return self._give(keys.REFUSAL, reason)

    def resume(self) -> bool:
        """End both orders. Returns whether there was one."""
        ended = [self._end(key) for key in OBJECTS]
        return any(ended)

    def refusal(self) -> Order | None:
        """The order to accept no new work. While Redis may lack data or have older data, the object decides."""
        return current_order(self._client, keys.REFUSAL) if self._epoch.intact() else self._stored(keys.REFUSAL)

    def restore(self) -> None:
        """Make Redis agree with the objects, after Redis has lost data and before any job is claimed.

        A `resume` in another process removes the object first, so a look after the write finds out about it.
        """
        for key in OBJECTS:
            if stored := self._stored(key):
                self._note(key, stored)
            if not stored or self._stored(key) is None:
                self._client.delete(key)

    def _give(self, key: str, reason: str) -> Order:
        made = Order(reason, clock.now_ms())
        self._objects.put(MODELS, OBJECTS[key], _ADAPTER.dump_json(made), "application/json")
        self._note(key, made)
        return made

    def _end(self, key: str) -> bool:
        given = self._stored(key) is not None
        self._objects.remove(MODELS, OBJECTS[key])
        return bool(self._client.delete(key)) or given

    def _stored(self, key: str) -> Order | None:
        content = self._objects.get(MODELS, OBJECTS[key])
        return None if content is None else _ADAPTER.validate_json(content)

    def _note(self, key: str, order: Order) -> None:
        self._client.hset(key, mapping={"reason": order.reason, "since_ms": order.since_ms})


def current_order(client: redis.Redis, key: str) -> Order | None:
    """The order as Redis knows it; None without one. `key`: keys.PAUSE or keys.REFUSAL."""
    fields = cast(dict[str, str], client.hgetall(key))
    return Order(fields["reason"], int(fields["since_ms"])) if fields else None
