"""Records that someone changes or deletes by hand in HighLevel are corrected within a tick of the sensors, by its webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sync_pipeline.setup.automations import switch_on
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.liveness import alive
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.server import RunningReceiver, running
from sync_pipeline.webhooks.signed import addresses, signed_deliveries
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.highlevel import VENDORS, HighLevelTeam
from sync_pipeline_tests.highlevel_app import arrived
from sync_pipeline_tests.scenarios.mappings import write_mapping

pytestmark = pytest.mark.clock

TAGS = """
entity: tags_of_opportunities
source: {system: snapshots, list: opportunities, id: id}
target: {system: clockify, operation: tags.create, once: true}
fields:
  name: {source: name, required: true}
"""


@contextmanager
def delivering(us: HighLevelTeam) -> Iterator[RunningReceiver]:
    """A receiver, with its addresses entered in the sandbox."""
    us.changes["SNAPSHOTS_WEBHOOK_KEY"] = us.control("GET", "highlevel")["webhook_public_key"]
    with us.session() as session:
        hooks, workspace = open_hooks(session), session.clockify.account.workspace
        assert addresses(session, hooks, "http://127.0.0.1:1").polling.startswith(
            "HighLevel sends webhooks to an app only"
        )
        session.settings = replace(session.settings, snapshots_auth="authorization_code")
        rows = addresses(session, hooks, "http://127.0.0.1:1").rows
        assert addresses(session, hooks, "http://127.0.0.1:1").rows == rows
        with running(hooks, ReceiverOptions(workspace=workspace, signed=signed_deliveries(session))) as receiver:
            names = {row["event"]: row["address"].replace("http://127.0.0.1:1", receiver.url) for row in rows}
            assert not any("level" in address.lower() or "ghl" in address.lower() for address in names.values())
            us.switch(webhooks=names)
            yield receiver


def quiet(on: Live, *entities: str) -> None:
    """Nothing is left to do."""
    assert all(on.tick(entity).requests == [] and on.inbox(entity).open == 0 for entity in entities)


def test_what_is_changed_by_hand_is_put_right_within_a_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry's text, a project that is deleted, a location that is renamed; our own echo ends without a write."""
    with team(tmp_path / "team", **VENDORS["highlevel"] | {"entries": 6, "projects": 2}) as us:
        assert isinstance(us, HighLevelTeam)
        us.sync()
        with delivering(us) as receiver, live(us, tmp_path / "live", monkeypatch) as on:
            entry = us.stored("time_entries")[0]
            right = entry["properties"].get("description")
            us.edit("time_entries", id=entry["id"], properties={"description": "by hand"})
            arrived(receiver, 1)
            assert on.tick("time_entries").jobs == ["changes_time_entries"]
            assert {row["id"]: row for row in us.stored("time_entries")}[entry["id"]]["properties"].get(
                "description"
            ) == right
            arrived(receiver, 2)
            us.forget_stats()
            quiet(on, "time_entries")
            assert us.requests().keys() <= {"GET /_control/highlevel/records/{object}"}, (
                "our own echo shows all of the record"
            )
            project = us.stored("projects")[0]
            us.edit("projects", id=project["id"], remove=True)
            arrived(receiver, 3)
            assert on.tick("projects").jobs == ["changes_projects"]
            assert project["properties"]["project_id"] in us.at_snapshots("projects")
            location = next(iter(us.at_snapshots("locations")))
            us.put_location(location, location_name="Renamed there")
            arrived(receiver, 4)
            assert on.tick("locations").jobs == ["changes_locations"]
            assert us.client("Renamed there")
            quiet(on, "time_entries", "projects", "locations")
            assert all(verdict.in_sync for verdict in us.verify().values())


def test_an_opportunity_that_is_won_becomes_a_project_within_a_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is polled again, and by each automation that reads opportunities; one that is lost wakes nothing."""
    names = ("won_opportunities", "tags_of_opportunities")
    with team(tmp_path / "team", **VENDORS["highlevel"] | {"entries": 0, "projects": 0}) as us:
        assert isinstance(us, HighLevelTeam)
        write_mapping(us, f"{names[1]}.yaml", TAGS)
        for name in names:
            switch_on(SetupService("a person", us.home, us.environ), name)
        with delivering(us) as receiver, live(us, tmp_path / "live", monkeypatch) as on:
            quiet(on, *names)
            open_deal = us.control("POST", "highlevel/opportunities", {"name": "Kitchen"})["opportunity"]
            arrived(receiver, 1)
            quiet(on, *names)
            us.control("POST", "highlevel/opportunities", open_deal | {"status": "won"})
            arrived(receiver, 2)
            assert [on.tick(name).jobs for name in names] == [[f"changes_{name}"] for name in names]
            assert [project["note"] for project in us.projects()] == [f"opportunity: {open_deal['id']}"]
            assert "Kitchen" in {tag["name"] for tag in us.clockify("GET", "/tags")}
            us.control("POST", "highlevel/opportunities", open_deal | {"status": "lost"})
            arrived(receiver, 3)
            quiet(on, *names)


def test_records_are_compared_some_at_a_time_and_no_fight_is_fought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is as we left it costs one read; an outage keeps the event; what an automation changes back is left to verify."""
    with team(tmp_path / "team", **VENDORS["highlevel"] | {"entries": 30, "projects": 2}) as us:
        assert isinstance(us, HighLevelTeam)
        us.sync()
        keys = sorted(us.at_snapshots("time_entries"))[:25]
        with live(us, tmp_path / "live", monkeypatch) as on:

            def notify(*ids: str) -> None:
                for number, key in enumerate(ids):
                    on.event("target:RecordUpdate", "time_entries", {"number": number, "id": key})

            def fight() -> None:
                us.snapshots("PUT", f"/time_entries/{keys[0]}", {"description": "from an automation"})
                notify(keys[0])

            notify(*keys)
            us.forget_stats()
            assert on.tick("time_entries").requests == []
            assert on.inbox("time_entries").open == 5
            quiet(on, "time_entries")
            assert us.requests()["GET /highlevel/objects/custom_objects.clockify_time_entries/records/{id}"] == 25
            assert us.writes() == {}
            fight()
            us.fault("status", "GET */records/*", status=503, count=1)
            assert on.tick("time_entries").requests == []
            assert on.inbox("time_entries").open == 1
            assert on.tick("time_entries").jobs == ["changes_time_entries"]
            assert us.at_snapshots("time_entries")[keys[0]]["description"] != "from an automation"
            fight()
            quiet(on, "time_entries")
            assert us.at_snapshots("time_entries")[keys[0]]["description"] == "from an automation"
            assert us.verify("time_entries", repair=True)["time_entries"].repaired == 1


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A small team at HighLevel that is in step."""
    with team(tmp_path / "team", **VENDORS["highlevel"] | {"entries": 6, "projects": 2}) as everybody:
        everybody.sync()
        everybody.settle()
        yield everybody


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors; polling is far away."""
    with live(us, tmp_path / "live", monkeypatch) as switched_on:
        yield switched_on


def edited_by_hand(us: Team, on: Live) -> tuple[str, str]:
    """An entry whose text a person changes at the target, which reports it; its id and what its text should be."""
    key, right = next((key, row["description"]) for key, row in sorted(us.at_snapshots("time_entries").items()))
    us.snapshots("PUT", f"/time_entries/{key}", {"description": "by hand"})
    on.event("target:RecordUpdate", "time_entries", {"id": key})
    return key, right


def assert_corrected(us: Team, on: Live, key: str, right: str) -> None:
    """The event is still open, and its edit is corrected now."""
    assert us.at_snapshots("time_entries")[key]["description"] == "by hand"
    assert on.inbox("time_entries").open == 1
    on.retry_policy(0)
    assert on.drain("time_entries")
    assert us.at_snapshots("time_entries")[key]["description"] == right
    quiet(on, "time_entries")


def test_an_edit_that_no_look_has_compared_is_not_answered_by_a_run_about_its_record(us: Team, on: Live) -> None:
    """A run that a change in Clockify asked for starts after the edit came in: it has not looked at the target."""
    key = min(us.at_snapshots("time_entries"))
    on.event("TIMER_STOPPED", "time_entries", {"id": key})
    (request,) = on.tick("time_entries", run=False).requests
    key, right = edited_by_hand(us, on)
    assert on.execute(request).success
    assert_corrected(us, on, key, right)


def test_an_edit_whose_comparison_failed_is_not_answered_by_the_load_of_its_day(us: Team, on: Live) -> None:
    """The target did not answer when the sensor looked; the re-scan that follows has not looked at it either."""
    key, right = edited_by_hand(us, on)
    us.fault("status", "GET */records/*", status=503, count=1)
    assert on.tick("time_entries").requests == []
    us.sync("time_entries")
    assert_corrected(us, on, key, right)


def test_an_edit_of_a_record_that_another_run_is_writing_is_compared_once_more(us: Team, on: Live) -> None:
    """What is read meanwhile may be from before that write or after it: the look decides nothing."""
    key, right = edited_by_hand(us, on)
    with closing(open_store(us.settings().store_url)) as store, alive(store, "writing"), us.session() as session:
        ledger = session.ledger("time_entries")
        claims = type(ledger)(store, ledger.pair, ledger.entity).claims
        claims.take([key])
        assert on.tick("time_entries").requests == []
        claims.give_back()
    assert_corrected(us, on, key, right)


def test_a_record_that_cannot_be_read_holds_up_no_other_edit(us: Team, on: Live) -> None:
    """The edit of the other one is corrected in the same tick; this one is compared when it can be read again."""
    assert isinstance(us, HighLevelTeam)
    unread, other = (record["id"] for record in us.stored("time_entries")[:2])
    right = {record["id"]: record["properties"].get("description") for record in us.stored("time_entries")}

    def shown() -> dict[str, str | None]:
        return {record["id"]: record["properties"].get("description") for record in us.stored("time_entries")}

    with us.session() as session:
        keys = session.ledger("time_entries").linked()
    for record in (unread, other):
        us.edit("time_entries", id=record, properties={"description": "by hand"})
        on.event("target:RecordUpdate", "time_entries", {"id": keys[record]})
    us.fault("status", f"GET */records/{unread}", status=503)
    assert on.tick("time_entries").jobs == ["changes_time_entries"]
    assert shown() == right | {unread: "by hand"}
    assert on.inbox("time_entries").open == 1
    us.no_faults()
    on.retry_policy(0)
    assert on.drain("time_entries")
    assert shown() == right
    quiet(on, "time_entries")


def descriptions(us: HighLevelTeam) -> dict[str, str | None]:
    """What the entries at the target say, by their id there."""
    return {record["id"]: record["properties"].get("description") for record in us.stored("time_entries")}


def edited(us: HighLevelTeam, on: Live, count: int) -> dict[str, str]:
    """So many entries that someone has edited by hand, with their events: id at the target by id, in the order of looks."""
    with us.session() as session:
        keys = session.ledger("time_entries").linked()
        some = [keys[record["id"]] for record in us.stored("time_entries")[:count]]
        order = list(session.ledger("time_entries").lookup(some))
    places = {key: place for place, key in keys.items() if key in order}
    for key in order:
        us.edit("time_entries", id=places[key], properties={"description": "by hand"})
        on.event("target:RecordUpdate", "time_entries", {"id": key})
    return {key: places[key] for key in order}


def test_what_changed_at_the_source_arrives_although_no_edit_can_be_read(us: Team, on: Live) -> None:
    """The edit's event stays open, and the sensor says why."""
    assert isinstance(us, HighLevelTeam)
    ((key, unread),) = edited(us, on, 1).items()
    other = next(entry for entry in us.entries() if entry["id"] != key)
    us.change_entry(other, description="changed at the source")
    on.event("TIME_ENTRY_UPDATED", "time_entries", {"id": other["id"]})
    us.fault("status", f"GET */records/{unread}", status=500)

    assert on.tick("time_entries").jobs == ["changes_time_entries"]
    assert "changed at the source" in descriptions(us).values()
    assert on.inbox("time_entries").open == 1
    tick = on.tick("time_entries")
    assert tick.jobs == []
    assert "answered 500" in tick.said


def test_unreadable_records_do_not_hold_up_another_edit_permanently(us: Team, on: Live) -> None:
    """Three of them look as if the target were down: the next try begins with others."""
    assert isinstance(us, HighLevelTeam)
    right = descriptions(us)
    *unread, _readable = edited(us, on, 4).values()
    for each in unread:
        us.fault("status", f"GET */records/{each}", status=500)

    for _ in range(3):
        on.retry_policy(0)
        on.tick("time_entries")
    assert descriptions(us) == right | dict.fromkeys(unread, "by hand")
    us.no_faults()
    on.retry_policy(0)
    assert on.drain("time_entries")
    assert descriptions(us) == right


@pytest.mark.parametrize("status", [401, 403])
def test_a_record_that_may_not_be_read_holds_up_nothing_else(us: Team, on: Live, status: int) -> None:
    """Whatever the target says of it, the other edits are corrected."""
    assert isinstance(us, HighLevelTeam)
    *_, refused = edited(us, on, 3).values()
    us.fault("status", f"GET */records/{refused}", status=status)
    for _ in range(3):
        on.retry_policy(0)
        on.tick("time_entries")
    assert [key for key, text in descriptions(us).items() if text == "by hand"] == [refused]


@pytest.mark.parametrize("fails", [False, True])
def test_a_program_that_restores_its_value_is_corrected_once(us: Team, on: Live, fails: bool) -> None:
    """Also when a look at the record fails in between: what was not compared is no reason to write again."""
    assert isinstance(us, HighLevelTeam)
    record = us.stored("time_entries")[0]["id"]
    with us.session() as session:
        key = session.ledger("time_entries").linked()[record]
    corrected = 0
    for number in range(4):
        us.edit("time_entries", id=record, properties={"description": "the other program"})
        on.event("target:RecordUpdate", "time_entries", {"id": key, "n": number})
        if fails and number:
            us.fault("status", f"GET */records/{record}", status=503)
            on.tick("time_entries")
            us.no_faults()
            on.retry_policy(0)
        on.tick("time_entries")
        corrected += descriptions(us)[record] != "the other program"
    assert corrected == 1
