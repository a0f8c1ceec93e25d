"""Alembic migrations, run by the package itself: there is no ini file, and no command to run."""
