"""What Alembic loads to run the migrations on the connection that the runner hands over."""

from __future__ import annotations

from alembic import context

from sync_pipeline.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
