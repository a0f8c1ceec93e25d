"""`prepare`, and what `check` reports about it: on the sandbox's HighLevel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN, HOME_TOKEN, location_token
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.highlevel import own_profile
from sync_pipeline_tests.setup.agency import OBJECTS, at_highlevel

MADE = 35
"""Requests that make three objects with their folders and fields, and let people search them."""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """An agency; its objects are removed for each test."""
    with team(tmp_path_factory.mktemp("office")) as us:
        yield us


@pytest.fixture
def agency(office: Team, tmp_path: Path) -> Iterator[Shell]:
    """The command line at an agency whose location has no objects yet, and whose switches have their defaults."""
    office.sandbox.world.options.highlevel_prepared = False
    office.control("POST", "reset", {})
    office.no_faults()
    with shell_for(office, tmp_path) as typed:
        yield typed.with_(**at_highlevel(office))


def switch(us: Team, **settings: Any) -> None:
    """Change what is not certain of HighLevel."""
    us.control("POST", "highlevel", settings)


def said(shell: Shell, *words: str, code: int | None = None) -> dict[str, Json]:
    """The findings of a check of HighLevel, by what was looked at."""
    document = shell("check", "snapshots", "--json", *words, code=code).document
    return {finding["what"].removeprefix("HighLevel "): finding for finding in document["checks"]}


def posts(us: Team) -> int:
    """How many objects, folders and fields were asked for."""
    return sum(count for route, count in us.requests().items() if route.startswith("POST") and "records" not in route)


def test_what_is_missing_is_shown_then_made_once(agency: Shell) -> None:
    """A dry run makes nothing; a yes makes everything in few requests; after that nothing is asked for any more."""
    us = agency.team
    assert "sync-pipeline prepare" in said(agency, code=1)["preparation"]["fix"]
    shown = agency("prepare", "--dry-run", "--json", code=0).document
    rows = {(row["object key"], row["key"]): row["type"] for row in shown["missing"]}
    assert {name for name, _ in rows} == set(OBJECTS)
    assert rows["clockify_time_entries", "start_day"] == "Date picker"
    assert rows["clockify_time_entries", "hours"] == "Number"
    assert rows["clockify_projects", "note"] == "Multi line"
    assert "add --yes" in agency("prepare", "--json", code=2).err
    us.forget_stats()
    made = agency("prepare", "--yes", "--json", code=0).document
    assert set(OBJECTS) <= set(made["made"])
    assert made["missing"] == made["wrong"] == []
    assert posts(us) <= MADE
    assert [one["facts"]["unique"] for one in made["measured"]] == [False] * 3
    us.forget_stats()
    again = agency("prepare", "--yes", "--json", code=0).document
    assert again["made"] == []
    assert again["measured"] == made["measured"]
    assert posts(us) == 0
    assert all(not us.control("GET", f"highlevel/records/{name}")["records"] for name in OBJECTS)
    assert "prepared" in agency("audit", "list", code=0).out


def test_a_field_of_another_type_stops_it_with_both_names(agency: Shell) -> None:
    """A number there cannot hold a text: nothing is made, and the check reports it as well."""
    us = agency.team
    switch(us, prepare=True)
    wide = agency.home.parent / "mappings"
    assert agency("prepare", "--dry-run", "--json", code=0).document["missing"] == []
    wide.mkdir()
    (wide / "time_entries.yaml").write_text("entity: time_entries\nfields:\n  hours:\n    source: description\n")
    there = agency.with_(SYNC_MAPPINGS_DIR=str(wide))
    us.forget_stats()
    ended = there("prepare", "--yes", code=1)
    assert "clockify_time_entries.hours is NUMERICAL, and TEXT is needed" in ended.err
    assert posts(us) == 0
    assert "NUMERICAL" in said(there, code=1)["preparation"]["detail"]


def test_an_answer_that_is_lost_is_no_problem(agency: Shell) -> None:
    """Cut after it was carried out: what is there is looked up again, and nothing is made twice."""
    us = agency.team
    us.fault("cut_after", "POST */objects/", count=1)
    us.fault("cut_after", "POST */custom-fields/", count=1)
    done = agency("prepare", "--yes", "--json", code=0).document
    assert done["missing"] == []
    assert said(agency, code=0)["preparation"]["verdict"] == "ok"


def test_where_only_the_agency_may_make_objects(agency: Shell) -> None:
    """With its token they are made; without it, or at ten objects, there is the table to make them by hand."""
    us = agency.team
    switch(us, schema_by="agency")
    alone = agency.with_(HIGHLEVEL_AGENCY_KEY="")
    ended = alone("prepare", "--yes", code=1)
    assert "To create" in ended.out
    assert "not yet supported by the IAM" in ended.err
    assert agency("prepare", "--yes", "--json", code=0).document["missing"] == []


def test_the_scope_of_a_narrowing_is_asked_for_only_where_it_is_narrowed(agency: Shell) -> None:
    """With a customer named, the check reads its locations as a sync does, and states which scope is missing."""
    us = agency.team
    switch(us, prepare=True)
    assert "SaaS customer" not in said(agency, code=0)
    theirs = agency.with_(HIGHLEVEL_SAAS_CUSTOMER="cus_sandbox", HIGHLEVEL_SAAS_SUBSCRIPTION="sub_sandbox")
    assert said(theirs, code=0)["SaaS customer"]["detail"] == "allowed (saas/location.read)"
    switch(us, missing_scopes={AGENCY_TOKEN: ["saas/location.read"]})
    found = said(theirs, code=4)["SaaS customer"]
    assert "saas/location.read is missing" in found["detail"]
    assert "the agency token" in found["fix"]


def test_owners_without_their_scope_are_a_note(agency: Shell) -> None:
    """Syncs continue without them; the scope to tick is named."""
    us = agency.team
    switch(us, prepare=True)
    owning = agency.with_(HIGHLEVEL_OWNERS="true")
    assert said(owning, code=0)["owners"]["detail"] == "allowed (users.readonly)"
    switch(us, missing_scopes={HOME_TOKEN: ["users.readonly"]})
    found = said(owning, code=0)["owners"]
    assert (found["verdict"], found["means"]) == ("warning", "New records get no owner.")
    assert "users.readonly is missing" in found["detail"]


def test_a_report_holds_what_was_measured_and_no_secret(agency: Shell) -> None:
    """Everything that was found, with the words of the refusals, in a file that no other user may read."""
    switch(agency.team, prepare=True, unique=True)
    agency("prepare", "--yes", code=0)
    report = agency.home.parent / "report.json"
    detail = said(agency, "--report", str(report), code=0)["behaviour"]["detail"]
    assert "with the same User id is refused" in detail
    assert detail.count("a change leaves other fields unchanged") == 1  # of all entities together
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text()
    assert "A record with the same value" in text
    assert HOME in text
    assert HOME_TOKEN not in text
    assert AGENCY_TOKEN not in text


def test_what_is_wrong_with_a_token_is_said_exactly(agency: Shell) -> None:
    """A wrong token, a missing scope, a token of another location: each has its line, its fix and its exit code."""
    us = agency.team
    switch(us, prepare=True)
    fine = said(agency, code=0)
    assert fine["account"]["detail"] == f"the token is for Northwind Agency ({HOME})"
    wrong = said(agency.with_(SNAPSHOTS_API_KEY="pit-of-nobody"), code=4)["account"]
    assert "the token was not accepted" in wrong["detail"]
    assert "SNAPSHOTS_API_KEY" in wrong["fix"]
    wrong = said(agency.with_(HIGHLEVEL_AGENCY_KEY="pit-of-nobody"), code=4)["key"]
    assert "HIGHLEVEL_AGENCY_KEY" in wrong["fix"]
    other = said(agency.with_(SNAPSHOTS_API_KEY=location_token(2)), code=4)["account"]
    assert f"and {HOME} is set up" in other["detail"]
    assert "connect the other one" in other["fix"]
    switch(us, missing_scopes={HOME_TOKEN: ["objects/record.write"], AGENCY_TOKEN: ["locations.readonly"]})
    checks = said(agency, code=4)
    scopes = {what: line["detail"] for what, line in checks.items() if line["verdict"] == "failed"}
    assert scopes.keys() == {
        "Read locations (snapshots)",
        *(f"Write {entity} (snapshots)" for entity in ("users", "projects", "time_entries")),
    }
    assert "the scope locations.readonly is missing" in scopes["Read locations (snapshots)"]
    assert "the scope objects/record.write is missing" in scopes["Write users (snapshots)"]
    assert "Private Integration of the sub-account token" in checks["Write users (snapshots)"]["fix"]
    assert "Private Integration of the agency token" in checks["Read locations (snapshots)"]["fix"]
    switch(us, missing_scopes={}, answers={"no_token": {}}, own_location_only=True)
    other = said(agency.with_(SNAPSHOTS_API_KEY=location_token(2)), code=4)["account"]
    assert f"and {HOME} is set up" in other["detail"]


def test_a_location_that_is_nearly_full_is_warned_about(agency: Shell) -> None:
    """Eight of ten custom objects are there."""
    us = agency.team
    switch(us, prepare=True)
    headers = {"Authorization": f"Bearer {HOME_TOKEN}", "Version": "2021-07-28"}
    for number in range(5):
        key = f"custom_objects.thing_{number}"
        body = {
            "locationId": HOME,
            "key": key,
            "labels": {"singular": "Thing", "plural": "Things"},
            "primaryDisplayPropertyDetails": {"key": f"{key}.name", "name": "Name", "dataType": "TEXT"},
        }
        us.people.post(f"{us.sandbox.highlevel}/objects/", json=body, headers=headers).raise_for_status()
    assert said(agency, code=0)["room"]["detail"] == "8 of 10 custom objects"


def test_an_object_that_is_nearly_full_is_warned_about(agency: Shell, tmp_path: Path) -> None:
    """Eight records of ten that it can hold, and not seven of them."""
    us = agency.team
    switch(us, prepare=True)
    agency = agency.with_(SNAPSHOTS_PROFILE=own_profile(tmp_path / "own.yaml", objects={"largest": 10}))
    for number in range(8):
        if number == 7:
            assert said(agency, code=0)["room"]["verdict"] == "ok"
        record = {"title": "Somebody", "user_id": f"u{number}"}
        us.control("POST", "highlevel/records/clockify_users", {"properties": record})
    room = said(agency, code=0)["room"]
    assert (room["verdict"], room["detail"]) == ("warning", "8 of 10 records of clockify_users")


def test_a_version_that_is_not_published_any_more_is_named(agency: Shell) -> None:
    """It is no matter of the token: sync_pipeline has to be updated."""
    words = {"statusCode": 401, "message": "version header is invalid", "error": "Unauthorized"}
    agency.team.fault("status", "* /highlevel/*", status=401, body=words)
    key = said(agency)["key"]
    assert "the Version header was not accepted (version header is invalid)" in key["detail"]
    assert key["fix"] == "Update sync_pipeline."


def test_a_profile_that_needs_none_states_it(shell: Shell) -> None:
    """In one line."""
    assert shell("prepare", code=0).out.count("\n") == 1
    assert shell("prepare", "--json", code=0).document["needed"] is False
