"""The tables' version: Alembic's migrations.

Importing Alembic costs 7 MB, so only setup, the creation of keys, backups and the doctor import this module.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from storage.records.sql import Database

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(database: Database) -> None:
    """Apply the migrations up to this code's version.

    Safe to repeat, and while processes run. Raises Unavailable if the database does not answer.
    """
    with database.begin(alone=True) as connection:
        command.upgrade(_config(connection), "head")


def revision(database: Database) -> tuple[str | None, str | None]:
    """The database's current migration, and the latest one in this code.

    Raises Unavailable if the database does not answer.
    """
    with database.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current, _migrations().get_current_head()


def is_known(migration: str) -> bool:
    """Whether this code has the migration; it lacks those of newer versions."""
    return migration in {script.revision for script in _migrations().walk_revisions()}


def _migrations() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
