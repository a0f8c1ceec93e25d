"""Short ways to a spec and to the frames of a few records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from sync_pipeline.mapping.apply import map_frame
from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.columns import text_list
from sync_pipeline.mapping.frames import raw_frame
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec

SPECS = load_specs()


def entry(**changes: Any) -> dict[str, Any]:
    """A canonical time entry, valid unless the changes make it invalid."""
    interval = {"start": "2024-05-01T09:30:00Z", "end": "2024-05-01T11:00:00Z", "duration": 5400}
    return {
        "id": "e1",
        "userId": "u1",
        "projectId": "p1",
        "description": "Design review",
        "billable": True,
        "type": "REGULAR",
        "tags": [{"id": "t1", "name": "remote"}],
        "timeInterval": interval,
    } | changes


def checked(spec: EntitySpec, *records: object) -> pd.DataFrame:
    """The records read, mapped and checked."""
    return check_frame(spec, map_frame(spec, raw_frame(spec, records)))


def problems(frame: pd.DataFrame, row: int = 0) -> list[dict[str, Any]]:
    """The problems of one row, none as an empty list."""
    text = text_list(frame["problems"])[row]
    found: list[dict[str, Any]] = json.loads(text or "[]")
    return found


def overridden(directory: Path, entity: str, yaml: str) -> EntitySpec:
    """The entity with this override file of the user's."""
    (directory / f"{entity}.yaml").write_text(yaml)
    return load_specs(directory)[entity]
