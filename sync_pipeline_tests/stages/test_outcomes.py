"""What is remembered of writes: before they are sent, and when they are answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.session.progress import Progress
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.outcomes import note_sending, remember
from sync_pipeline.store.deliveries import Delivered, Kind, Refused
from sync_pipeline_tests.harness import Team, team


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team of five projects that are in step."""
    with team(tmp_path, entries=0) as everybody:
        everybody.sync("projects")
        yield everybody


def test_a_write_whose_answer_never_came_is_sent_again(us: Team) -> None:
    """It was noted before it was sent; nothing is believed of the record until then."""
    some = sorted(project["id"] for project in us.projects())[:2]
    with us.session() as session:
        spec = session.specs["projects"]
        rows = [session.ledger(spec).lookup(some)[key] for key in some]
        note_sending(session, spec, rows, some)
    assert us.sync("projects")["projects"].updated == 2
    assert us.sync("projects")["projects"].updated == 0


def test_what_was_acknowledged_and_refused_is_counted_and_kept(us: Team) -> None:
    """By the kind of write; a refused record is not offered again as it is."""
    keys = sorted(project["id"] for project in us.projects())
    kinds: tuple[Kind, ...] = ("create", "adopt", "update", "restore")
    told: list[Progress] = []
    with us.session(report=told.append) as session:
        spec, counts = session.specs["projects"], Counts()
        rows = [session.ledger(spec).lookup(keys)[key] for key in keys]
        note_sending(session, spec, rows, keys)
        done = [
            Delivered(row.source_id, row.source_id, row.fields_hash, k) for row, k in zip(rows, kinds, strict=False)
        ]
        refused = [Refused(rows[4].source_id, rows[4].fields_hash, "update", "the color is unknown", "color")]
        remember(session, spec, done, refused, counts, None)
        stored = session.ledger(spec).lookup(keys)
    assert (counts.created, counts.adopted, counts.updated, counts.rejected) == (1, 1, 2, 1)
    assert [stored[key].delivered_hash == stored[key].fields_hash for key in keys[:4]] == [True] * 4
    assert stored[keys[4]].refused_hash == stored[keys[4]].fields_hash
    assert (told[-1].stage, told[-1].done) == ("load", 4)
    assert us.sync("projects")["projects"].rejected == 1
