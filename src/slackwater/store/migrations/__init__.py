"""Migrations, numbered; alembic runs them inside one transaction of the store."""
