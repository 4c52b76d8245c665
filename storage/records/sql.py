"""The SQL database: SQLite by default, or PostgreSQL. Making a mask does not need it."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError

from storage.problems import Outage, Unavailable
from telemetry.metrics import RECORDS_ERRORS

BUSY_MS = 5_000  # how long a SQLite writer waits for another one
POSTGRES = {
    "connect_timeout": 2,
    "options": "-c statement_timeout=10000 -c lock_timeout=5000",
    # Detect a dead database host within seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}
ALONE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(5390911)"}
INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Database:
    """Every method raises Unavailable if the database does not answer (a server: Outage) or has not been set up."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._made: Engine | None = None

    @property
    def engine(self) -> Engine:
        with self._lock:
            if self._made is None:
                self._made = _engine(self.url)
            return self._made

    @contextmanager
    def begin(self, alone: bool = False) -> Iterator[Connection]:
        """One transaction. Raises DataError or IntegrityError if the rows themselves are invalid.

        `alone`: at most one such transaction runs at a time, so no other one changes what it has
        read.
        """
        try:
            with self.engine.begin() as connection:
                if alone:
                    connection.exec_driver_sql(ALONE[connection.dialect.name])
                yield connection
        except (DataError, IntegrityError):
            raise
        except (SQLAlchemyError, OSError) as error:
            RECORDS_ERRORS.inc()
            outage = isinstance(error, OperationalError) and self.engine.dialect.name != "sqlite"
            raise (Outage if outage else Unavailable)(f"records: {type(error).__name__}") from error

    def scrub(self) -> None:
        """Empty SQLite's write-ahead log, which holds earlier content of rows.

        PostgreSQL recycles its log.
        """
        try:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except (SQLAlchemyError, OSError) as error:
            RECORDS_ERRORS.inc()
            raise Unavailable(f"records: {type(error).__name__}") from error

    def dispose(self) -> None:
        if self._made is not None:
            self._made.dispose()


def upsert(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert the rows, which all have the same columns.

    A row whose primary key exists is overwritten.
    """
    listed = [dict(row) for row in rows]
    if not listed:
        return
    keys = [column.name for column in table.primary_key]
    insert = INSERT[connection.dialect.name](table)
    changed = {name: insert.excluded[name] for name in listed[0] if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), listed)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, pool_timeout=5, connect_args=POSTGRES, hide_parameters=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_MS / 1000}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Let readers continue during a write, and overwrite deleted content with zeros.

    A power failure may lose the last transactions; the recorder writes them again.
    """
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
