"""Changes not yet written to the SQL records.

Each Redis Function that changes a job adds its id.
"""

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
        """Add a batch's id, a feedback object's key, or a job that is missing from the records."""
        self._client.zadd(keys.UNRECORDED, {name: server_ms(self._client)})

    def first(self, at_most: int) -> list[tuple[str, float]]:
        """Names with the revisions of their changes, oldest change first."""
        rows = self._client.zrange(keys.UNRECORDED, 0, at_most - 1, withscores=True)
        return cast(list[tuple[str, float]], rows)

    def without(self, names: Sequence[str]) -> list[str]:
        """The names that are not in the outbox."""
        if not names:
            return []
        scores = self._client.zmscore(keys.UNRECORDED, list(names))
        return [name for name, score in zip(names, scores, strict=True) if score is None]

    def done(self, changes: Sequence[tuple[str, float]]) -> None:
        """Remove recorded changes, except those with a newer revision by now."""
        self._functions("recorded", *(part for name, revision in changes for part in (name, int(revision))))
