"""Tables and migrations in each kind of database."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from storage.problems import Unavailable
from storage.records import schema
from storage.records.sql import Database
from storage.records.tables import RETIRED, metadata


def test_the_migrations_create_exactly_these_tables(database: Database) -> None:
    with database.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_used})
        assert compare_metadata(context, metadata) == []


def is_used(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or name not in RETIRED


def test_retired_tables_still_exist(database: Database) -> None:
    """The previous version's `segue backup` reads them."""
    with database.begin() as connection:
        assert set(RETIRED) <= set(inspect(connection).get_table_names())


def test_migrating_again_changes_nothing(database: Database) -> None:
    before = schema.revision(database)
    schema.migrate(database)
    assert schema.revision(database) == before
    assert before[0] == before[1]


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://segue@127.0.0.1:9/nothing", "sqlite:////proc/nowhere/records.db"]
)
def test_a_database_that_does_not_answer_is_an_outage(url: str) -> None:
    with pytest.raises(Unavailable, match="records"), Database(url).begin():
        pass


def test_a_database_without_tables_is_an_outage(tmp_path: object) -> None:
    from storage.records.api_keys import ApiKeys

    with pytest.raises(Unavailable, match="records"):
        ApiKeys(Database(f"sqlite:///{tmp_path}/empty.db")).find("0" * 12)
