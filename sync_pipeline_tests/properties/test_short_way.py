"""The short way changes nothing but the time it takes: what it spares would have come out the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from sqlalchemy import null, select, update

from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.extract import extract
from sync_pipeline.stages.preview import Preview, preview
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.schema import FACTS, records, rejects
from sync_pipeline_tests.harness import ENTITIES, Json, Team, day, morning, team
from sync_pipeline_tests.properties.invariants import adds_up, converged
from sync_pipeline_tests.properties.life import LIVES, Action, live
from sync_pipeline_tests.properties.test_convergence import PATIENT
from sync_pipeline_tests.scenarios.mappings import write_mapping

pytestmark = pytest.mark.clock

ALLOWED = Options(allow_deletes=True, accept_rewrite=True)
BY_ID = "GET /clockify/api/v1/workspaces/{ws}/time-entries/{id}"
NOT_COMPARED = {"observed_at", "by_id_at", "delivered_at", "delivered_no", "read_no", "requests", "at", "run_id", "id"}
"""When and under which number something was read or written: another one for each sync."""


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team with a few entries."""
    with team(tmp_path) as made:
        yield made


@PATIENT
@given(first=LIVES, second=LIVES)
def test_a_sync_with_it_leaves_what_a_sync_without_it_leaves(first: list[Action], second: list[Action]) -> None:
    """Both would send the same, count the same and check the same; after the one, the other finds nothing to do."""
    with TemporaryDirectory() as directory, team(Path(directory)) as us:
        us.changes["SYNC_MAX_REJECT_SHARE"] = "1"
        for actions in (first, second):
            live(us, actions)
            with us.session() as session:
                for entity in session.specs:
                    short, full = in_both_ways(session, partial(looked, us, session, entity))
                    assert short == full
                    adds_up(us.sync_one(session, entity, options=ALLOWED))
                left, there = in_store(session), at_target(us)
                us.forget_stats()
                session.short_way = False
                for entity in session.specs:
                    adds_up(us.sync_one(session, entity, options=ALLOWED))
                assert us.writes() == {}
                assert in_store(session) == left
            assert at_target(us) == there
            converged(us)


def test_whichever_reader_reads_them_delivered_records_take_it(us: Team) -> None:
    """The report and the per-user lists give the same hashes; in the end only what is out of scope is processed."""
    us.sync()
    for reader in ("report", "users"):
        with us.session(CLOCKIFY_READER=reader) as session:
            full, short = ways(us, session, "time_entries")
            assert len(full) == us.sync_one(session, "time_entries").excluded
            assert len(short) > 30
            assert ways(us, session, "projects")[0] == set()


def test_a_changed_entry_is_processed_and_no_other(us: Team) -> None:
    """One edit at the source is one record that takes the full way."""
    us.sync()
    entry = us.add_entry(us.users()[0]["id"], morning(2), description="before")
    us.sync()
    before = us.sync("time_entries")["time_entries"]
    us.change_entry(entry, description="after")
    with us.session() as session:
        full, _ = ways(us, session, "time_entries")
        assert entry["id"] in full
        assert len(full) == before.excluded + 1
        assert us.sync_one(session, "time_entries").updated == 1
    converged(us)


@pytest.mark.parametrize("changed", ["mapping", "function", "setting", "upgrade"])
def test_what_decides_about_records_decides_again_when_it_has_changed(us: Team, changed: str) -> None:
    """Every record is processed in full once, and nothing is sent where the same comes out."""
    write_mapping(us, "functions.py", "def plain(value):\n    return value\n")
    own = "fields: {description: {function: functions.plain, source: description}}"
    write_mapping(us, "time_entries.yaml", own)
    us.sync()
    with us.session() as session:
        assert len(ways(us, session, "time_entries")[1]) > 30
    change(us, changed, own)
    with us.session() as session:
        assert ways(us, session, "time_entries")[1] == set()
        us.forget_stats()
        us.sync_one(session, "time_entries", options=ALLOWED)
        assert us.writes() == {}
        assert len(ways(us, session, "time_entries")[1]) > 30


def test_a_record_that_was_read_as_unchanged_and_is_not_any_more_is_read_by_id(us: Team) -> None:
    """A sync that read before this one, and loads after its extraction, stores an older form: what holds is looked up."""
    entry = us.add_entry(us.users()[0]["id"], morning(5), description="first")
    us.sync()
    us.change_entry(entry, description="second")
    with us.session() as early, us.session() as late:
        older = us.validated(early, "time_entries")
        us.change_entry(entry, description="first")
        newer = us.validated(late, "time_entries")
        us.load(early, "time_entries", older)
        us.forget_stats()
        assert us.load(late, "time_entries", newer).not_done == {}
        assert us.requests()[BY_ID] == 1
    converged(us)


def test_what_cannot_be_read_by_id_keeps_its_day_from_being_done(us: Team) -> None:
    """With a budget for one of two, the day of the other is named with the reason, and the next sync makes it right."""
    user, span = us.users()[0]["id"], Days(day(6), day(4))
    entries = [us.add_entry(user, morning(days_ago), description="first") for days_ago in (6, 5)]
    us.sync()
    with us.session(SYNC_MAX_CONFIRMATIONS="1") as early, us.session(SYNC_MAX_CONFIRMATIONS="1") as late:
        for entry in entries:
            us.change_entry(entry, description="second")
        older = us.validated(early, "time_entries", span)
        for entry in entries:
            us.change_entry(entry, description="first")
        newer = us.validated(late, "time_entries", span)
        us.load(early, "time_entries", older, span)
        not_done = us.load(late, "time_entries", newer, span).not_done
    assert len(not_done) == 1
    assert not_done.keys() < {str(day(6)), str(day(5))}
    assert "read as unchanged" in next(iter(not_done.values()))
    us.sync()
    converged(us)


def change(us: Team, what: str, own: str) -> None:
    """Change one of the things that decide about records, in a way that changes no outcome."""
    if what == "mapping":
        write_mapping(us, "time_entries.yaml", own.replace("description}", "description, max_length: 2999}"))
    elif what == "function":
        write_mapping(us, "functions.py", "def plain(value):\n    same = value\n    return same\n")
    elif what == "setting":
        us.changes["SYNC_START_DATE"] = str(day(30))
    else:  # from a version that kept no hashes of what it had read
        with us.session() as session, session.store.writing() as tx:
            tx.execute(update(records).values(source_hash=null(), decided_by=null()))


def ways(us: Team, session: Session, entity: str) -> tuple[set[str], set[str]]:
    """The ids of the records that would be processed in full now, and of those that would travel on by their id."""
    spec, full, short = session.specs[entity], set[str](), set[str]()
    for part in extract(session, spec, us.days if spec.partitioned else None).parts:
        is_short = part["record"].isna()
        full.update(part.loc[~is_short, "source_id"])
        short.update(part.loc[is_short, "source_id"])
    return full, short


def in_both_ways(session: Session, look: Callable[[], Any]) -> tuple[Any, Any]:
    """What comes out with the short way, and without it."""
    short = look()
    session.short_way = False
    full = look()
    session.short_way = True
    return short, full


def looked(us: Team, session: Session, entity: str) -> tuple[Json, list[Any], list[Any]]:
    """Counts, checks and changes of a preview."""
    spec = session.specs[entity]
    found: Preview = preview(session, spec, us.days if spec.partitioned else None, ALLOWED)
    counts = {name: figure for name, figure in asdict(found.counts).items() if name not in NOT_COMPARED}
    return counts, found.checks, sorted(found.changes, key=repr)


def in_store(session: Session) -> list[tuple[Any, ...]]:
    """Every record, its facts and every reject, but for when they were read and written."""
    found: list[tuple[Any, ...]] = []
    with session.store.reading() as tx:
        for table in (records, rejects, *FACTS.values()):
            columns = [column for column in table.c if column.name not in NOT_COMPARED]
            found += [tuple(row) for row in tx.execute(select(*columns))]
    return sorted(found, key=repr)


def at_target(us: Team) -> dict[str, Any]:
    """What both systems have of what is delivered."""
    lists = {entity: us.snapshots("GET", f"/{entity}", limit=1000) for entity in ENTITIES if entity != "locations"}
    return {**lists, "clients": us.clockify("GET", "/clients")}


@pytest.mark.parametrize("is_short", [True, False])
def test_an_id_with_two_contents_is_rejected_with_both_ways(
    us: Team, is_short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record, one reject, and its read is no evidence that it is absent."""
    entry = us.add_entry(us.users()[0]["id"], morning(5), description="first")
    us.sync()
    with us.session() as session:
        session.short_way, read = is_short, Session.read

        def twice(*args: Any) -> Iterator[list[Json]]:
            for page in read(*args):
                yield page
                yield [{**row, "description": "other"} for row in page if row["id"] == entry["id"]]

        monkeypatch.setattr(Session, "read", twice)  # a source that contradicts itself
        counts = us.load(session, "time_entries", us.validated(session, "time_entries")).counts
        found = [row.source_id for row in list_rejects(session.store, session.pair, entity="time_entries")]
        assert (found, counts.rejected, counts.unconfirmed, counts.held_deletes) == ([entry["id"]], 2, 0, 0)
        adds_up(counts)
