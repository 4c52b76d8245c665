"""Whether Redis has all its data.

After a restart it may lack some until the housekeeper has rebuilt it.
"""

from collections.abc import Sequence
from typing import cast

import redis

from storage import keys
from storage.queue.server_run import ServerRun


class Epoch:
    """Two Redis keys hold the run id of the server known to be complete: EPOCH for jobs, KEYED for
    idempotency keys.
    """

    def __init__(self, client: redis.Redis, server_run: ServerRun) -> None:
        self._client, self._server_run = client, server_run

    def run_id(self) -> str:
        return self._server_run.id(self._client)

    def intact(self, what: str = keys.EPOCH) -> bool:
        """False if Redis may lack data, because it restarted or its keys were deleted.

        `what`: EPOCH, or KEYED for idempotency keys, which are rebuilt last.
        """
        return bool(self._client.get(what) == self.run_id())

    def mark_intact(self, run_id: str = "", what: Sequence[str] = (keys.EPOCH, keys.KEYED)) -> None:
        """Mark that the server with this run id has all data.

        Has no effect if Redis has restarted since.
        """
        for name in what:
            self._client.set(name, run_id or self.run_id())

    def state_age_s(self) -> float | None:
        """Seconds since the last sweep that Redis remembers: its data is at most that old.

        None without a sweep.
        """
        at = cast(str | None, self._client.get(keys.CLOCK))
        return max(0.0, (server_ms(self._client) - int(at)) / 1000) if at else None


def server_ms(client: redis.Redis) -> int:
    """Redis' clock, ms UTC. All times in Redis are by this clock."""
    return in_ms(client.time())


def in_ms(answer: Sequence[int]) -> int:
    """Redis' answer to TIME, in ms."""
    seconds, micros = answer
    return int(seconds * 1000 + micros // 1000)
