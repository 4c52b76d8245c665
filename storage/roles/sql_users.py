"""Create PostgreSQL users with the rights in storage/roles/roles.py, as the owner of the database."""

from collections.abc import Iterator
from typing import Any

from psycopg import sql
from sqlalchemy import Connection

from storage.problems import Unavailable
from storage.records.sql import Database
from storage.roles.roles import TABLES, Role
from storage.settings import Settings

PROGRAM = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")


def make_users(database: Database, settings: Settings) -> None:
    """Create a user for each role that has a secret in `sql_users`.

    Repeating it updates secrets and rights. Raises Unavailable if the server does not answer or is
    not PostgreSQL.
    """
    if database.engine.dialect.name != "postgresql":
        raise Unavailable("SQL_USERS: only PostgreSQL has users")
    with database.begin(alone=True) as connection:
        for statement in _revoke_defaults(connection):
            _run(connection, statement)
        for role in (role for role in TABLES if role in settings.sql_users):
            _set_password(connection, role, settings.sql_users[role].get_secret_value())
            for statement in _rights(connection, role):
                _run(connection, statement)


def _revoke_defaults(connection: Connection) -> Iterator[sql.Composable]:
    """Revoke the rights that PostgreSQL grants to every user by default."""
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(_database(connection))
    yield sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC")


def _set_password(connection: Connection, role: Role, secret: str) -> None:
    """Send a SCRAM verifier, because PostgreSQL may log the statement with the password."""
    driver: Any = connection.connection.driver_connection
    verifier = driver.pgconn.encrypt_password(secret.encode(), role.encode(), b"scram-sha-256").decode()
    name = sql.Identifier(role)
    known = connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (str(role),)).first()
    if not known:
        _run(connection, sql.SQL("CREATE ROLE {}").format(name))
    _run(connection, sql.SQL("ALTER ROLE {} {} PASSWORD {}").format(name, PROGRAM, sql.Literal(verifier)))


def _rights(connection: Connection, role: Role) -> Iterator[sql.Composable]:
    name = sql.Identifier(role)
    yield sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(_database(connection), name)
    yield sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name)
    yield sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(name)
    for table, rights in TABLES[role].items():
        granted = sql.SQL(", ".join(rights))  # a constant from TABLES, so not open to SQL injection
        yield sql.SQL("GRANT {} ON {} TO {}").format(granted, sql.Identifier(table), name)


def _database(connection: Connection) -> sql.Identifier:
    return sql.Identifier(str(connection.exec_driver_sql("SELECT current_database()").scalar()))


def _run(connection: Connection, statement: sql.Composable) -> None:
    connection.exec_driver_sql(statement.as_string())
