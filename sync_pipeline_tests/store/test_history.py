"""What happened to one record, from every table that holds something about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sync_pipeline.store.approvals import Line, decide
from sync_pipeline.store.deliveries import Delivered, Refused
from sync_pipeline.store.engine import Store
from sync_pipeline.store.events import Received, receive_many
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.commands import run, run_json
from sync_pipeline_tests.store.batch import ENTITY, HERE, LATER, at, deliver, here, row


def kinds(us: Team, entity: str, source_id: str) -> list[tuple[str, str, str | None]]:
    """The history, oldest first."""
    with us.session() as session:
        ledger = session.ledger(entity)
        found = ledger.history.of_record(ledger.lookup([source_id]).get(source_id), source_id, 100)
    return [(one.kind, one.what, one.outcome) for one in found.happenings]


def test_writes_holds_and_decisions_are_in_one_list(tmp_path: Path) -> None:
    """Created, changed, deleted at the source, held; a read that changes nothing leaves nothing."""
    with team(tmp_path, entries=0) as us:
        made = [us.clockify("POST", "/projects", {"name": f"Project {n}"})["id"] for n in range(9)]
        us.sync("projects")
        us.clockify("PUT", f"/projects/{made[0]}", {"name": "Renamed"})
        us.sync("projects")
        before = kinds(us, "projects", made[0])
        us.sync("projects")
        assert kinds(us, "projects", made[0]) == before
        assert [one for one in before if one[0] == "delivery"] == [
            ("delivery", "create", "delivered"),
            ("delivery", "update", "delivered"),
        ]
        for key in made:
            us.delete_project(key)
        us.sync("projects")
        assert ("approval", "deletes: delete", "held") in kinds(us, "projects", made[0])
        with us.session() as session:
            history = session.ledger("projects").history.of_record(None, made[0], 1)
        assert (len(history.happenings), history.is_cut) == (1, True)


def test_a_write_says_what_it_changed(tmp_path: Path) -> None:
    """Values before and after, of personal fields the names alone; of what is new at the target, nothing."""
    with team(tmp_path, entries=0) as us:
        us.sync("users", "projects", "locations")
        project, user = us.projects()[0], us.users()[0]
        (location, *_) = us.at_snapshots("locations").values()
        us.clockify("PUT", f"/projects/{project['id']}", {"name": "Renamed"})
        us.sandbox.world.db.execute("UPDATE users SET name = 'Somebody Else' WHERE id = ?", (user["id"],))
        us.put_location(location["location_id"], location_name="Moved")
        us.sync("users", "projects", "locations")
        created, written = changes(us, "projects", project["id"])
        assert (created, written["project_name"]) == (None, [project["name"], "Renamed"])
        assert changes(us, "users", user["id"]) == [None, {"name": None}]
        *_, renamed = changes(us, "locations", location["location_id"])
        assert renamed["name"] == [location["location_name"], "Moved"]
        out, _ = run(us, "records", "history", "projects", project["id"])
        assert "project_name:" in out
        assert "'Renamed'" in out


def test_what_is_at_the_target_is_compared_however_often_it_changed_meanwhile(store: Store) -> None:
    """Between two writes the record was merged twice; after an unknown outcome nothing is known of the target."""
    deliver(store, [row("a")])
    for read_no, digest in ((LATER, "v2"), (LATER + 1, "v3")):
        with here(store).staging(read_no=read_no) as staging:
            staging.add([row("a", digest)])
            staging.merge(at(2))
            (pending,) = staging.pending(9)
            assert pending.before == row("a").fields
    here(store).mark_delivered([Delivered("a", "a", "v3", "update", '{"f":[1,2]}')], None, at(3))
    found = here(store).history.of_record(None, "a", 100)
    assert [one.changes for one in found.happenings if one.kind == "delivery"] == [None, '{"f":[1,2]}']
    with here(store).staging(read_no=LATER + 2) as staging:
        staging.add([row("a", "v4")])
        staging.merge(at(4))
        (pending,) = staging.pending(9)
        assert pending.before == row("a", "v3").fields


def changes(us: Team, entity: str, source_id: str) -> list[Any]:
    """What each write to a record changed, oldest first."""
    document = run_json(us, "records", "history", entity, source_id)
    return [line["changes"] for line in document["history"] if line["kind"] == "delivery"]


def test_both_databases_report_it(store: Store) -> None:
    """A write, a reject, a request with its decision and an event, in order; another record's are not in it."""
    deliver(store, [row("a"), row("b")])
    ledger = here(store)
    ledger.mark_refused([Refused("a", "v2", "update", "too long", rule="target:long")], None, at(2))
    line = Line("a", "delete", "v1", None)
    asked = ledger.approvals.request_lines("deletes", [line], lambda _: True, at(3))
    assert asked is not None
    decide(store, HERE, asked.id, "declined", "Ana", at(4))
    receive_many(store, HERE, "clockify", [Received("x", "TIME_ENTRY_UPDATED", ENTITY, "a", "{}", at(5))])
    found = ledger.history.of_record(ledger.lookup(["a"])["a"], "a", 100)
    assert [(one.kind, one.what, one.outcome) for one in found.happenings] == [
        ("delivery", "create", "delivered"),
        ("record", "last change was read", None),
        ("delivery", "update", "refused"),
        ("reject", "target:long", "target"),
        ("approval", "deletes: delete", "held"),
        ("approval", "deletes: delete", "declined"),
        ("event", "TIME_ENTRY_UPDATED", "received"),
    ]
    assert not found.is_cut


def test_the_command_prints_it_of_an_entity_that_is_switched_off(tmp_path: Path) -> None:
    """What was stored of it is still here; and the page states that it is off."""
    with team(tmp_path, entries=0) as us:
        us.sync("projects")
        project = us.projects()[0]["id"]
        out, err = run(us, "records", "history", "projects", project, SYNC_ENTITIES="users")
        assert "create" in out
        assert "The entity projects is switched off" in err
        document = run_json(us, "records", "history", "projects", project, SYNC_ENTITIES="users")
        assert (document["record"]["source_id"], document["is_switched_on"]) == (project, False)
        _, err = run(us, "records", "history", "projects", "nobody", code=2, SYNC_ENTITIES="users")
        assert "Nothing is known of projects nobody." in err
        assert "The entity projects is switched off" in err
        _, err = run(us, "records", "history", "projectz", project, code=2, SYNC_ENTITIES="users")
        assert "There is no entity 'projectz'; there are locations, projects, users, time_entries." in err


def test_the_command_prints_it(tmp_path: Path) -> None:
    """For people and as JSON; without values of fields, and an unknown id is reported as one."""
    with team(tmp_path, entries=0) as us:
        us.sync("users")
        user = us.users()[0]
        out, err = run(us, "records", "history", "users", user["id"])
        assert "create" in out
        assert "at the target and up to date" in err
        document = run_json(us, "records", "history", "users", user["id"])
        assert (document["record"]["source_id"], document["is_switched_on"]) == (user["id"], True)
        assert user["email"] not in str(document)
        assert [one["kind"] for one in document["history"]] == ["record", "delivery"]
        _, err = run(us, "records", "history", "users", "nobody", code=2)
        assert "Nothing is known of users nobody." in err
