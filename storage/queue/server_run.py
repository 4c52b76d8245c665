"""Which run of the Redis server one is talking to. Another run may remember less than the one before."""

import redis
from redis.connection import AbstractConnection


class ServerRun:
    """The server's run id, asked again only after a new connection: nothing else can lead to another run."""

    def __init__(self) -> None:
        self._known: str | None = None
        self._connections = 0

    def connected(self, connection: AbstractConnection) -> None:
        """To be redis-py's `redis_connect_func`."""
        self._known, self._connections = None, self._connections + 1
        connection.on_connect()  # type: ignore[no-untyped-call]

    def id(self, client: redis.Redis) -> str:
        if self._known is not None:
            return self._known
        before = self._connections
        found = str(client.info("server")["run_id"])
        if before == self._connections:  # else the answer may be the former run's
            self._known = found
        return found
