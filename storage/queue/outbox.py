"""What has changed since it was written to the records. Each function that changes a job notes its id here."""

from collections.abc import Sequence
from typing import cast

import redis

from storage import keys
from storage.queue.epoch import server_ms
from storage.queue.functions import Functions


class Outbox:
    """Names of jobs, batches and feedback objects, each with the revision of its last change."""

    def __init__(self, client: redis.Redis, functions: Functions) -> None:
        self._client, self._functions = client, functions

    def note(self, name: str) -> None:
        """For what is no job: a batch's id, or a feedback object's key; and for jobs that the records lack."""
        self._client.zadd(keys.UNRECORDED, {name: server_ms(self._client)})

    def first(self, at_most: int) -> list[tuple[str, float]]:
        """Names with the revisions of their changes, the oldest first."""
        rows = self._client.zrange(keys.UNRECORDED, 0, at_most - 1, withscores=True)
        return cast(list[tuple[str, float]], rows)

    def without(self, names: Sequence[str]) -> list[str]:
        """Those that are not in it."""
        if not names:
            return []
        scores = self._client.zmscore(keys.UNRECORDED, list(names))
        return [name for name, score in zip(names, scores, strict=True) if score is None]

    def done(self, changes: Sequence[tuple[str, float]]) -> None:
        """These are in the records now; what has changed again meanwhile stays."""
        self._functions("recorded", *(part for name, revision in changes for part in (name, int(revision))))

    def unheard(self) -> bool:
        """True when no `records` message is queued."""
        return not self._client.llen(keys.RECORDS_QUEUE)
