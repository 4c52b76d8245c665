"""PostgreSQL users: tries each right on each table on a real server."""

import json
from collections.abc import Iterator
from typing import Any

import pictures
import pytest
import services
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from storage import keys
from storage.clock import now_ms
from storage.connection import Storage, connect
from storage.problems import Unavailable
from storage.records import schema
from storage.records.audit_event import Action, Counted, Event
from storage.records.sql import Database
from storage.records.tables import metadata
from storage.roles.roles import TABLES, Role
from storage.roles.sql_users import make_users
from storage.settings import Settings
from storage.training.runs import Kind, Spec

SECRETS = {role: SecretStr(f"secret of {role}") for role in TABLES}
ACTIONS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
ALL_TABLES = sorted([*metadata.tables, "alembic_version"])


@pytest.fixture
def owner(postgres: services.Service) -> Iterator[Database]:
    made = Database(services.postgres_url(postgres.port))
    with made.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    schema.migrate(made)
    for _ in range(2):  # repeated, it changes nothing
        make_users(made, Settings(sql_users=SECRETS))
    yield made
    made.dispose()


@pytest.fixture
def users(owner: Database, postgres: services.Service) -> Iterator[dict[Role, Engine]]:
    made = {role: create_engine(url_of(role, postgres)) for role in TABLES}
    yield made
    for engine in made.values():
        engine.dispose()


def url_of(role: Role, postgres: services.Service) -> str:
    return services.postgres_url(postgres.port).replace("//segue@", f"//{role}@")


def statements(table: str, columns: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (action, column or "", a statement that would change nothing)."""
    yield "DELETE", "", f"DELETE FROM {table} WHERE false"
    yield "TRUNCATE", "", f"TRUNCATE {table}"
    nulls = ", ".join(f"NULL::{kind}" for kind in kinds(table))
    yield "INSERT", "", f"INSERT INTO {table} ({', '.join(columns)}) SELECT {nulls} WHERE false"
    for column in columns:
        yield "SELECT", column, f"SELECT {column} FROM {table} LIMIT 0"
        yield "UPDATE", column, f"UPDATE {table} SET {column} = DEFAULT WHERE false"


def kinds(table: str) -> list[str]:
    types = {"JSON": "json", "BOOLEAN": "boolean", "FLOAT": "float8", "INTEGER": "int", "BIGINT": "bigint"}
    if table not in metadata.tables:
        return ["varchar"]
    return [types.get(str(column.type), "varchar") for column in metadata.tables[table].columns]


def allowed(role: Role, table: str, action: str, column: str) -> bool:
    """Whether the table of roles grants the right, for the whole table or for columns in brackets."""
    for right in TABLES[role].get(table, ()):
        name, _, columns = right.partition(" (")
        if name == action and (not columns or column in columns.removesuffix(")").split(", ")):
            return True
    return False


def refused(engine: Engine, statement: str) -> bool:
    with engine.connect() as connection:
        try:
            connection.execute(text(statement))
        except ProgrammingError as error:
            if "permission denied" not in str(error):
                raise
            return True
        return False


@pytest.mark.parametrize("table", ALL_TABLES)
@pytest.mark.parametrize("role", sorted(TABLES))
def test_each_right_of_each_table(users: dict[Role, Engine], role: Role, table: str) -> None:
    known = metadata.tables.get(table)
    columns = [column.name for column in known.columns] if known is not None else ["version_num"]
    tried = list(statements(table, columns))
    assert {action for action, _, _ in tried} == set(ACTIONS)
    for action, column, statement in tried:
        assert refused(users[role], statement) == (not allowed(role, table, action, column)), statement


@pytest.mark.parametrize("role", sorted(TABLES))
def test_no_program_can_create_or_alter_anything(users: dict[Role, Engine], role: Role) -> None:
    for statement in (
        "CREATE TABLE mine (a int)",
        "CREATE TEMP TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ):
        assert refused(users[role], statement), statement
    with users[role].connect() as connection:
        for statement in ("DROP TABLE audit_log", "ALTER TABLE audit_log DISABLE TRIGGER ALL"):
            with pytest.raises(ProgrammingError, match="must be owner"):
                connection.execute(text(statement))
            connection.rollback()


def test_the_housekeeper_cannot_delete_recent_events(owner: Database, users: dict[Role, Engine]) -> None:
    from storage.records.audit import Audit

    Audit(owner).write([Counted(Event(Action.SETUP), now_ms())])
    with users[Role.HOUSEKEEPER].connect() as connection, pytest.raises(IntegrityError, match="append-only"):
        connection.execute(text("DELETE FROM audit_log"))


def test_the_users_have_the_configured_passwords(owner: Database) -> None:
    with owner.begin() as connection:
        rows = connection.execute(text("SELECT rolname, rolpassword, rolsuper, rolcreaterole FROM pg_authid"))
        found = {row.rolname: row for row in rows if row.rolname in SECRETS}
    assert set(found) == {str(role) for role in SECRETS}
    for row in found.values():
        assert row.rolpassword.startswith("SCRAM-SHA-256$")
        assert not row.rolsuper
        assert not row.rolcreaterole


@pytest.fixture
def stores(own_store: Storage, owner: Database, postgres: services.Service) -> Iterator[dict[Role, Storage]]:
    made = {
        role: connect(own_store.settings.replace(sql_url=SecretStr(url_of(role, postgres)), key_cache_s=0))
        for role in TABLES
    }
    yield made
    for storage in made.values():
        storage.database.dispose()


def test_each_program_can_do_its_work(stores: dict[Role, Storage], owner: Database) -> None:
    from callers import bearer, guarded

    from storage.records.api_key import Scope
    from storage.records.api_keys import ApiKeys
    from worker.housekeeping import learning, recorder

    web, housekeeper = stores[Role.WEB], stores[Role.HOUSEKEEPER]
    web.models.publish(services.SHIPPED_MODEL)
    _, key = ApiKeys(owner).create("acme", frozenset(Scope))
    app = guarded(web)
    client = app.test_client()
    assert client.post("/session", headers=bearer(key)).status_code == 204
    photo: dict[str, Any] = {"data": pictures.jpeg(), "content_type": "image/jpeg"}
    assert client.post("/v1/jobs", headers=bearer(key), **photo).status_code == 202
    assert client.get("/v1/queue", headers=bearer("seg_x")).status_code == 401
    recorder.record(housekeeper)
    recorder.tidy(housekeeper, 1)
    recorder.record_missing(housekeeper)
    run = Spec(keys.new_run_id(), Kind.SCORE, {}, 1, "me")
    web.runs.submit(run)
    learning.learn(housekeeper)
    assert len(client.get("/v1/jobs").get_json()["data"]) == 1
    app.extensions["journal"].flush()
    assert client.delete("/sessions", headers=bearer(key)).status_code == 204
    app.extensions["storage"].database.dispose()
    with owner.begin() as connection:
        actions = set(connection.scalars(text("SELECT action FROM audit_log")))
        used = connection.execute(text("SELECT last_used_ms FROM api_keys")).scalar()
        status = connection.execute(text("SELECT status FROM training_runs")).scalar()
    assert status == "queued"
    assert {"auth.failed", "session.begun", "session.ended", "key.created", "job.erased"} <= actions
    assert used
    with pytest.raises(Unavailable):
        web.api_keys.revoke("0" * 12)


def test_only_postgresql_has_users(own_store: Storage) -> None:
    with pytest.raises(Unavailable, match="PostgreSQL"):
        make_users(own_store.database, Settings(sql_users=SECRETS))


def test_the_setting_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQL_USERS", json.dumps({"web": "secret"}))
    assert Settings().sql_users["web"].get_secret_value() == "secret"
