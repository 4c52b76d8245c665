"""Removes erased data from the append-only file of Redis and the write-ahead log of SQLite.

SeaweedFS does the same with its own volumes (deploy/s3.sh).
"""

import logging

import redis

from storage.connection import Storage

AT_MOST_S = 600.0  # after that another housekeeper may try

log = logging.getLogger(__name__)


def scrub(storage: Storage) -> None:
    """Rewrite both files from the present data. Raises Unavailable if the SQL database is down."""
    with storage.jobs.locks.alone("scrub", AT_MOST_S) as chosen:
        if not chosen:
            return
        try:
            storage.jobs.client.bgrewriteaof()
        except redis.ResponseError as error:  # a rewrite is already running
            log.info("rewrite_skipped", extra={"error": str(error)})
        storage.database.scrub()
