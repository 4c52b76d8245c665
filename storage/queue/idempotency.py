"""Idempotency keys: each is bound to the id of the job or batch that its first request made."""

import redis

from storage import keys
from storage.batch import BatchSpec
from storage.job import Spec
from storage.queue.answers import Reservation
from storage.queue.epoch import Epoch
from storage.queue.functions import Functions

TTL_MS = 24 * 3600 * 1000
BUSY_MS = 30_000


class Idempotency:
    def __init__(self, client: redis.Redis, functions: Functions, epoch: Epoch) -> None:
        self._client, self._functions, self._epoch = client, functions, epoch

    def reserve(self, spec: Spec | BatchSpec) -> tuple[Reservation, str]:
        """Bind the spec's idempotency key to its id, unless it has one. → state and the key's job or batch id."""
        state, name = self._functions(
            "reserve", spec.tenant, spec.key_hash, spec.fingerprint, spec.id, BUSY_MS, TTL_MS,
            self._epoch.run_id(), "batch" if keys.is_batch_id(spec.id) else "job",
        )  # fmt: skip
        return Reservation(state), str(name)

    def remember(self, spec: BatchSpec) -> None:
        """A repetition of the request finds this batch."""
        key = keys.idempotency(spec.tenant, spec.key_hash)
        with self._client.pipeline() as pipe:
            pipe.hset(key, mapping={"id": spec.id, "fingerprint": spec.fingerprint, "busy_until": "0"})
            pipe.pexpire(key, TTL_MS)
            pipe.execute()

    def unreserve(self, spec: Spec | BatchSpec) -> None:
        """The request failed: its repetition may go on under the same id at once."""
        if spec.key_hash:
            self._client.hset(keys.idempotency(spec.tenant, spec.key_hash), "busy_until", "0")
