"""Running single operations on the sandbox: what is sent, what is refused, and what is known afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from sync_pipeline.clock import utc_now
from sync_pipeline.connectors.ports import Operable
from sync_pipeline.errors import ConfigError, FatalApiError, NotAllowed, NotAuthorized, RejectedRecord, UnknownOutcome
from sync_pipeline.operations.catalogue import known, operation, operations, search
from sync_pipeline.operations.inputs import PAGE_SIZE, OperationCall, formed
from sync_pipeline.sandbox.highlevel.contacts import OPERATIONS
from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME
from sync_pipeline.session.session import Session
from sync_pipeline.setup import operations as running
from sync_pipeline.setup.operations import HIDDEN, SECRET, account_of, form_of, pages, refuse, run, shown
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.audit import changes
from sync_pipeline.store.operation_runs import OnceRun, claim
from sync_pipeline.store.retention import Ages, prune
from sync_pipeline_tests.clockify_contract import facts
from sync_pipeline_tests.harness import CLOCKIFY_KEY, Team, instant, morning, team
from sync_pipeline_tests.highlevel_contract import originals
from sync_pipeline_tests.impostor import Part, impostor
from sync_pipeline_tests.operation_samples import sample_of
from sync_pipeline_tests.properties.killing import Killed, killing
from sync_pipeline_tests.setup.agency import at_highlevel

LEFT_OUT = ("highlevel_days", "highlevel_pending", "highlevel_index", "meta")
"""Tables of the sandbox about requests, not about records."""
CANARY = "c4n4ry-wJalrXUtnFEMI-K7MDENG"
HARMLESS = {"author", "reportAuthor"}


@pytest.fixture(scope="module")
def us(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Both systems, HighLevel included, with a little data."""
    with team(tmp_path_factory.mktemp("operations")) as made:
        yield made


def settings_of(us: Team) -> dict[str, Any]:
    """Those of a session with HighLevel."""
    return dict(at_highlevel(us))


@pytest.fixture
def session(us: Team, tmp_path: Path) -> Iterator[Session]:
    """A session whose other side is HighLevel, so that all operations can be tried."""
    us.home = tmp_path / "home"
    with us.session(**settings_of(us)) as opened:
        yield opened


@pytest.fixture
def setup(us: Team) -> SetupService:
    """Somebody at a terminal."""
    return SetupService("Ana", root=us.home, environ=us.environ)


def sent(setup: SetupService, session: Session, operation_: str, /, **given: Any) -> Any:
    """The answer of an operation that was run."""
    return run(setup, session, form_of(session, operation_, given)).data


def state_of(us: Team) -> str:
    """A hash of all records of the sandbox."""
    lines = (line for line in us.sandbox.world.db.iterdump() if not any(f'"{name}"' in line for name in LEFT_OUT))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sample(session: Session, name: str, *, every: bool = False) -> OperationCall:
    """An operation with made-up inputs."""
    one = operation(name)
    return formed(one, sample_of(one, every=every), account_of(session, one).decided)


def test_what_the_forty_do_on_clockify(us: Team, setup: SetupService, session: Session) -> None:
    """Each that the sandbox has, for real: what a write sent is what is read back."""
    me, user = sent(setup, session, "clockify.user.get"), us.sandbox.workspace
    assert sent(setup, session, "clockify.workspaces.get")["id"] == user
    assert [each["id"] for each in sent(setup, session, "clockify.workspaces.list")] == [user]
    client = sent(setup, session, "clockify.clients.create", name="Harbour House", note="by hand")
    sent(setup, session, "clockify.clients.update", id=client["id"], name="Harbour Houses")
    assert sent(setup, session, "clockify.clients.get", id=client["id"])["name"] == "Harbour Houses"
    assert client["id"] in {each["id"] for each in sent(setup, session, "clockify.clients.list", name="Harbour")}
    project = sent(setup, session, "clockify.projects.create", name="Retainer", clientId=client["id"], isPublic="no")
    where = {"projectId": project["id"]}
    estimate = {"timeEstimate.estimate": "PT5H", "timeEstimate.type": "MANUAL", "timeEstimate.active": "true"}
    sent(setup, session, "clockify.projects.estimate.update", **where, **estimate)
    sent(setup, session, "clockify.projects.memberships.add", **where, userIds=[me["id"]])
    sent(setup, session, "clockify.projects.update", **where, name="Retainers")
    read = sent(setup, session, "clockify.projects.get", **where)
    assert (read["name"], read["timeEstimate"]["estimate"], read["clientId"]) == ("Retainers", "PT5H", client["id"])
    task = sent(setup, session, "clockify.projects.tasks.create", **where, name="Set-up")
    sent(setup, session, "clockify.projects.tasks.update", **where, taskId=task["id"], name="Set-up", status="DONE")
    assert [each["status"] for each in sent(setup, session, "clockify.projects.tasks.list", **where)] == ["DONE"]
    (template,) = sent(setup, session, "clockify.projects.list", **{"is-template": "true"})
    wanted = {"name": "Starter", "templateProjectId": template["id"], "clientId": client["id"]}
    starter = sent(setup, session, "clockify.projects.from-template", **wanted)
    assert (starter["clientName"], starter["template"]) == ("Harbour Houses", False)
    entry = sent(setup, session, "clockify.time-entries.create", start="2026-03-02T08:00:00Z", description="Call")
    assert [each["id"] for each in sent(setup, session, "clockify.time-entries.in-progress")] == [entry["id"]]
    sent(setup, session, "clockify.user.time-entries.stop", userId=me["id"], end="2026-03-02T09:00:00Z")
    assert sent(setup, session, "clockify.time-entries.get", id=entry["id"])["timeInterval"]["duration"] == "PT1H"
    sent(setup, session, "clockify.time-entries.delete", id=entry["id"])
    tag = sent(setup, session, "clockify.tags.create", name="by hand")
    sent(setup, session, "clockify.tags.delete", id=tag["id"])
    assert tag["id"] not in {each["id"] for each in sent(setup, session, "clockify.tags.list")}
    days = {"dateRangeStart": "2026-01-01T00:00:00Z", "dateRangeEnd": "2026-12-31T00:00:00Z"}
    assert sent(setup, session, "clockify.reports.summary", **days, summaryFilter='{"groups": ["CLIENT"]}')["totals"]
    trail = [line.detail for line in changes(session.store) if line.by == "Ana"]
    assert f"clockify.tags.create id {tag['id']}" in trail
    assert "Harbour" not in str(trail)


def form_of_object(session: Session, name: str) -> OperationCall:
    """A new object at the location, whose records have a title."""
    key = f"custom_objects.{name}"
    primary = json.dumps({"key": f"{key}.title", "name": "Title", "dataType": "TEXT"})
    labels = json.dumps({"singular": name, "plural": f"{name}s"})
    given = {"key": key, "labels": labels, "primaryDisplayPropertyDetails": primary}
    form = form_of(session, "highlevel.objects.create", given)
    return replace(form, operation=replace(form.operation, tokens=("location",)))


def test_what_the_forty_do_on_highlevel(setup: SetupService, session: Session) -> None:
    """Records of an object, found again and changed; the location is filled in."""
    pets, object_ = {"schemaKey": "custom_objects.pet"}, form_of_object(session, "pet")
    with pytest.raises(NotAllowed, match="described here, but not sent"):
        run(setup, session, object_)
    running._send(session, object_)
    made = sent(setup, session, "highlevel.objects.records.create", **pets, properties='{"title": "Rex"}')
    rex = made["record"]["id"]
    sent(
        setup,
        session,
        "highlevel.objects.records.update",
        **pets,
        id=rex,
        locationId=HOME,
        properties='{"title": "Max"}',
    )
    assert (
        sent(setup, session, "highlevel.objects.records.get", **pets, id=rex)["record"]["properties"]["title"] == "Max"
    )
    assert {each["key"] for each in sent(setup, session, "highlevel.objects.list")["objects"]} >= {"custom_objects.pet"}
    found = sent(setup, session, "highlevel.objects.records.search", **pets)
    assert [each["id"] for each in found["records"]] == [rex]
    assert sent(setup, session, "highlevel.locations.get", locationId=HOME)["location"]["id"] == HOME
    every = [
        row for page in pages(session, form_of(session, "highlevel.locations.search", {"limit": "2"})) for row in page
    ]
    assert len({each["id"] for each in every}) == len(every) > 2
    due = {"dueDate": "2026-11-30T09:00:00Z", "completed": "no"}
    here = {"contactId": OPERATIONS}
    task = sent(setup, session, "highlevel.contacts.tasks.create", **here, title="Call", **due)["task"]
    assert sent(setup, session, "highlevel.contacts.tasks.list", **here)["tasks"] == [task]
    company = sent(setup, session, "highlevel.businesses.create", name="Harbour House")["buiseness"]
    assert sent(setup, session, "highlevel.businesses.list")["businesses"] == [company]
    assert sent(setup, session, "highlevel.users.search", companyId=COMPANY)["users"]


def test_reads_change_nothing_and_a_dry_run_sends_no_write(us: Team, setup: SetupService, session: Session) -> None:
    """Every read that the sandbox has leaves its records as they were; of all others in the catalogue no request leaves."""
    before = state_of(us)
    ids = {"userId": us.users()[0]["id"], "id": us.clockify("GET", "/clients")[0]["id"]}
    for one in (each for each in search("", kind="read") if each.sandbox):
        form = formed(one, {**sample_of(one, every=False), **_fitting(one.name, ids)}, account_of(session, one).decided)
        try:
            answered = run(setup, session, form).status
        except (FatalApiError, RejectedRecord) as error:
            answered = error.request.status
        assert answered is not None, one.name
    assert state_of(us) == before
    us.forget_stats()
    for mode in ("dry_run", "live"):
        with us.session(**settings_of(us), SYNC_MODE=mode) as dry:  # as with --dry-run
            assert all(shown(dry, sample(dry, name))["url"] for name in operations())
    assert us.requests() == {}
    everything = ",".join(operations())
    with us.session(**settings_of(us), SYNC_MODE="dry_run", SYNC_OPERATIONS_ALLOW=everything) as dry:
        for one in operations().values():
            if one.kind == "read":
                continue
            form = sample(dry, one.name)
            with pytest.raises(NotAllowed):
                run(setup, dry, form)
            with pytest.raises(ConfigError, match="Nothing may be written now"):
                running._send(dry, form)
    assert us.requests() == {}
    assert state_of(us) == before


def _fitting(name: str, ids: dict[str, str]) -> dict[str, str]:
    names = {each.name for each in operation(name).inputs if each.place == "path"}
    return {each: value for each, value in ids.items() if each in names}


def test_only_what_may_be_sent_is_sent(us: Team, setup: SetupService, session: Session) -> None:
    """Over all writes: those without a sentence and those held back never leave; an admin allows single ones by name."""
    us.forget_stats()
    refused = [one for one in operations().values() if not one.runs]
    for one in refused:
        with pytest.raises(NotAllowed, match=one.held.lower() if one.held else "described here, but not sent"):
            run(setup, session, sample(session, one.name))
    assert us.requests() == {}
    assert {one.name for one in operations().values() if one.runs and one.kind != "read"} <= set(known()["says"])
    rate = "clockify.users.hourly-rate.update"
    with us.session(**settings_of(us), SYNC_OPERATIONS_ALLOW=rate) as allowed:
        given = {"userId": us.users()[1]["id"], "amount": "100"}
        assert run(setup, allowed, form_of(allowed, rate, given)).status == 200
        with pytest.raises(NotAllowed, match="users and their roles"):
            refuse(allowed, sample(allowed, "clockify.users.create"))


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("clockify.projects.create", {"name": "P", "hourlyRate.amount": "1"}, "hourlyRate .* it is about money"),
        (
            "clockify.projects.create",
            {"name": "P", "tasks": '[{"name": "T", "costRate": {"amount": 1}}]'},
            "costRate .* it is about money",
        ),
        ("clockify.clients.update", {"id": "c1", "archive-projects": "yes"}, "archive-projects .* many records"),
    ],
)
def test_what_is_held_back_is_no_input_of_another_operation(
    us: Team, setup: SetupService, session: Session, name: str, given: dict[str, str], why: str
) -> None:
    """Rates and changes of many records at once are refused wherever they are nested, unless an admin allowed that one."""
    us.forget_stats()
    with pytest.raises(NotAllowed, match=why):
        run(setup, session, form_of(session, name, given))
    assert us.requests() == {}
    refuse(session, form_of(session, "clockify.clients.update", {"id": "c1", "archive-projects": "no"}))
    pet = {"schemaKey": "custom_objects.pet", "properties": '{"hourlyRate": 1}'}
    refuse(session, form_of(session, "highlevel.objects.records.create", pet))
    with us.session(**settings_of(us), SYNC_OPERATIONS_ALLOW=name) as allowed:
        refuse(allowed, form_of(allowed, name, given))


def test_a_record_of_the_sync_is_refused(us: Team, setup: SetupService, tmp_path: Path) -> None:
    """With its name, and the place to change it; one of nobody's can be changed."""
    us.home = tmp_path / "home"
    us.sync("locations")
    with us.session() as session:
        linked = {record.target_id: record for page in session.ledger("locations").scan() for record in page}
        target, record = next((each, one) for each, one in linked.items() if each)
        change = form_of(session, "clockify.clients.update", {"id": target, "name": "Mine"})
        with pytest.raises(NotAllowed, match=r"of locations: the sync writes it") as error:
            run(setup, session, change)
        assert json.loads(record.fields)["name"] in error.value.message
        assert error.value.fix == "Change it in the Snapshots API, where it comes from."
        with pytest.raises(NotAllowed, match=r"of locations: the sync writes it"):
            refuse(session, form_of(session, "clockify.clients.update", {"id": target.upper(), "name": "Mine"}))
        assert us.clockify("GET", f"/clients/{target}")["name"] != "Mine"
        foreign = us.clockify("POST", "/clients", {"name": "Nobody's"})["id"]
        assert sent(setup, session, "clockify.clients.update", id=foreign, name="Mine")["name"] == "Mine"


def test_a_record_of_another_connection_is_refused(us: Team, setup: SetupService, tmp_path: Path) -> None:
    """Two connections of one database may write to the same account: what either of them writes is refused by both."""
    us.home = tmp_path / "home"
    us.sync("locations")
    with us.session() as session:
        target = next(one.target_id for page in session.ledger("locations").scan() for one in page if one.target_id)
    with us.session(**settings_of(us)) as other:
        change = form_of(other, "clockify.clients.update", {"id": target, "name": "Mine"})
        with pytest.raises(NotAllowed, match="belongs to locations of another connection"):
            run(setup, other, change)
        foreign = us.clockify("POST", "/clients", {"name": "Nobody's either"})["id"]
        refuse(other, form_of(other, "clockify.clients.update", {"id": foreign, "name": "Mine"}))
        last = other.now()
        other.now = lambda: last + timedelta(days=29)
        with pytest.raises(NotAllowed, match="wait until 30 days after its last sync"):
            refuse(other, change)
        other.now = lambda: last + timedelta(days=31)
        refuse(other, change)
    assert us.clockify("GET", f"/clients/{target}")["name"] != "Mine"


@pytest.mark.parametrize("look", [True, False], ids=["found by name", "not found again"])
def test_a_key_sends_once_however_often_it_is_killed(
    us: Team, setup: SetupService, session: Session, monkeypatch: pytest.MonkeyPatch, look: bool
) -> None:
    """Killed before and after each request and commit, then repeated: at most one record, and never done without one."""
    before, steps, ended = len(us.entries()), 0, False
    while not ended:
        steps += 1
        given = {"name": f"Killed {steps}"} if look else {"start": f"2026-10-{steps:02}T08:00:00Z"}
        form = form_of(session, "clockify.clients.create" if look else "clockify.time-entries.create", given)
        with killing(monkeypatch) as killer:
            killer.arm(steps)
            try:
                run(setup, session, form, once=f"killed {look} {steps}")
                ended = True
            except Killed:
                ended = False
            finally:
                killer.arm(None)
        made = len(us.clockify("GET", "/clients", name=f"Killed {steps}")) if look else len(us.entries()) - before
        us.forget_stats()
        again = run(setup, session, form, once=f"killed {look} {steps}")
        sent_now = sum(count for route, count in us.requests().items() if route.startswith("POST"))
        state = again.earlier.state if again.earlier else "sent now"
        assert (made, sent_now, state) in {(0, 1, "sent now"), (0, 0, "sent"), (1, 0, "sent"), (1, 0, "done")}, steps
        before = len(us.entries())
    assert steps > 4


def test_keys_outlive_the_audit_trail(us: Team, setup: SetupService, session: Session) -> None:
    """One that a person chose could be used again at any time, but who used it is forgotten; those of Dagster's runs are deleted."""
    form, at = form_of(session, "clockify.tags.create", {"name": "Kept key"}), utc_now()
    run(setup, session, form, once="run of a person")
    for by, key in (("Ana (Dagster)", "run 1"), ("Ana (Dagster)", "chosen")):
        claim(session.store, session.pair, key, OnceRun("o", "d", by, at, "done", 200, None))
    ages = Ages(**{each.name: timedelta(days=1) for each in fields(Ages)})
    assert prune(session.store, ages, at + timedelta(days=3650))["operation_runs"] == 1
    us.forget_stats()
    earlier = run(setup, session, form, once="run of a person").earlier
    assert earlier is not None
    assert (earlier.state, earlier.by) == ("done", "")
    assert us.requests() == {}


def test_every_page_of_nested_lists_and_of_lists_with_cursors(us: Team, setup: SetupService, session: Session) -> None:
    """The page may be inside of an input; a cursor is in the last row or beside the rows; sums are no rows."""
    first, last = instant(morning(60)), instant(morning(-60))
    days = {"dateRangeStart": first, "dateRangeEnd": last, "detailedFilter": '{"pageSize": 7}'}
    read = [row for page in pages(session, form_of(session, "clockify.reports.detailed", days)) for row in page]
    spans = {each["id"]: each["timeInterval"] for each in us.entries()}
    assert {row["_id"] for row in read} == {key for key, span in spans.items() if span["end"] and span["start"] > first}
    assert len(read) > 7
    running._send(session, form_of_object(session, "cat"))
    cats = {"schemaKey": "custom_objects.cat"}
    for title in ("Tom", "Kit", "Mog"):
        sent(setup, session, "highlevel.objects.records.create", **cats, properties=json.dumps({"title": title}))
    form = form_of(session, "highlevel.objects.records.search", {**cats, "pageLimit": "1"})
    found = [row for page in pages(session, form) for row in page]
    assert [row["properties"]["title"] for row in found] == ["Mog", "Kit", "Tom"]
    follow = form.after(found, None)
    assert follow is not None
    assert follow.body["searchAfter"] == found[-1]["searchAfter"]
    assert form.after([{"id": "r1"}], None) is None
    small = {
        "records": [{"id": "r0", "properties": {"title": "Zed"}, "searchAfter": found[0]["searchAfter"]}],
        "total": 3,
    }
    us.fault("status", "POST */custom_objects.cat/records/search", status=200, body=small, count=1)
    whole = form_of(session, "highlevel.objects.records.search", {**cats, "pageLimit": "50"})
    titles = [row["properties"]["title"] for page in pages(session, whole) for row in page]
    assert titles == ["Zed", "Kit", "Tom"]  # the first page is smaller than what was asked for
    opportunities = form_of(session, "highlevel.opportunities.search", {})
    follow = opportunities.after([{"id": "o1"}], {"startAfter": 5, "startAfterId": "o1"})
    assert follow is not None
    assert (follow.query["startAfter"], follow.query["startAfterId"]) == ("5", "o1")


def test_a_key_sends_once(us: Team, setup: SetupService, session: Session) -> None:
    """The same key again sends nothing and says what became of it; for another request it is refused."""
    form = form_of(session, "clockify.clients.create", {"name": "Once"})
    first = run(setup, session, form, once="k1")
    us.forget_stats()
    again = run(setup, session, form, once="k1")
    assert again.earlier is not None
    assert (again.target_id, again.status, again.earlier.state) == (first.target_id, 201, "done")
    other = form_of(session, "clockify.clients.create", {"name": "Other"})
    with pytest.raises(ConfigError, match="used for another request"):
        run(setup, session, other, once="k1")
    assert us.requests() == {}
    with pytest.raises(RejectedRecord, match="already exists"):
        run(setup, session, form, once="k2")
    refused = run(setup, session, form, once="k2")
    assert refused.earlier is not None
    assert refused.earlier.state == "refused"
    us.fault("status", "POST */tags", status=403, count=1)
    tag = form_of(session, "clockify.tags.create", {"name": "With a free key"})
    with pytest.raises(NotAuthorized):
        run(setup, session, tag, once="k9")
    assert run(setup, session, tag, once="k9").status == 201


def test_a_lost_answer_is_looked_up_or_said_to_be_unknown(us: Team, setup: SetupService, session: Session) -> None:
    """A name that can be used once proves what was done; elsewhere it is unknown, and the write was sent once."""
    us.fault("cut_after", "POST */clients", count=1)
    found = run(setup, session, form_of(session, "clockify.clients.create", {"name": "Found again"}), once="k3")
    assert found.found
    assert found.target_id == us.clockify("GET", "/clients", name="Found again")[0]["id"]
    us.fault("cut_before", "POST */clients", count=1)
    other = form_of(session, "clockify.clients.create", {"name": "Found again", "note": "which that one does not have"})
    with pytest.raises(UnknownOutcome, match="may or may not have been carried out"):
        run(setup, session, other)
    us.forget_stats()
    us.fault("cut_after", "POST */time-entries", count=1)
    entry = form_of(
        session, "clockify.time-entries.create", {"start": "2026-03-04T08:00:00Z", "end": "2026-03-04T09:00:00Z"}
    )
    with pytest.raises(UnknownOutcome, match="sent once, and may or may not have been carried out") as error:
        run(setup, session, entry, once="k4")
    assert error.value.exit_code == 6
    assert sum(count for route, count in us.requests().items() if route.startswith("POST")) == 1
    again = run(setup, session, entry, once="k4")
    assert again.earlier is not None
    assert again.earlier.state == "unknown"


@pytest.mark.parametrize("fault", [{"kind": "html"}, {"kind": "html", "status": 303}])
def test_an_answer_that_cannot_be_read_leaves_it_unknown(
    us: Team, setup: SetupService, session: Session, fault: dict[str, Any]
) -> None:
    """A web page or a redirect in place of an answer: the write may have been carried out, so its key stays used."""
    us.fault(route="POST */time-entries", count=1, **fault)
    form = form_of(session, "clockify.time-entries.create", {"start": "2026-03-05T08:00:00Z"})
    key = f"page {fault.get('status')}"
    with pytest.raises(UnknownOutcome, match="may or may not have been carried out"):
        run(setup, session, form, once=key)
    us.forget_stats()
    again = run(setup, session, form, once=key)
    assert again.earlier is not None
    assert again.earlier.state == "unknown"
    assert us.requests() == {}


@pytest.mark.parametrize("size", ["0", "-1", "ten"])
def test_pages_have_a_size(us: Team, session: Session, size: str) -> None:
    """Another one is refused: a list with it would have no end."""
    us.forget_stats()
    with pytest.raises(ConfigError, match=r"limit: .* is not the size of a page"):
        list(pages(session, form_of(session, "highlevel.users.search", {"companyId": COMPANY, "limit": size})))
    assert us.requests() == {}


@pytest.mark.parametrize("ignored", [False, True], ids=["pages", "no pages"])
def test_a_page_may_be_smaller_than_asked_for(us: Team, tmp_path: Path, ignored: bool) -> None:
    """A vendor's own limit is not the end of a list; a list that is always the same has no pages."""
    us.home = tmp_path / "home"
    part = Part(body=json.dumps([{"id": number} for number in range(PAGE_SIZE + 50)]).encode())
    with impostor(part) as address, us.session(CLOCKIFY_BASE_URL=address) as session:
        size = 10 * PAGE_SIZE if ignored else PAGE_SIZE
        read = pages(session, form_of(session, "clockify.tags.list", {"page-size": str(size)}))
        assert len(next(read)) == PAGE_SIZE + 50
        if ignored:
            assert list(read) == []
            assert session.requests == 2
        else:
            with pytest.raises(FatalApiError, match="every page is the same"):
                next(read)


def test_fields_that_hold_secrets_are_known() -> None:
    """Whatever the documents call such a field, it is hidden; what only sounds like one is named here."""
    names = set(_names(facts()["shapes"])) | {name for each in originals().values() for name in _properties(each)}
    suspicious = {
        name for name in names if any(word in name.lower() for word in ("token", "secret", "passw", "apikey", "auth"))
    }
    assert {name for name in suspicious if not SECRET.search(name)} <= HARMLESS
    assert "authToken" in suspicious


def _names(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from tree.get("fields", {})
        for each in tree.values():
            yield from _names(each)


def _properties(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from tree.get("properties", {}) if isinstance(tree.get("properties"), dict) else ()
        for each in tree.values():
            yield from _properties(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _properties(each)


def test_secrets_of_answers_appear_nowhere(us: Team, setup: SetupService, tmp_path: Path) -> None:
    """Planted in the answer to each operation that can be run, under each name, and our own key in a text: in no result, and not in the store."""
    us.home = tmp_path / "home"
    secrets = dict.fromkeys(("authToken", "access_token", "clientSecret", "password", "apiKey", "refreshToken"), CANARY)
    row = {"id": "r1", "name": f"with {CLOCKIFY_KEY}", **secrets, "credentials": {"value": CANARY}, "inner": [secrets]}
    body = json.dumps({"rows": [row], "location": {"id": HOME}, **secrets}).encode()
    with impostor(Part(body=body)) as address:
        urls = dict.fromkeys(("CLOCKIFY_BASE_URL", "CLOCKIFY_REPORTS_URL", "SNAPSHOTS_BASE_URL"), address)
        with us.session(**{**settings_of(us), **urls}) as session:
            for one in (each for each in search("") if each.runs):
                result = run(setup, session, sample(session, one.name))
                text_ = json.dumps(result.data)
                assert CANARY not in text_
                assert CLOCKIFY_KEY not in text_ or one.system != "clockify"
                assert result.data["rows"][0]["authToken"] == HIDDEN
            with session.store.reading() as tx:
                names = tx.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
                stored = str([tx.execute(text(f'SELECT * FROM "{name}"')).all() for name in names])
    assert CANARY not in stored


def test_an_operation_needs_its_account(us: Team, tmp_path: Path) -> None:
    """Without a HighLevel account its operations are described, and cannot be run."""
    us.home = tmp_path / "home"
    with us.session() as session:
        assert [each.catalogue for each in session.systems.values() if isinstance(each, Operable)] == ["clockify"]
        with pytest.raises(ConfigError, match="no account of its API is connected"):
            form_of(session, "highlevel.contacts.get", {"contactId": "c1"})
        with pytest.raises(ConfigError, match="has no pages"):
            list(pages(session, form_of(session, "clockify.user.get", {})))
        request = shown(session, form_of(session, "clockify.tags.create", {"name": "t"}))
        assert request["url"].startswith(us.sandbox.clockify)
        assert CLOCKIFY_KEY not in str(request)
