"""Alembic migrations, run by the package itself: there is no ini file and nothing to run by hand."""
