"""Connect to the object store, Redis, SQL and the ticket queue, in the same way in every process."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from storage.batches import Batches
from storage.models import Models
from storage.objects import MinioObjects
from storage.pausing import Pausing
from storage.queue.client import CountingRedis
from storage.queue.jobs import RedisJobs
from storage.queue.server_run import ServerRun
from storage.queue.tickets import Tickets, celery_app
from storage.rollouts.rollouts import Rollouts
from storage.settings import Settings
from storage.tls import redis_options

if TYPE_CHECKING:
    from storage.records.api_keys import ApiKeys
    from storage.records.audit import Audit
    from storage.records.jobs import Records
    from storage.records.reviews import Reviews
    from storage.records.runs import RunRecords
    from storage.records.sessions import Sessions
    from storage.records.sql import Database
    from storage.training.datasets import Datasets
    from storage.training.runs import Runs

# A thousand requests that wait for one job all read it when it ends. They queue for a connection
# instead of being refused one.
CONNECTIONS, QUEUE_S = 64, 10
RETRY = Retry(ExponentialBackoff(cap=0.5, base=0.05), 2)
# Retry after a closed connection, but not after a timeout.
RETRY_ONLINE = Retry(ExponentialBackoff(cap=0.1, base=0.05), 1, supported_errors=(redis.ConnectionError,))


@dataclass(frozen=True)
class Storage:
    settings: Settings
    objects: MinioObjects
    jobs: RedisJobs
    batches: Batches
    models: Models
    rollouts: Rollouts
    tickets: Tickets

    # Importing SQLAlchemy costs 20 MB and a third of a second. Workers never use it, so it is
    # imported on demand.
    @cached_property
    def database(self) -> "Database":
        from storage.records.sql import Database

        return Database(self.settings.sql_url.get_secret_value())

    @cached_property
    def pausing(self) -> Pausing:
        return Pausing(self.objects, self.jobs.client, self.jobs.epoch)

    @cached_property
    def records(self) -> "Records":
        from storage.records.jobs import Records

        return Records(self.database)

    @cached_property
    def reviews(self) -> "Reviews":
        from storage.records.reviews import Reviews

        return Reviews(self.database)

    @cached_property
    def api_keys(self) -> "ApiKeys":
        from storage.records.api_keys import ApiKeys

        return ApiKeys(self.database, self.settings.shard)

    @cached_property
    def sessions(self) -> "Sessions":
        from storage.records.sessions import Sessions

        return Sessions(self.database)

    @cached_property
    def audit(self) -> "Audit":
        from storage.records.audit import Audit

        return Audit(self.database)

    @cached_property
    def run_records(self) -> "RunRecords":
        from storage.records.runs import RunRecords

        return RunRecords(self.database)

    @cached_property
    def datasets(self) -> "Datasets":
        from storage.training.datasets import Datasets

        return Datasets(self.objects)

    @cached_property
    def runs(self) -> "Runs":
        from storage.training.runs import Runs

        return Runs(self.objects)

    def close(self) -> None:
        """Close the connections to Redis and SQL. A later use opens new ones."""
        self.jobs.client.connection_pool.disconnect()
        if "database" in vars(self):
            self.database.dispose()


def connect(settings: Settings, online: bool = False) -> Storage:
    """The clients of the object store, Redis and the ticket queue. Opens no connection yet.

    `online`: a client is waiting, so fail fast during an outage.
    """
    server_run = ServerRun()
    pool = redis.BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=CONNECTIONS,
        timeout=QUEUE_S,
        decode_responses=True,
        socket_timeout=2 if online else 5,
        socket_connect_timeout=2,
        socket_keepalive=True,
        health_check_interval=25,
        redis_connect_func=server_run.connected,
        **redis_options(settings.redis_url, settings.redis_ca),
        # Every call of a Redis Function may be repeated: `claim` and `finish` return the same
        # result for the same token, and repeating the others changes nothing.
        retry=RETRY_ONLINE if online else RETRY,
    )
    client = CountingRedis(connection_pool=pool)
    objects, jobs = MinioObjects(settings, online), RedisJobs(client, settings, server_run)
    batches, models = Batches(objects, jobs), Models(objects, jobs.locks.alone, settings.model_public_key)
    rollouts = Rollouts(objects, jobs.locks.alone, models)
    tickets = Tickets(celery_app(settings.redis_url, settings.redis_ca))
    return Storage(settings, objects, jobs, batches, models, rollouts, tickets)
