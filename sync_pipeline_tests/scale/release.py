"""Newer versions of the package, to be deployed: the same code with another version, and with a newer schema if wanted."""

from __future__ import annotations

import shutil
from importlib.metadata import distribution
from pathlib import Path

from sync_pipeline.store.schema import HEAD
from sync_pipeline_tests.scale.fleet import ROOT

PACKAGE = "sync_pipeline"
MIGRATION = '''"""A table that the version before does not know."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    """Create it."""
    op.create_table("later", sa.Column("id", sa.Integer, primary_key=True))
'''


def release(directory: Path, version: str, *, newer_schema: bool) -> Path:
    """A directory for the front of the module path."""
    shutil.copytree(ROOT / PACKAGE, directory / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    _name(directory, version)
    if newer_schema:
        revision = next_schema()
        schema = directory / PACKAGE / "store" / "schema.py"
        schema.write_text(schema.read_text().replace(f'HEAD = "{HEAD}"', f'HEAD = "{revision}"', 1))
        file = directory / PACKAGE / "store" / "migrations" / "versions" / f"r{revision}_later.py"
        file.write_text(MIGRATION.format(revision=revision, before=HEAD))
    return directory


def next_schema() -> str:
    """The revision after the current one."""
    return f"{int(HEAD) + 1:04}"


def _name(directory: Path, version: str) -> None:
    """Report the version, as an installed package does."""
    installed = distribution("sync-pipeline")
    facts = directory / f"{PACKAGE}-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sync-pipeline\nVersion: {version}\n")
    if (points := installed.read_text("entry_points.txt")) is not None:
        (facts / "entry_points.txt").write_text(points)
