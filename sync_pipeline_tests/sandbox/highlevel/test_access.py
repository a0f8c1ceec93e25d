"""Tokens, versions, scopes, locations and limits: who may ask what, and what is answered otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN, HOME_TOKEN, location_token
from sync_pipeline_tests.sandbox.highlevel.agency import PROJECTS, Agency
from sync_pipeline_tests.sandbox.running import running_sandbox

RECORDS = f"/objects/{PROJECTS}/records"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": ""}, "Authorization header was not found."),
        ({"Authorization": "Bearer pit-sandbox-location-99"}, "Invalid token: access token is invalid"),
        ({"Version": ""}, "version header was not found."),
        ({"Version": "2020-01-01"}, "version header is invalid"),
    ],
)
def test_a_request_needs_a_token_and_a_version(agency: Agency, headers: dict[str, str], message: str) -> None:
    """401 with the vendor's words, whichever is missing or unknown."""
    assert agency.refused("GET", f"/locations/{HOME}", headers=headers) == (401, message)


def test_a_token_is_for_the_agency_or_for_one_location_and_has_scopes(agency: Agency) -> None:
    """The message distinguishes a wrong kind of token from a missing scope."""
    no_route = (401, "This route is not yet supported by the IAM Service. Please update the IAM config.")
    assert agency.refused("GET", "/objects/", AGENCY_TOKEN, params={"locationId": HOME}) == no_route
    saas = {"companyId": COMPANY, "customerId": "cus_sandbox", "subscriptionId": "sub_sandbox"}
    assert agency.refused("GET", "/saas/locations", params=saas) == no_route
    assert HOME in agency.ask("GET", "/saas/locations", AGENCY_TOKEN, params=saas)

    agency.switch(missing_scopes={HOME_TOKEN: ["objects/schema.readonly"]}, tokens={location_token(2): "expired"})
    no_scope = (401, "The token is not authorized for this scope.")
    assert agency.refused("GET", "/objects/", params={"locationId": HOME}) == no_scope
    assert agency.search()["total"] == 0
    assert agency.refused("GET", f"/locations/{HOME}", location_token(2)) == (401, "Invalid JWT")


@pytest.mark.undocumented
def test_a_switch_changes_the_status_and_the_words_of_a_refusal(agency: Agency) -> None:
    """Since many of them are not certain."""
    agency.switch(missing_scopes={HOME_TOKEN: ["objects/schema.readonly"]})
    agency.switch(answers={"no_scope": {"status": 403, "message": "You do not have permission"}})
    assert agency.refused("GET", "/objects/", params={"locationId": HOME}) == (403, "You do not have permission")
    agency.switch(answers={"no_scope": {"status": 422}})
    words = ["The token is not authorized for this scope."]  # a list with 422, whatever the reason
    assert agency.refused("GET", "/objects/", params={"locationId": HOME}) == (422, words)


def test_another_location_is_refused_or_silently_answered_with_the_tokens_own(agency: Agency) -> None:
    """The second is the trap: it looks like a success."""
    other = agency.ask("GET", "/locations/search", AGENCY_TOKEN)["locations"][1]["id"]
    assert agency.refused("GET", f"/locations/{other}")[0] == 401
    assert agency.refused("GET", "/locations/gone", AGENCY_TOKEN) == (400, "Location with id gone not found")

    agency.switch(own_location_only=True)
    assert agency.ask("GET", f"/locations/{other}")["location"]["id"] == HOME
    assert agency.ask("POST", RECORDS, json={"locationId": other, "properties": {"title": "Here"}})
    assert agency.search()["records"][0]["locationId"] == HOME


def test_the_locations_are_read_in_pages_without_a_total(agency: Agency) -> None:
    """Ten a page unless asked otherwise; the controls rename and remove one."""
    first = agency.ask("GET", "/locations/search", AGENCY_TOKEN, params={"companyId": COMPANY})
    assert (list(first), len(first["locations"])) == (["locations"], 10)
    rest = agency.ask("GET", "/locations/search", AGENCY_TOKEN, params={"skip": "10", "limit": "100"})["locations"]
    assert (len(rest), first["locations"][0]["id"]) == (2, HOME)
    assert [one["id"] for one in agency.ask("GET", "/locations/search")["locations"]] == [HOME]
    assert agency.refused("GET", "/locations/search", params={"limit": "-1"})[0] == 422

    agency.control("highlevel/locations", {"id": rest[0]["id"], "name": "Renamed"})
    assert agency.ask("GET", f"/locations/{rest[0]['id']}", AGENCY_TOKEN)["location"]["name"] == "Renamed"
    agency.control("highlevel/locations", {"id": rest[0]["id"], "remove": True})
    assert agency.refused("GET", f"/locations/{rest[0]['id']}", AGENCY_TOKEN)[0] == 400


def test_users_have_the_addresses_of_clockifys(agency: Agency) -> None:
    """So that some can be matched by e-mail."""
    found = agency.ask("GET", "/users/search", params={"companyId": COMPANY, "limit": "4"})
    emails = {row["email"] for row in agency.sandbox.world.db.execute("SELECT email FROM users")}
    assert (found["count"], len(found["users"])) == (6, 4)
    everyone = agency.ask("GET", "/users/search", params={"companyId": COMPANY})["users"]
    assert sum(user["email"] in emails for user in everyone) == 4


def test_each_answer_says_what_is_left_and_a_day_can_be_used_up(agency: Agency) -> None:
    """No Retry-After: only the headers state which limit it was."""
    answer = agency.send("GET", f"/locations/{HOME}")
    assert answer.headers["x-ratelimit-limit-daily"] == "200000"
    assert answer.headers["x-ratelimit-daily-remaining"] == "199999"

    agency.control("clock", {"now": "2026-11-26T20:00:00Z", "frozen": True})
    agency.switch(day_left=1)
    agency.ask("GET", f"/locations/{HOME}")
    refused = agency.send("GET", f"/locations/{HOME}")
    assert (refused.status_code, refused.headers["x-ratelimit-daily-remaining"]) == (429, "0")
    assert "retry-after" not in refused.headers
    agency.control("clock", {"advance": 4 * 3600})
    agency.ask("GET", f"/locations/{HOME}")


def test_a_burst_is_limited_for_each_location(tmp_path: Path) -> None:
    """The agency and each location have ten seconds of their own."""
    with running_sandbox(tmp_path, highlevel_requests=3) as sandbox:
        agency = Agency(sandbox)
        sandbox.world.clock.real_epoch = lambda: 1_000.0  # type: ignore[method-assign]  # a fixed clock
        answers = [agency.send("GET", f"/locations/{HOME}") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
        agency.ask("GET", f"/locations/{HOME}", AGENCY_TOKEN)
        sandbox.world.clock.real_epoch = lambda: 1_010.0  # type: ignore[method-assign]  # a fixed clock
        agency.ask("GET", f"/locations/{HOME}")
        agency.http.close()


def test_an_unknown_path_is_refused_with_its_name(agency: Agency) -> None:
    """404, as for every address that does not exist."""
    assert agency.refused("GET", "/oauth/reconnect") == (404, "Cannot GET /highlevel/oauth/reconnect")
