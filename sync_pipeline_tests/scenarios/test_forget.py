"""Someone who left is forgotten: their name is in no file any more, and nothing brings it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from sqlalchemy import insert, select, update

from sync_pipeline.hosting.forget import LEFT_ALONE, find_person, forget
from sync_pipeline.mapping.frames import raw_frame
from sync_pipeline.stages.batch import Batch
from sync_pipeline.stages.batch_files import write_batch
from sync_pipeline.store.audit import note
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.schema import COPY, deliveries, pairs, person_facts, records, rejects, syncs, trials
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import Json, Team, morning, team
from sync_pipeline_tests.scenarios.dagster_runs import enter, instance_of, sync
from sync_pipeline_tests.scenarios.mappings import write_mapping

NAME, MAIL = 'Zoë "Zed" Quillfeather', "zoe.quillfeather@polaris.example"
MEMBERS = """
entity: members
label: {source: name, personal: true}
source: {system: clockify, list: "/workspaces/{workspace}/users", params: {status: ALL}, id: id}
target: {system: snapshots, id: member_id}
fields:
  member_id: {source: id, type: id, required: true}
  mail: {source: email, type: email, personal: true}
facts: {table: person_facts, columns: {name: name}}
"""
WORDS = "Inspected the Quillfeather residence"
TRACES = (b"Quillfeather", b"quillfeather")


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems; one user has a name that is found wherever it is."""
    with team(tmp_path / "team", entries=10) as opened:
        opened.changes["CLOCKIFY_READER"] = "report"
        opened.control("POST", "users", {"id": a_person(opened)["id"], "name": NAME, "email": MAIL})
        yield opened


@pytest.fixture
def shell(us: Team) -> Iterator[Shell]:
    """Commands in the team's home."""
    with shell_for(us, us.home.parent, CLOCKIFY_READER="report") as typed:
        yield typed


def test_nothing_of_the_person_is_left_and_nothing_comes_back(
    us: Team, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted in every table, batch, log and in Dagster's storage; forgotten; searched in every file."""
    person = a_person(us)["id"]
    doomed, kept = (us.add_entry(person, morning(days), description=WORDS) for days in (2, 3))
    enter(us, monkeypatch)
    with instance_of(us) as instance:
        for entity in ("users", "projects", "time_entries"):
            assert sync(us, instance, entity).success
        us.clockify("DELETE", f"/time-entries/{doomed['id']}")
        assert sync(us, instance, "time_entries").success
        plant(us, instance, person, doomed["id"])
    with us.session() as early:
        late = us.validated(early, "users")
        us.control("POST", "users", {"id": person, "remove": True})
        assert found_in(us)
        before = set(us.at_snapshots("time_entries"))

        document = shell("forget", MAIL, "--yes", "--json", code=0).document

        assert (document["deleted"], document["kept"] >= 1) == (1, True)
        assert found_in(us) == []
        us.load(early, "users", late)  # read before, loaded after
    with us.session() as session:
        assert session.forgotten.knows(person)
        assert not session.forgotten.knows(kept["id"])
    assert found_in(us) == []
    for _ in range(2):
        us.sync("users", "projects", "time_entries")
    assert found_in(us) == []
    there = us.at_snapshots("time_entries")
    assert set(there) == before
    assert (there[kept["id"]]["user_id"], there[kept["id"]]["description"]) == (person, None)
    # Clockify's own API edits no entry of someone who was removed; an import or a bulk edit does.
    edit = "UPDATE time_entries SET shared = replace(shared, '\"billable\":false', '\"billable\":true') WHERE id = ?"
    us.sandbox.world.db.execute(edit, (kept["id"],))
    us.sync("time_entries")
    assert us.at_snapshots("time_entries")[kept["id"]]["billable"] is True
    assert found_in(us) == []
    with us.session() as session:
        body = json.dumps({"id": kept["id"], "user": {"id": person, "name": NAME}})
        assert session.forgotten.cleaned(body) == "{}"
        assert session.forgotten.cleaned('{"id": "another"}') == '{"id": "another"}'


def test_someone_who_still_exists_is_not_forgotten(us: Team, shell: Shell) -> None:
    """The next sync would bring them back: the message states where to delete first. Without --yes nothing happens either."""
    us.sync("users")
    person = a_person(us)["id"]
    text = shell("forget", person, "--yes", code=1).message
    assert "still exists at Clockify" in text
    assert "Remove the member from the workspace" in text
    us.control("POST", "users", {"id": person, "remove": True})
    assert "Add --yes" in shell("forget", person, code=2).message
    assert found_in(us)
    assert "No user with this e-mail" in shell("forget", "nobody@example.org", "--yes", code=2).message
    assert "No user with the id" in shell("forget", "0000", "--yes", code=2).message
    assert shell("forget", person, "--yes", code=0).out.startswith("Removed: the user, ")
    again = shell("forget", person, "--yes", code=0).out
    assert again.startswith("Removed: what came in since about the user, who was forgotten before, 0 deleted entries")
    assert found_in(us) == []


def test_what_was_rejected_and_never_delivered_is_forgotten_too(us: Team) -> None:
    """No record states whose it is, so the text is removed from every such reject; the rejects stay, and nothing comes back."""
    folder = us.home.parent / "mappings"
    folder.mkdir()
    short = "entity: time_entries\nfields:\n  description: {source: description, max_length: 16, personal: true}\n"
    (folder / "time_entries.yaml").write_text(short)
    us.changes |= {"SYNC_MAPPINGS_DIR": str(folder), "SYNC_MIN_BLOCKING_REJECTS": "500"}
    person, other = a_person(us)["id"], us.users()[1]["id"]
    us.add_entry(person, morning(2), description=WORDS)
    kept = us.add_entry(other, morning(3), description="of somebody else, and just as long")
    us.sync()
    us.control("POST", "users", {"id": person, "remove": True})
    assert found_in(us)
    with us.session() as session:
        before = list_rejects(session.store, session.pair, entity="time_entries")
        found = find_person(session, person)
        assert f"the values that {len(before)} rejects quote from records that were never delivered" in found.summary
        with DagsterInstance.ephemeral() as instance:
            forget(session, instance, found)
        after = list_rejects(session.store, session.pair, entity="time_entries")
        assert [(one.source_id, one.value) for one in after] == [(one.source_id, None) for one in before]
    assert found_in(us) == []
    us.sync()
    assert found_in(us) == []
    with us.session() as session:
        assert kept["id"] in {one.source_id for one in list_rejects(session.store, session.pair)}


def test_entities_that_are_switched_off_are_forgotten_too(us: Team) -> None:
    """What was stored of them while they were on is still there."""
    person = a_person(us)["id"]
    us.add_entry(person, morning(2), description=WORDS)
    us.sync("users", "projects", "time_entries")
    us.control("POST", "users", {"id": person, "remove": True})
    with shell_for(us, us.home.parent, CLOCKIFY_READER="report", SYNC_ENTITIES="users") as typed:
        assert typed("forget", person, "--yes", "--json", code=0).document["kept"] >= 1
    assert found_in(us) == []


@pytest.mark.parametrize("users", ["", "entity: users\nfacts:\n"])
def test_people_are_the_entities_whose_file_says_so(us: Team, shell: Shell, users: str) -> None:
    """An entity of the user's own, beside `users` or instead of it: a person is found there, and nothing of them is left."""
    us.control("POST", "entities", {"entity": "members", "id_field": "member_id"})
    folder = write_mapping(us, "members.yaml", MEMBERS)
    if users:
        write_mapping(us, "users.yaml", users)
    us.sync(*([] if users else ["users"]), "members")
    assert found_in(us)
    us.control("POST", "users", {"id": a_person(us)["id"], "remove": True})
    shell.with_(SYNC_MAPPINGS_DIR=str(folder))("forget", MAIL, "--yes", code=0)
    assert found_in(us) == []


def test_what_is_stored_for_other_accounts_is_named(us: Team, shell: Shell) -> None:
    """The same workspace was synced to another account before: that account's set-up is needed to remove it."""
    person = a_person(us)["id"]
    us.sync("users")
    with us.session() as session, session.store.writing() as tx:
        tx.execute(update(records).values(connection="before"))
        tx.execute(insert(pairs).values(key="before", accounts="the accounts before"))
    us.sync("users")
    us.control("POST", "users", {"id": person, "remove": True})
    left = shell("forget", person, "--yes", "--json", code=0).document["not_reached"]
    assert any("the accounts before" in sentence for sentence in left)


def a_person(us: Team) -> Json:
    """A user who owns no key."""
    return us.users()[2]


def plant(us: Team, instance: DagsterInstance, person: str, entry: str) -> None:
    """The name, the address and the entry's words, wherever something may quote them."""
    with us.session() as session:
        store, connection, now = session.store, session.pair, session.now()
        note(store, "ann", "clockify connected", f"API key of {MAIL}", now)
        body = {"id": entry, "user": {"id": person, "name": NAME}, "description": WORDS}
        text = json.dumps(body)
        received = Received(content_id("TIME_ENTRY_UPDATED", entry, body), "T", "time_entries", entry, text, now)
        about = Received(content_id("USER_UPDATED", person, body), "U", "users", person, text, now)
        other = Received(content_id("PROJECT_UPDATED", "p", body), "P", "projects", "p", text, now)
        receive_many(store, connection, "clockify", [received, about, other])
        with store.writing() as tx:
            report = {"connection": connection, "fingerprint": "f", "kind": "dry_run", "by": "ann", "begun_at": now}
            tx.execute(insert(trials), report | {"report": json.dumps({"changes": [body]})})
            tx.execute(update(syncs).values(reason=f"{NAME} was refused"))
            tx.execute(update(deliveries).values(reason=f"{MAIL} is taken"))
            reject = {"connection": connection, "entity": "time_entries", "origin": "check", "rule": "r", "at": now}
            for number, source_id in enumerate((entry, "other")):
                row = {"digest": str(number), "source_id": source_id, "reason": f"{WORDS} of {NAME}", "value": WORDS}
                tx.execute(insert(rejects), reject | row)
            for column in (records.c.fields, records.c.label, person_facts.c.name):
                planted = select(column.table.c.source_id).where(column.contains("Quillfeather"))
                assert tx.scalar(planted.limit(1)), f"nothing to forget in {column}"
        spec = session.specs["users"]
        frame = raw_frame(spec, [a_person(us)])
        write_batch(us.home / "batches" / "failed-run" / "users.parquet", Batch([frame], {}))
    (us.home / f"sync.db{COPY}0004").write_text(NAME)
    (us.home / "output.log").write_text(f"hello {MAIL}\n")
    run = instance.get_runs()[0]
    instance.add_run_tags(run.run_id, {"who": NAME})
    instance.report_engine_event(f"{NAME} said: {WORDS}", run)
    logs = Path(instance.root_directory) / "storage" / run.run_id / "compute_logs"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "x.err").write_text(f"Traceback: {NAME}")


def found_in(us: Team) -> list[str]:
    """Every file of the home that holds a trace."""
    files = (path for path in us.home.rglob("*") if path.is_file() and path.name not in LEFT_ALONE)
    return [str(path) for path in files if any(trace in path.read_bytes() for trace in TRACES)]
