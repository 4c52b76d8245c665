"""Idempotency keys. Each is bound to the id of the job or batch that its first request created."""

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
        """Bind the spec's idempotency key to the spec's id, unless it is bound already.

        Returns the key's state and the job or batch id it is bound to.
        """
        state, name = self._functions(
            "reserve", spec.tenant, spec.key_hash, spec.fingerprint, spec.id, BUSY_MS, TTL_MS,
            self._epoch.run_id(), "batch" if keys.is_batch_id(spec.id) else "job",
        )  # fmt: skip
        return Reservation(state), str(name)

    def remember(self, spec: BatchSpec) -> None:
        """Bind the batch's idempotency key, so that a repeated request finds the batch."""
        key = keys.idempotency(spec.tenant, spec.key_hash)
        with self._client.pipeline() as pipe:
            pipe.hset(key, mapping={"id": spec.id, "fingerprint": spec.fingerprint, "busy_until": "0"})
            pipe.pexpire(key, TTL_MS)
            pipe.execute()

    def unreserve(self, spec: Spec | BatchSpec) -> None:
        """Release the key after a failed request, so that a retry need not wait.

        The key keeps its id.
        """
        if spec.key_hash:
            self._client.hset(keys.idempotency(spec.tenant, spec.key_hash), "busy_until", "0")
