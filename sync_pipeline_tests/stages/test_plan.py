"""What is to be written, row by row."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sync_pipeline.errors import ApiError
from sync_pipeline.stages.plan import pages
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
