"""Alembic's entry: `storage.records.schema.migrate` hands over its connection."""

from alembic import context

from storage.records.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
