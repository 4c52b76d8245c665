"""PostgreSQL users with the rights of storage/roles/roles.py, made by the owner of the database."""

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
    """A user for each role that has a secret in `sql_users`. Repeated, it corrects secrets and rights.

    Raises Unavailable where the server does not answer, or is not PostgreSQL.
    """
    if database.engine.dialect.name != "postgresql":
        raise Unavailable("SQL_USERS: only PostgreSQL has users")
    with database.begin(alone=True) as connection:
        for statement in _for_everybody(connection):
            _run(connection, statement)
        for role in (role for role in TABLES if role in settings.sql_users):
            _set_password(connection, role, settings.sql_users[role].get_secret_value())
            for statement in _rights(connection, role):
                _run(connection, statement)


def _for_everybody(connection: Connection) -> Iterator[sql.Composable]:
    """What PostgreSQL gives to every user by itself is taken back."""
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(_database(connection))
    yield sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC")


def _set_password(connection: Connection, role: Role, secret: str) -> None:
    """As a SCRAM verifier: the password itself would stand in the server's log."""
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
        granted = sql.SQL(", ".join(rights))  # from the table of roles, not from outside
        yield sql.SQL("GRANT {} ON {} TO {}").format(granted, sql.Identifier(table), name)


def _database(connection: Connection) -> sql.Identifier:
    return sql.Identifier(str(connection.exec_driver_sql("SELECT current_database()").scalar()))


def _run(connection: Connection, statement: sql.Composable) -> None:
    connection.exec_driver_sql(statement.as_string())
