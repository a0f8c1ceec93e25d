"""Automations, from the switch to what is made: once for each record, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, SyncError
from sync_pipeline.operations.inputs import PAGE_SIZE
from sync_pipeline.sandbox.control.rules import read_rule
from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.settings import Settings
from sync_pipeline.setup.automations import list_automations, preview_automation, show_automation, switch_off, switch_on
from sync_pipeline.setup.operations import form_of, refuse
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.batch import Counts, Options
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.stages.watch import watch
from sync_pipeline.store.approvals import decide, list_approvals
from sync_pipeline.store.events import close
from sync_pipeline.store.rejects import UNKNOWN_OUTCOME
from sync_pipeline.store.switches import read_switch, turn
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.properties.killing import Killed, Killer, killing
from sync_pipeline_tests.properties.once import NAME, made_by, recognise_the_dead, template
from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.scenarios.mappings import write_mapping
from sync_pipeline_tests.setup.agency import at_highlevel

STEPS = 50
UNFINDABLE = """
entity: tag_of_location
source: {system: snapshots, list: locations, id: location_id}
target: {system: clockify, operation: projects.create, once: true, find: none}
fields:
  name: {source: location_name, required: true}
"""


TAGS = """
entity: tags_of_locations
source: {system: snapshots, list: locations, id: location_id}
target: {system: clockify, operation: tags.create, once: true}
fields:
  name: {source: location_name, required: true}
"""


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team with three locations, and one project that is a template."""
    with team(tmp_path, locations=3, clients=0, entries=0, users=1, projects=0) as made:
        yield made


def service(us: Team) -> SetupService:
    """Who works on the team's set-up."""
    return SetupService("a person", us.home, us.environ)


def synced(us: Team) -> dict[str, Counts]:
    """A sync of the locations and of what is made for them."""
    return us.sync("locations", NAME)


def named(us: Team, name: str) -> list[Json]:
    """The projects of that name."""
    return list(us.clockify("GET", "/projects", **{"name": name, "strict-name-search": "true"}))


def make(us: Team, location: str, killer: Killer, steps: int | None = None) -> bool:
    """Let the automation look at one location, killed at this step; whether it was."""
    with suppress(Killed), us.session() as session:
        killer.arm(steps)
        try:
            sync_ids(session, session.specs[NAME], [location], run_id=f"run-{next(us.runs)}")
        finally:
            killer.arm(None)
        return False
    return True


def test_a_new_location_gets_one_project_and_what_exists_gets_none(us: Team) -> None:
    """Renamed, the client is renamed and the project stays; removed by a person, it stays removed, and verify says so."""
    setup, values = service(us), template(us)
    assert NAME not in us.sync()
    assert preview_automation(setup, NAME, values).records == 3
    assert switch_on(setup, NAME, values) == 3
    assert synced(us)[NAME].excluded == 3
    assert made_by(us) == []
    us.put_location("new", location_name="Harbour")
    assert synced(us)[NAME].created == 1
    (project,) = made_by(us)
    assert (project["name"], project["clientId"]) == ("Harbour", us.client("Harbour")["id"])
    assert synced(us)[NAME].writes == 0
    us.put_location("new", location_name="Harbour House")
    done = synced(us)
    assert (done["locations"].updated, done[NAME].writes) == (1, 0)
    assert us.client("Harbour House")["id"] == project["clientId"]
    assert made_by(us) == [{**project, "clientName": "Harbour House"}]
    verdict = us.verify(NAME)[NAME]
    assert (verdict.in_sync, verdict.source, verdict.target, verdict.removed) == (True, 1, 1, 0)
    us.delete_project(project["id"])
    assert synced(us)[NAME].writes == 0
    verdict = us.verify(NAME, repair=True)[NAME]
    assert (verdict.in_sync, verdict.target, verdict.removed) == (True, 0, 1)
    assert "stay removed" in verdict.explanation
    assert synced(us)[NAME].writes == 0
    assert made_by(us) == []
    shown = show_automation(setup, NAME)
    assert (shown.is_on, shown.made, shown.rejected) == (True, 1, 0)
    switch_off(setup, NAME)
    assert NAME not in us.settings().automations
    assert not list_automations(setup)[0].is_on


def test_what_it_has_made_is_never_overwritten(us: Team) -> None:
    """A person may change it, from this connection and from another one of the same database."""
    switch_on(service(us), NAME, template(us))
    us.sync("locations")
    us.put_location("new", location_name="Harbour")
    synced(us)
    (project,) = made_by(us)
    elsewhere: Json = dict(at_highlevel(us))
    for changes in ({}, elsewhere):
        with us.session(**changes) as session:
            assert NAME in session.settings.automations
            refuse(session, form_of(session, "clockify.projects.update", {"projectId": project["id"], "name": "Mine"}))


def test_thirty_at_once_wait_for_an_approval(us: Team) -> None:
    """In a sync and by events; approved, all of them are made, once."""
    switch_on(service(us), NAME, template(us))
    for number in range(30):
        us.put_location(f"l{number}", location_name=f"Site {number}")
    us.sync("locations")
    with us.session() as session:
        answer = sync_ids(session, session.specs[NAME], [f"l{number}" for number in range(26)], run_id="events")
        assert len(answer.held) == 26
    done = synced(us)[NAME]
    assert (done.held, done.created, done.excluded) == (30, 0, 3)
    assert made_by(us) == []
    assert len(us.held(NAME)["creates"]) == 30
    switch_on(service(us), NAME)  # it is on: what waits is not taken for what existed before
    with us.session() as session:
        (request,) = list_approvals(session.store, session.pair, session.now(), limit=10)
        decide(session.store, session.pair, request.id, "allowed", "Ana", session.now())
    assert synced(us)[NAME].created == 30
    assert synced(us)[NAME].writes == 0
    assert len({project["clientId"] for project in made_by(us)}) == len(made_by(us)) == 30


def test_events_about_locations_wake_it_once(us: Team) -> None:
    """Repeated, mixed up, before the client is there or after: one client and one project."""
    switch_on(service(us), NAME, template(us))
    us.put_location("new", location_name="Harbour")
    with us.session() as session:
        mine, theirs = session.specs[NAME], session.specs["locations"]
        early = sync_ids(session, mine, ["new"], run_id="early")
        assert (early.counts.waiting, made_by(us)) == (1, [])
        for run in ("first", "again"):
            sync_ids(session, theirs, ["new"], run_id=run)
            asked = [event.source_id for event in session.ledger(mine).events.to_do(10)]
            assert set(asked) <= {"new"}
            sync_ids(session, mine, ["new"], run_id=f"{run} project")
        us.put_location("later", location_name="Pier")
        sync_ids(session, theirs, ["later"], run_id="later")
        assert [event.source_id for event in session.ledger(mine).events.to_do(10)][-1] == "later"
    assert [project["name"] for project in made_by(us)] == ["Harbour"]


def test_killed_at_each_step_of_it_there_is_one_and_no_success_without(
    us: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each request and each commit; what is said to be made is there, and never twice."""
    switch_on(service(us), NAME, template(us))
    for step in range(1, STEPS):
        us.put_location(f"l{step}", location_name=f"Site {step}")
    us.sync("locations")
    with killing(monkeypatch) as killer:
        for step in range(1, STEPS):
            was_killed, mine = make(us, f"l{step}", killer, step), named(us, f"Site {step}")
            with us.session() as session:
                known = session.ledger(NAME).lookup([f"l{step}"]).get(f"l{step}")
            assert len(mine) <= 1
            assert known is None or known.target_id in (None, *(project["id"] for project in mine))
            recognise_the_dead(us)
            make(us, f"l{step}", killer)
            (made,) = named(us, f"Site {step}")
            assert not mine or mine[0]["id"] == made["id"]
            if not was_killed:
                break
        else:
            raise AssertionError("a run has fewer steps")
    assert us.sync(NAME)[NAME].created == STEPS - 1 - step
    assert len(made_by(us)) == STEPS - 1


def test_killed_renamed_and_killed_again_nothing_is_left_to_do(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made under the former name is as it should be: no record stays pending, or of unknown state."""
    switch_on(service(us), NAME, template(us))
    steps = range(22, STEPS - 10)  # until then it is as in the test above
    for step in (0, *steps):
        us.put_location(f"l{step}", location_name=f"Site {step}")
    us.sync("locations")
    with killing(monkeypatch) as killer:
        answered = next(step for step in range(10, STEPS) if make(us, "l0", killer, step) and named(us, "Site 0"))
        recognise_the_dead(us)
        for step in steps:
            assert make(us, f"l{step}", killer, answered)
            us.put_location(f"l{step}", location_name=f"Renamed {step}")
            recognise_the_dead(us)
            was_killed = make(us, f"l{step}", killer, step)
            recognise_the_dead(us)
            make(us, f"l{step}", killer)
            if not was_killed:
                break
        else:
            raise AssertionError("a run has fewer steps")
    with us.session() as session:
        known = [one for page in session.ledger(NAME).scan() for one in page if one.target_id]
        assert [one for one in known if one.delivered_hash != one.fields_hash] == []
    assert len(known) == len(made_by(us)) == step - steps[0] + 1 + 1


def test_a_lost_answer_leads_to_one_project(us: Team) -> None:
    """Cut off after it was done it is found, before it was done it is done again; refused by the service it is rejected."""
    switch_on(service(us), NAME, template(us))
    for fault in ("cut_after", "cut_before"):
        us.put_location(fault, location_name=fault)
        us.sync("locations")
        us.fault(fault, "POST */projects/from-template", count=1)
        assert us.sync(NAME)[NAME].created == 1
        us.no_faults()
    us.put_location("refused", location_name="Refused")
    us.sync("locations")
    us.fault("status", "POST */projects/from-template", status=400, body={"code": 501, "message": "not this one"})
    assert us.sync(NAME)[NAME].rejected == 1
    us.no_faults()
    us.put_location("refused", location_name="Corrected")
    assert synced(us)[NAME].created == 1
    assert sorted(project["name"] for project in made_by(us)) == ["Corrected", "cut_after", "cut_before"]


PROJECTS, TAGS_LIST = "GET /clockify/api/v1/workspaces/{ws}/projects", "GET /clockify/api/v1/workspaces/{ws}/tags"


def test_what_exists_is_looked_for_in_one_list_where_that_has_one_page(us: Team) -> None:
    """For new records, and for an interrupted create before them; what a person made of that name is adopted."""
    switch_on(service(us), NAME, template(us))
    for number in range(5):
        us.put_location(f"l{number}", location_name=f"Site {number}")
    us.sync("locations")
    us.clockify("POST", "/projects", {"name": "Site 4", "clientId": us.client("Site 4")["id"]})
    us.fault("cut_after", "POST */projects/from-template")
    us.fault("status", "GET */projects", status=400, skip=1)
    with pytest.raises(SyncError):
        us.sync(NAME)
    us.no_faults()
    us.forget_stats()
    done = us.sync(NAME)[NAME]
    assert (done.created, done.adopted, us.requests()[PROJECTS]) == (3, 1, 2)
    assert sorted(project["name"] for project in us.projects() if project["name"].startswith("Site")) == [
        f"Site {number}" for number in range(5)
    ]


def test_a_list_of_several_pages_is_asked_for_each_record(us: Team) -> None:
    """After one look at its first page; few records are asked for without that."""
    write_mapping(us, "tags_of_locations.yaml", TAGS)
    name = "tags_of_locations"
    switch_on(service(us), name)
    for number in range(PAGE_SIZE):
        us.clockify("POST", "/tags", {"name": f"Site {number}"})
    for new, adopted, requests in ((2, 2, 2), (5, 1, 1 + 5)):
        first = PAGE_SIZE - 1 if new == 5 else 0
        for number in range(first, first + new):
            us.put_location(f"l{number}", location_name=f"Site {number}")
        us.forget_stats()
        done = us.sync(name)[name]
        assert (done.adopted, done.created, us.requests()[TAGS_LIST]) == (adopted, new - adopted, requests)


def test_what_cannot_be_found_again_is_settled_by_a_person(us: Team) -> None:
    """An outcome that is unknown is a reject: tried again it is done again, accepted it is left, and nothing happens by itself."""
    write_mapping(us, "tag_of_location.yaml", UNFINDABLE)
    name = "tag_of_location"
    switch_on(service(us), name)
    for number in ("one", "two"):
        us.put_location(number, location_name=number)
    us.fault("cut_after", "POST */projects")
    assert us.sync(name)[name].rejected == 2
    us.no_faults()
    us.put_location("one", location_name="another")
    assert us.sync(name)[name].writes == 0
    with us.session() as session:
        ledger = session.ledger(name)
        assert sorted(ledger.rejects.rejected_by(UNKNOWN_OUTCOME)) == ["one", "two"]
        assert ledger.settle(["one"]) == 1
        assert ledger.clear_refused() == 0, "only what is named is done again"
        ledger.clear_refused(["two"])
    assert us.sync(name)[name].rejected == 1, "the service knows that name"
    us.put_location("two", location_name="second")
    assert us.sync(name)[name].created == 1
    assert sorted(project["name"] for project in us.projects()) == ["one", "second", "two"]


def test_a_won_opportunity_becomes_one_project(us: Team) -> None:
    """Those of before are left alone, lost ones are not looked at, and one that is won again is the same."""
    us.changes = at_highlevel(us)
    name, setup = "won_opportunities", service(us)
    existing = preview_automation(setup, name)
    assert {"name", "note"} < existing.examples[0].keys()
    assert switch_on(setup, name) == existing.records > 0
    assert us.sync(name)[name].excluded == existing.records

    def put(**fields: object) -> Json:
        asked = {"locationId": HOME, "monetaryValue": 900, **fields}
        return dict(us.control("POST", "highlevel/opportunities", asked)["opportunity"])

    put(status="lost", name="Lost")
    deal = put(status="won", name="Kitchen")
    assert us.sync(name)[name].created == 1
    for status in ("open", "won"):
        put(**{**deal, "status": status, "name": f"Kitchen, {status}"})
        assert us.sync(name)[name].writes == 0
    (project,) = us.projects()
    assert (project["name"], project["note"], project["billable"]) == ("Kitchen", f"opportunity: {deal['id']}", True)
    assert us.verify(name)[name].in_sync


def test_sensors_ask_for_what_is_new_and_for_nothing_else(us: Team) -> None:
    """What exists, what was made and what was renamed since asks for no run; live syncing stays on when it is switched."""
    us.sync("locations")
    with us.session() as session:
        turn(session.store, session.pair, session.fingerprint, on=True, by="Ana", at=session.now())
    switch_on(service(us), NAME, template(us))
    with us.session() as session:
        switch, spec = read_switch(session.store, session.pair), session.specs[NAME]
        assert switch is not None
        assert switch.is_on_for(session.fingerprint)
        assert watch(session, spec, None).runs == []
        us.put_location("new", location_name="Harbour")
        us.sync("locations")
        (run,) = watch(session, spec, None).runs
        assert run.ids == ("new",)
        sync_ids(session, spec, run.ids, run_id="asked for")
        close(session.store, run.events, "asked for", session.now())
        us.put_location("new", location_name="Renamed")
        assert watch(session, spec, None).runs == []
    assert len(made_by(us)) == 1
    switch_off(service(us), NAME)
    with us.session() as session:
        switch = read_switch(session.store, session.pair)
        assert switch is not None
        assert switch.is_on_for(session.fingerprint)


def test_a_backfill_makes_something_for_what_exists_too(us: Team) -> None:
    """Also later: switched on again, what was left alone before is included, and what was made is not made again."""
    us.sync("locations")
    setup, values = service(us), template(us)
    switch_on(setup, NAME, values)
    us.put_location("new", location_name="Harbour")
    assert synced(us)[NAME].created == 1
    switch_off(setup, NAME)
    assert switch_on(setup, NAME, backfill=True) == 4
    assert synced(us)[NAME].created == 3
    assert synced(us)[NAME].writes == 0
    assert len(made_by(us)) == 4


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("clients.create", "{name: {source: location_id, required: true}, note: {source: location_name}}"),
        ("tags.create", "{name: {source: location_id, required: true}}"),
        (
            "projects.tasks.create",
            "{projectId: {constant: PROJECT, type: id, required: true}, name: {source: location_id, required: true}}",
        ),
    ],
)
def test_each_operation_is_done_once(us: Team, operation: str, fields: str) -> None:
    """Also where the answer is lost; what a person made before under that name is taken as made."""
    project = us.clockify("POST", "/projects", {"name": "Board"})["id"]
    target = f"{{system: clockify, operation: {operation}, once: true}}"
    source = "{system: snapshots, list: locations, id: location_id}"
    text = f"entity: things\nsource: {source}\ntarget: {target}\nfields: {fields.replace('PROJECT', project)}\n"
    write_mapping(us, "things.yaml", text)
    switch_on(service(us), "things")
    path = f"/{operation.removesuffix('.create').replace('projects.', f'projects/{project}/')}".replace(".", "/")
    us.clockify("POST", path, {"name": "by hand"})
    for name in ("by hand", "lost", "new"):
        us.put_location(name, location_name=f"Site {name}")
    us.fault("cut_after", f"POST *{path}", count=1)
    done = us.sync("things")["things"]
    us.no_faults()
    assert (done.created, done.adopted, done.excluded) == (2, 1, 3)
    assert us.sync("things")["things"].writes == 0
    names = [row["name"] for row in us.clockify("GET", path) if row["name"] in ("by hand", "lost", "new")]
    assert sorted(names) == ["by hand", "lost", "new"]
    verdict = us.verify("things")["things"]
    assert (verdict.target, verdict.removed, verdict.in_sync) == (3, 0, True)


def test_what_may_have_been_made_waits_for_a_person_although_its_source_was_away(us: Team) -> None:
    """Deleted, back under another name, left alone and included again: it is not done a second time by itself."""
    write_mapping(us, "tag_of_location.yaml", UNFINDABLE)
    name = "tag_of_location"
    switch_on(service(us), name)
    us.put_location("one", location_name="one")
    us.fault("cut_after", "POST */projects")
    assert us.sync(name)[name].rejected == 1
    us.no_faults()
    us.snapshots("DELETE", "/locations/one")
    us.sync(name, SYNC_MAX_DELETE_SHARE="1")
    us.put_location("one", location_name="another")
    assert us.sync(name)[name].writes == 0
    switch_off(service(us), name)
    switch_on(service(us), name)
    us.sync(name)
    switch_on(service(us), name, backfill=True)
    us.sync(name)
    assert [project["name"] for project in us.projects() if project["name"] in ("one", "another")] == ["one"]
    with us.session() as session:
        assert session.ledger(name).rejects.rejected_by(UNKNOWN_OUTCOME) == ["one"]


def test_a_source_that_comes_back_gets_no_second_one(us: Team) -> None:
    """What was made of it went to another record of that name while it was away; it was made once all the same."""
    write_mapping(us, "tags_of_locations.yaml", TAGS)
    name = "tags_of_locations"
    switch_on(service(us), name)
    us.put_location("first", location_name="Harbour")
    assert us.sync(name)[name].created == 1
    us.snapshots("DELETE", "/locations/first")
    us.sync(name, SYNC_MAX_DELETE_SHARE="1")
    us.put_location("second", location_name="Harbour")
    assert us.sync(name)[name].adopted == 1
    us.put_location("first", location_name="Pier")
    done = us.sync(name)[name]
    assert (done.writes, done.excluded) == (0, 4)
    assert {tag["name"] for tag in us.clockify("GET", "/tags")} & {"Harbour", "Pier"} == {"Harbour"}


def test_a_field_may_be_an_object_where_nothing_is_found_again(us: Team) -> None:
    """All fields tell a record then."""
    write_mapping(
        us,
        "tag_of_location.yaml",
        f"{UNFINDABLE}  estimate: {{constant: {{estimate: PT40H, type: MANUAL}}, type: json}}\n",
    )
    switch_on(service(us), "tag_of_location")
    us.put_location("one", location_name="one")
    assert us.sync("tag_of_location")["tag_of_location"].created == 1


def test_one_that_asks_for_more_by_now_is_given_it(us: Team) -> None:
    """Its file asks for a value that was not given: nothing else works until then."""
    name = "tag_of_location"
    path = write_mapping(us, "tag_of_location.yaml", UNFINDABLE) / "tag_of_location.yaml"
    setup = service(us)
    switch_on(setup, name)
    path.write_text(f"{UNFINDABLE}  note: {{ask: Which note?, required: true}}\n")
    with pytest.raises(ConfigError, match="without a value of note"), us.session():
        pass
    switch_on(setup, name, {"note": "from us"})
    with us.session() as session:
        assert session.specs[name].field("note").constant == "from us"


def test_one_whose_file_was_deleted_can_be_switched_off(us: Team) -> None:
    """Nothing else works until then."""
    name = "tag_of_location"
    path = write_mapping(us, "tag_of_location.yaml", UNFINDABLE) / "tag_of_location.yaml"
    setup = service(us)
    switch_on(setup, name)
    path.unlink()
    with pytest.raises(ConfigError, match="no automation"), us.session():
        pass
    switch_off(setup, name)
    assert us.settings().automations == ()
    us.sync("locations")


def test_a_form_that_is_out_of_date_includes_nothing(us: Team) -> None:
    """Another user has switched it on meanwhile, and existing records are left alone."""
    setup, values = service(us), template(us)
    before = setup.revision()
    switch_on(setup, NAME, values)
    with pytest.raises(ChangedMeanwhile):
        switch_on(setup, NAME, values, backfill=True, since=before)
    assert synced(us)[NAME].excluded == 3
    assert made_by(us) == []


def test_verify_says_what_it_has_not_looked_for(us: Team) -> None:
    """More were made than a run may look up."""
    switch_on(service(us), NAME, template(us))
    for number in range(3):
        us.put_location(f"l{number}", location_name=f"Site {number}")
    synced(us)
    for project in made_by(us):
        us.delete_project(project["id"])
    verdict = us.verify(NAME, SYNC_MAX_CONFIRMATIONS="2")[NAME]
    assert (verdict.source, verdict.target, verdict.removed, verdict.unchecked) == (3, 1, 2, 1)
    assert "2 of the 2 starter_projects that were looked for were removed" in verdict.explanation
    assert "1 of the 3 starter_projects that were made were not looked for" in verdict.explanation


def test_verify_counts_all_that_was_not_made_and_lists_some(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of any comparison, since it may be more than memory holds."""
    monkeypatch.setattr("sync_pipeline.stages.verify.KEPT", 2)
    switch_on(service(us), NAME, template(us))
    synced(us)
    for number in range(3):
        us.put_location(f"l{number}", location_name=f"Site {number}")
    us.sync("locations")
    verdict = us.verify(NAME)[NAME]
    assert (verdict.missing, [one.record for one in verdict.differences]) == (3, ["l0", "l1"])


def test_one_record_there_is_made_of_one_here(us: Team) -> None:
    """A service that answers with what it has already, as for a second contact with one address: the second is rejected."""
    write_mapping(us, "tag_of_location.yaml", UNFINDABLE)
    name = "tag_of_location"
    switch_on(service(us), name)
    us.put_location("one", location_name="one")
    assert us.sync(name)[name].created == 1
    (made,) = us.projects()
    for number in ("two", "three"):
        us.put_location(number, location_name=number)
    us.fault("status", "POST */projects", status=201, body={**made, "name": "two"}, count=1)
    done = us.sync(name)[name]
    us.no_faults()
    assert (done.created, done.rejected) == (1, 1)
    assert us.sync(name)[name].writes == 0
    with us.session() as session:
        known = session.ledger(name).lookup(["one", "two", "three"])
        (reason,) = {one.reason for key in known for one in session.ledger(name).rejects.show(key)}
    assert known["one"].target_id == made["id"]
    assert f"answered with project {made['id']}, which was made of one" in reason


def test_what_was_made_is_found_however_its_name_is_written(us: Team) -> None:
    """An accent may be a character of its own, as in names typed on a Mac: there it is one name."""
    listed = "{operation: projects.list, same: [name]}"
    write_mapping(us, "tag_of_location.yaml", UNFINDABLE.replace("find: none", f"find: {listed}"))
    name = "tag_of_location"
    switch_on(service(us), name)
    us.clockify("POST", "/projects", {"name": "Caf\u00e9"})
    us.put_location("one", location_name="Cafe\u0301")
    done = us.sync(name)[name]
    assert (done.created, done.adopted) == (0, 1)


def test_a_first_contact_makes_no_more_than_another_run(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """With existing records included, the first sync of real accounts makes none without an approval."""
    write_mapping(us, "tags_of_locations.yaml", TAGS.replace("once: true", "once: true, at_most: 2"))
    switch_on(service(us), name := "tags_of_locations", backfill=True)
    monkeypatch.setattr(Settings, "is_remote", True)
    assert us.sync(name)[name].held == 3
    with us.session() as session:
        done = us.sync_one(session, name, options=Options(first_contact=True))
    assert (done.created, done.held) == (0, 3)
    with us.session() as session:
        asked = list_approvals(session.store, session.pair, session.now(), limit=10)
        (request,) = [each for each in asked if each.guard == "creates"]
        decide(session.store, session.pair, request.id, "allowed", "Ana", session.now())
    assert us.sync(name)[name].created == 3


def test_in_accounts_where_no_one_switched_it_on_what_exists_is_left_alone(us: Team) -> None:
    """On by a setting, by an imported set-up or in the accounts before: the first sync makes nothing, the next one what is new."""
    write_mapping(us, "tags_of_locations.yaml", TAGS)
    us.changes["SYNC_AUTOMATIONS"] = "tags_of_locations"
    with us.session() as session:
        early = sync_ids(session, session.specs["tags_of_locations"], ["l0"], run_id="event")
        assert early.counts.created == 0
    done = us.sync("tags_of_locations")["tags_of_locations"]
    assert (done.created, done.excluded) == (0, 3)
    us.put_location("new", location_name="Harbour")
    assert us.sync("tags_of_locations")["tags_of_locations"].created == 1
    assert us.sync("tags_of_locations")["tags_of_locations"].writes == 0


@contextmanager
def switching_on(us: Team, name: str, values: Json | None = None) -> Iterator[Future[int]]:
    """Another process that switches an automation on, and has begun to read what exists; it goes on afterwards."""
    faults = us.sandbox.world.faults
    rule = faults.add(read_rule({"kind": "hold_before", "route": "GET *locations*", "count": 1}))
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(switch_on, service(us), name, values)
        try:
            wait_until(lambda: rule.holding > 0 or done.done())
            yield done
        finally:
            faults.remove(rule)


def test_switched_at_once_each_is_as_if_it_came_after_the_other(us: Team) -> None:
    """What one switches on or off stays so although another one was under way, and live syncing stays on."""
    for name, text in (("tags_of_locations", TAGS), ("tag_of_location", UNFINDABLE)):
        write_mapping(us, f"{name}.yaml", text)
    us.sync("locations")
    switch_on(service(us), "tags_of_locations")
    with us.session() as session:
        turn(session.store, session.pair, session.fingerprint, on=True, by="Ana", at=session.now())
    with switching_on(us, NAME, template(us)) as first:
        assert switch_on(service(us), "tag_of_location") == 3
        switch_off(service(us), "tags_of_locations")
    assert first.result() == 3
    assert sorted(us.settings().automations) == [NAME, "tag_of_location"]
    with us.session() as session:
        switch = read_switch(session.store, session.pair)
        assert switch is not None
        assert switch.is_on_for(session.fingerprint)


def test_a_backfill_is_not_undone_by_another_one_that_switches_it_on(us: Team) -> None:
    """Who comes later finds it on: nothing of what exists is left alone then, and values are changed."""
    write_mapping(us, "tags_of_locations.yaml", TAGS)
    with switching_on(us, "tags_of_locations") as first:
        assert switch_on(service(us), "tags_of_locations", backfill=True) == 3
    assert first.result() == 0
    assert us.sync("tags_of_locations")["tags_of_locations"].created == 3


def test_a_page_that_is_older_than_the_set_up_changes_nothing(us: Team) -> None:
    """The later of two simultaneous clicks is answered that the set-up has changed; the result of the first is kept."""
    write_mapping(us, "tags_of_locations.yaml", TAGS)
    setup = service(us)
    shown = setup.revision()
    switch_on(setup, "tags_of_locations", backfill=True, since=shown)
    for change in (switch_on, switch_off):
        with pytest.raises(ChangedMeanwhile):
            change(setup, "tags_of_locations", since=shown)
    with pytest.raises(ChangedMeanwhile):
        switch_on(setup, NAME, template(us), since=shown)
    assert us.settings().automations == ("tags_of_locations",)
    assert us.sync("tags_of_locations")["tags_of_locations"].created == 3
