"""Removes erased bytes from the files in which they remain: Redis' append-only file and SQLite's write-ahead log.

The object server does it with its own volumes (deploy/s3.sh).
"""

import logging

import redis

from storage.connection import Storage

AT_MOST_S = 600.0  # after that another housekeeper may try

log = logging.getLogger(__name__)


def scrub(storage: Storage) -> None:
    """Rewrite both as they stand now. Raises Unavailable where the SQL database does not answer."""
    with storage.jobs.locks.alone("scrub", AT_MOST_S) as chosen:
        if not chosen:
            return
        try:
            storage.jobs.rewrite_log()
        except redis.ResponseError as error:  # it is rewriting it already
            log.info("append-only file not rewritten: %s", error)
        storage.database.scrub()
