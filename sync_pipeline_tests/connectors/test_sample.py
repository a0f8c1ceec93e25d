"""A sample: some real records for one request, of time entries for two at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.connectors.window import Window
from sync_pipeline_tests.harness import ENTITIES, Team, morning, team


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team of its own."""
    with team(tmp_path) as us:
        yield us


@pytest.mark.parametrize("entity", ENTITIES)
def test_one_request(us: Team, entity: str) -> None:
    """The records are as `read` gives them, no more than were asked for, and the request is no write."""
    with us.session() as session:
        spec = session.specs[entity]
        window = Window.of_days(us.days.first, us.days.last) if spec.partitioned else None
        all_of_them = [record for page in session.read(spec, window) for record in page]
        us.forget_stats()
        found = session.sample(spec, 3, within=30)
        assert len(found) == 3
        assert all(record in all_of_them for record in found)
        assert sum(us.requests().values()) <= 2
        assert us.writes() == {}


def test_the_newest_entries(us: Team) -> None:
    """The newest entries are shown; when the last month has none, those of the month before, for a second request."""
    user = us.users()[0]["id"]
    with us.session() as session:
        spec = session.specs["time_entries"]
        made = us.add_entry(user, morning(0, 1), description="newest of all")
        newest = session.sample(spec, 50, within=30)
        assert made["id"] in {record["id"] for record in newest}
        for entry in us.entries():
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.forget_stats()
        assert session.sample(spec, 5, within=30) == []
        assert sum(us.requests().values()) == 2
        old = us.add_entry(user, morning(45))
        assert [record["id"] for record in session.sample(spec, 5, within=30)] == [old["id"]]
