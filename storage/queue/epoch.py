"""Whether this Redis is whole. After a restart it may remember less than before, until the housekeeper has looked."""

from collections.abc import Sequence
from typing import cast

import redis

from storage import keys
from storage.queue.server_run import ServerRun


class Epoch:
    """Two marks hold the run id of the server that was found whole: EPOCH for jobs, KEYED for idempotency keys."""

    def __init__(self, client: redis.Redis, server_run: ServerRun) -> None:
        self._client, self._server_run = client, server_run

    def run_id(self) -> str:
        return self._server_run.id(self._client)

    def intact(self, what: str = keys.EPOCH) -> bool:
        """False when this Redis may have lost something: it was started anew, or its keys were deleted.

        `what`: KEYED for idempotency keys, which come back after everything else.
        """
        return bool(self._client.get(what) == self.run_id())

    def mark_intact(self, run_id: str = "", what: Sequence[str] = (keys.EPOCH, keys.KEYED)) -> None:
        """`run_id`: as of that run of the server; if another has begun since, nothing is `intact` by this."""
        for name in what:
            self._client.set(name, run_id or self.run_id())

    def state_age_s(self) -> float | None:
        """How old what Redis remembers is at most: seconds since the last sweep. None where it remembers none."""
        at = cast(str | None, self._client.get(keys.CLOCK))
        return max(0.0, (server_ms(self._client) - int(at)) / 1000) if at else None


def server_ms(client: redis.Redis) -> int:
    """The time by Redis' own clock, like every time in it."""
    seconds, micros = client.time()
    return int(seconds * 1000 + micros // 1000)
