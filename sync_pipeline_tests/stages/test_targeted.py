"""Records whose current state a read cannot determine: no event about them is closed, no day of theirs is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from sync_pipeline.errors import ApiError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages import load, targeted
from sync_pipeline.stages.references import Found, find
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.activity import run_of
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline_tests.harness import SNAPSHOTS_KEY, Team, day, morning, team

FEW = {"users": 2, "projects": 3, "clients": 1, "locations": 1, "entries": 0}
ONE_LOOK = {"CLOCKIFY_READER": "report", "SYNC_MAX_CONFIRMATIONS": "1"}


def _receive(us: Team, entity: str, source_id: str) -> None:
    with us.session() as session:
        content = content_id("CHANGED", source_id, {"id": source_id})
        event = Received(content, "CHANGED", entity, source_id, f'{{"id": "{source_id}"}}', session.now())
        receive_many(session.store, session.pair, "clockify", [event])


def _open(us: Team, entity: str) -> set[str | None]:
    with us.session() as session:
        return {event.source_id for event in session.ledger(entity).events.open_events(100)}


def test_an_event_about_a_record_that_is_kept_as_it_was_read_by_id_stays_open(tmp_path: Path) -> None:
    """Read by id minutes ago and edited since: the list has the edit, but more such records than one run looks up."""
    with team(tmp_path, **FEW) as us:
        us.changes |= ONE_LOOK
        made = [us.add_entry(us.users()[0]["id"], morning(1, hour), description="old") for hour in (8, 10, 12)]
        us.sync()
        for entry in made:
            us.change_entry(entry, description="read by id")
        with us.session() as session:
            sync_ids(session, session.specs["time_entries"], [entry["id"] for entry in made], run_id="by id")
        for entry in made:
            us.change_entry(entry, description="new")
            _receive(us, "time_entries", entry["id"])
        assert us.sync("time_entries")["time_entries"].lagging == 2
        old = {key for key, row in us.at_snapshots("time_entries").items() if row["description"] != "new"}
        assert (len(old), _open(us, "time_entries")) == (2, old)


def test_a_day_is_not_done_while_a_record_that_is_kept_is_not_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read by id was stored and its run killed; the list lags behind it, with more records than one run looks up."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with team(tmp_path, **FEW) as us:
        us.changes |= ONE_LOOK
        made = [us.add_entry(us.users()[0]["id"], morning(1, hour), description="old") for hour in (8, 10)]
        us.sync()
        us.control("POST", "lag", {"freeze": "clockify"})
        for entry in made:
            us.change_entry(entry, description="new")
        with us.session() as session, monkeypatch.context() as patch:
            patch.setattr(targeted, "deliver_pending", killed)
            with pytest.raises(KeyboardInterrupt):
                sync_ids(session, session.specs["time_entries"], [entry["id"] for entry in made], run_id="by id")
        with us.session() as session:
            loaded = us.load(session, "time_entries", us.validated(session, "time_entries"))
        assert set(loaded.not_done) == {day(1).isoformat()}
        us.control("DELETE", "lag")
        us.sync("time_entries")
        assert {row["description"] for row in us.at_snapshots("time_entries").values()} == {"new"}


def test_a_run_that_delivers_nothing_is_stored_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the target refuses the key or the run is interrupted; what it could not send waits."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def ended(us: Team, run_id: str) -> tuple[str, int, bool]:
        with us.session() as session:
            run = run_of(session.store, session.pair, run_id)
        assert run is not None
        return run.outcome, run.counts["waiting"], bool(run.reasons)

    with team(tmp_path, **FEW) as us:
        entry = us.add_entry(us.users()[0]["id"], morning(1), description="old")
        us.sync()
        us.change_entry(entry, description="new")
        us.control("POST", "snapshots", {"keys": {SNAPSHOTS_KEY: "revoked"}})
        with us.session() as session, pytest.raises(ApiError):
            sync_ids(session, session.specs["time_entries"], [entry["id"]], run_id="refused")
        assert ended(us, "refused") == ("failed", 1, True)
        us.control("POST", "snapshots", {"keys": {SNAPSHOTS_KEY: "valid"}})
        with us.session() as session, monkeypatch.context() as patch:
            patch.setattr(targeted.Targeted, "_read", killed)
            with pytest.raises(KeyboardInterrupt):
                sync_ids(session, session.specs["time_entries"], [entry["id"]], run_id="interrupted")
        assert ended(us, "interrupted") == ("failed", 0, True)
        with us.session() as session:
            sync_ids(session, session.specs["time_entries"], [entry["id"]], run_id="delivered")
        assert ended(us, "delivered") == ("targeted", 0, False)


def test_what_others_wait_for_is_not_replaced_by_an_older_read_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that overtakes it finds it unchanged and leaves its number with the day only: the older read loses anyway."""
    with team(tmp_path, **FEW) as us:
        project = us.projects()[0]

        def rename(name: str) -> None:
            us.clockify("PUT", f"/projects/{project['id']}", {"name": name})

        def found(session: Session, spec: EntitySpec, ids: Iterable[str]) -> Found:
            rename("For a moment")
            read = find(session, spec, ids)
            rename("Lasting")
            us.sync("projects")
            return read

        rename("Lasting")
        us.sync("users")
        with us.session() as session, monkeypatch.context() as patch:
            patch.setattr(load, "deliver_pending", lambda *_args: None)
            us.sync_one(session, "projects")  # stored, and not delivered yet
        us.add_entry(us.users()[0]["id"], morning(1), projectId=project["id"])
        monkeypatch.setattr(targeted, "find", found)
        us.sync("time_entries")
        assert us.at_snapshots("projects")[project["id"]]["project_name"] == "Lasting"


def test_an_event_about_a_record_that_is_not_proven_deleted_stays_open(tmp_path: Path) -> None:
    """Of an entity without days, too: of four vanished projects one run looks up only one."""
    with team(tmp_path, **FEW | {"projects": 12}) as us:
        us.changes |= ONE_LOOK
        us.sync()
        vanished = {project["id"] for project in us.projects()[:4]}
        for project in sorted(vanished):
            us.delete_project(project)
            _receive(us, "projects", project)
        assert us.sync("projects")["projects"].unconfirmed == 3
        left = vanished & us.at_snapshots("projects").keys()
        assert (len(left), _open(us, "projects")) == (3, left)
