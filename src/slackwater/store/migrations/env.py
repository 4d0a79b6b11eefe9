"""Runs migrations over the connection that the store hands over; there is no other way to run them."""

from alembic import context

from slackwater import failpoints
from slackwater.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
    on_version_apply=lambda **_: failpoints.hit("store.migration_step"),
)
with context.begin_transaction():
    context.run_migrations()
