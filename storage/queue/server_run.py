"""Detect restarts of the Redis server. A restarted server may have lost data."""

import redis
from redis.connection import AbstractConnection


class ServerRun:
    """Caches the server's run id.

    Only a new connection can reach another run, so each one clears the cache.
    """

    def __init__(self) -> None:
        self._known: str | None = None
        self._connections = 0

    def connected(self, connection: AbstractConnection) -> None:
        """Pass this to redis-py as `redis_connect_func`."""
        self._known, self._connections = None, self._connections + 1
        connection.on_connect()  # type: ignore[no-untyped-call]

    def id(self, client: redis.Redis) -> str:
        if self._known is not None:
            return self._known
        before = self._connections
        found = str(client.info("server")["run_id"])
        if before == self._connections:  # a connection made meanwhile may have reached another run
            self._known = found
        return found
