"""Mapping files as users write them."""

from __future__ import annotations

from pathlib import Path

from sync_pipeline_tests.harness import Team


def write_mapping(us: Team, name: str, text: str) -> Path:
    """Put a file into the team's own mappings directory, which is made and set when it is the first one."""
    directory = us.home.parent / "mappings"
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text, "utf-8")
    us.changes["SYNC_MAPPINGS_DIR"] = str(directory)
    return directory
