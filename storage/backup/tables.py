"""The SQL tables as lines of JSON, which SQLite and PostgreSQL both read and write."""

import gzip
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from storage.backup.folder import Part, write_lines
from storage.records.sql import INSERT, Database, upsert
from storage.records.tables import audit_log, metadata

PAGE = 500
# `segue setup` writes to these, so rows in them do not mean that an installation is in use.
OF_SETUP = ("audit_log", "model_versions")


def names() -> list[str]:
    return sorted(metadata.tables)


def save(database: Database, name: str, path: Path) -> Part:
    with database.begin() as connection:
        rows = connection.execution_options(yield_per=PAGE).execute(select(metadata.tables[name]))
        return write(path, map(dict, rows.mappings()))


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Part:
    return write_lines(path, (json.dumps(row).encode() + b"\n" for row in rows), compressed=True)


def load(database: Database, name: str, path: Path) -> int:
    """Insert or overwrite the rows. Columns that are newer than the backup get their defaults."""
    table, count = metadata.tables[name], 0
    rows = ({name: value for name, value in row.items() if name in table.c} for row in lines(path))
    while page := list(islice(rows, PAGE)):
        with database.begin() as connection:
            if table is audit_log:  # its triggers refuse changes
                insert = INSERT[connection.dialect.name](table).on_conflict_do_nothing()
                connection.execute(insert, page)
            else:
                upsert(connection, table, page)
        count += len(page)
    return count


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def in_use(database: Database) -> list[str]:
    """The tables that have rows, besides those that `segue setup` writes."""
    with database.begin() as connection:
        counts = {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
            if name not in OF_SETUP
        }
    return [name for name, count in counts.items() if count]
