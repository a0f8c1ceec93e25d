"""What is to be written, row by row."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline.errors import ApiError
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.stages.plan import CHANGES_BYTES, changes, pages
from sync_pipeline.store.planned import Pending
from sync_pipeline.store.schema import SENT, SENT_NEW
from sync_pipeline_tests.harness import team


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_pending_rows_come_in_pages_and_each_once(tmp_path: Path, size: int) -> None:
    """In the order of their ids, whatever the page's size."""
    with team(tmp_path, entries=0) as us:
        us.fault("cut_before", "POST */projects/batch")
        with pytest.raises(ApiError):
            us.sync("projects", SYNC_MAX_ATTEMPTS="1")
        us.no_faults()
        with us.session() as session:
            batch = us.validated(session, "projects")
            with closing(session.stagings.pop(("projects", batch.read_no))) as staging:
                found = [[row.source_id for row in page] for page in pages(session.specs["projects"], staging, size)]
        assert [key for page in found for key in page] == sorted(project["id"] for project in us.projects())
        assert all(len(page) == size for page in found[:-1])


def test_the_audit_has_what_a_write_changes_and_no_more_than_fits() -> None:
    """Values before and after, of personal fields the names; what is too long loses its values, then its names."""
    spec = load_specs()["time_entries"]
    before = {"time_entry_id": "e1", "description": "Mine", "project_id": "p1", "tags": ["a"]}

    def changed(**fields: object) -> Any:
        after = {**before, **fields}
        text = changes(spec, Pending("e1", "e1", None, json.dumps(after), "new", "old", json.dumps(before)), after)
        assert text is None or len(text) <= CHANGES_BYTES
        return None if text is None else json.loads(text)

    assert changed() is None
    assert changed(project_id="p2", tags=None) == {"project_id": ["p1", "p2"], "tags": [["a"], None]}
    assert changed(description="Yours") == {"description": None}
    assert changed(project_id="p2", task_id="t" * CHANGES_BYTES) == {"project_id": ["p1", "p2"], "task_id": None}


@pytest.mark.parametrize("known", [None, SENT, SENT_NEW])
def test_of_what_is_unknown_at_the_target_no_change_is_reported(known: str | None) -> None:
    """It is created, or its present state at the target is unknown."""
    row = Pending("e1", None, None, "{}", "new", known, '{"task_id":"t"}')
    assert changes(load_specs()["time_entries"], row, {}) is None
