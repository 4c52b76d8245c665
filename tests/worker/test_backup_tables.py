"""The rows of a backup: written by one kind of database or an older version, restored into another."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from specs import submit
from sqlalchemy import select

from storage.backup import tables
from storage.backup.folder import Folder
from storage.backup.restoring import restore
from storage.backup.saving import save
from storage.connection import Storage
from storage.records.api_key import Scope
from storage.records.sql import Database
from storage.records.tables import RETIRED, audit_log, jobs
from storage.recovery import find
from worker.housekeeping import recorder

READ = frozenset({Scope.READ})


def test_rows_move_between_kinds_of_databases(store: Storage, database: Database, tmp_path: Path) -> None:
    store.api_keys.create("acme", READ, "laptop")
    submit(store)
    recorder.record(store)
    recorder.tidy(store)
    for name in tables.names():
        path = tmp_path / f"{name}.jsonl.gz"
        tables.save(store.database, name, path)
        for _ in range(2):  # an interrupted restore repeats
            tables.load(database, name, path)
    for name, table in tables.metadata.tables.items():
        with store.database.begin() as old, database.begin() as new:
            rows = [set(map(str, connection.execute(select(table)).mappings())) for connection in (old, new)]
        assert rows[0] == rows[1], name
    with database.begin() as connection:
        assert len(connection.execute(select(jobs)).all()) == 1
        assert connection.execute(select(audit_log)).all()


def test_newer_columns_get_their_defaults(store: Storage, database: Database, tmp_path: Path) -> None:
    store.api_keys.create("acme", READ, "laptop")
    path, older = tmp_path / "api_keys.jsonl.gz", tmp_path / "older.jsonl.gz"
    tables.save(store.database, "api_keys", path)
    lines = tables.lines(path)
    tables.write(older, ({name: value for name, value in row.items() if name != "expires_ms"} for row in lines))
    assert tables.load(database, "api_keys", older) == 1
    with database.begin() as connection:
        assert connection.execute(select(tables.metadata.tables["api_keys"].c.expires_ms)).scalar_one() == 0


@pytest.mark.parametrize("name", RETIRED)
def test_a_backup_may_hold_a_table_that_is_no_longer_used(own_store: Storage, tmp_path: Path, name: str) -> None:
    folder, made = Folder(tmp_path / "backup"), submit(own_store)
    save(own_store, folder, lambda _: None)
    manifest = json.loads((folder.root / "manifest.json").read_text())
    manifest["tables"][name] = asdict(tables.write(folder.table_path(name), []))
    (folder.root / "manifest.json").write_text(json.dumps(manifest))
    restore(own_store, folder, True, lambda _: None)
    assert find(own_store.objects, own_store.jobs, made.tenant, made.id)
