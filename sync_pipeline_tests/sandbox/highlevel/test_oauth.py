"""OAuth of the marketplace app: consent, the company's tokens, those of its locations, and what ends them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN, APP_ID, CLIENT_ID, CLIENT_SECRET
from sync_pipeline_tests.sandbox.highlevel.agency import Agency, Json

SCOPES = "locations.readonly objects/record.readonly oauth.readonly oauth.write"
BACK = "http://127.0.0.1:3000/crm/callback"
CONSENT = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": BACK, "scope": SCOPES, "state": "s"}
CLIENT = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "user_type": "Company"}


def consent(agency: Agency, decision: str = "approve", **changes: str) -> dict[str, list[str]]:
    """Decide on the consent page; what comes back in the address."""
    url = f"{agency.sandbox.highlevel}/v2/oauth/chooselocation"
    assert "Add the app" in agency.http.get(url, params=CONSENT | changes).text
    answer = agency.http.post(url, data=CONSENT | changes | {"decision": decision})
    assert answer.status_code == 302
    return parse_qs(urlsplit(answer.headers["location"]).query)


def tokens(agency: Agency, **form: str) -> Any:
    """The answer of the token address, a refusal as its status and its words."""
    answer = agency.http.post(f"{agency.sandbox.highlevel}/oauth/token", data=CLIENT | form)
    return answer.json() if answer.is_success else (answer.status_code, answer.json()["message"])


def first(agency: Agency, **form: str) -> Any:
    """The first pair of tokens."""
    code = consent(agency)["code"][0]
    return tokens(agency, grant_type="authorization_code", code=code, redirect_uri=BACK, **form)


def of_location(agency: Agency, token: str, location: str) -> Json:
    """A token of a location."""
    form = {"companyId": COMPANY, "locationId": location}
    minted: Json = agency.ask("POST", "/oauth/locationToken", token, data=form)
    return minted


def test_a_consent_leads_to_tokens_of_the_company_and_its_locations(agency: Agency) -> None:
    """Without PKCE: the token address refuses a verifier."""
    assert consent(agency, "deny") == {"error": ["access_denied"], "state": ["s"]}
    assert first(agency, code_verifier="x") == (422, ["property code_verifier should not exist"])
    assert first(agency, user_type="User")[0] == 422
    pair = first(agency)
    assert (pair["userType"], pair["companyId"], pair["approvedLocations"][0]) == ("Company", COMPANY, HOME)
    assert len(agency.ask("GET", "/locations/search", pair["access_token"])["locations"]) == 10
    assert agency.refused("GET", "/objects/", pair["access_token"], params={"locationId": HOME})[0] == 401

    minted = of_location(agency, pair["access_token"], HOME)
    assert (minted["locationId"], minted["scope"]) == (HOME, "locations.readonly objects/record.readonly")
    records = "/objects/custom_objects.clockify_users/records"
    query = {"locationId": HOME, "page": 1, "pageLimit": 1, "query": "", "searchAfter": []}
    assert agency.ask("POST", f"{records}/search", minted["access_token"], json=query)["total"] == 0
    refused = agency.refused("POST", records, minted["access_token"], json={"locationId": HOME})
    assert refused == (401, "The token is not authorized for this scope.")
    assert agency.refused("POST", "/oauth/locationToken", AGENCY_TOKEN, data={})[0] == 401


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"redirect_uri": "http://127.0.0.1:3000/highlevel/callback"}, "contains a Highlevel reference"),
        ({"redirect_uri": "https://evil.example/"}, "does not match"),
        ({"scope": "calendars.write"}, "This integration cannot be added"),
        ({"client_id": "unknown"}, "no such app"),
    ],
)
def test_the_consent_page_says_what_is_wrong(agency: Agency, change: dict[str, str], words: str) -> None:
    """And sends no one back."""
    answer = agency.http.get(f"{agency.sandbox.highlevel}/oauth/chooselocation", params=CONSENT | change)
    assert (answer.status_code, words in answer.text) == (400, True)


def test_a_refresh_token_is_used_once_or_again_within_thirty_seconds(agency: Agency) -> None:
    """The second use gets the same answer, so that a lost one is no loss; later it is refused."""
    agency.control("clock", {"now": "2026-11-26T08:00:00Z", "frozen": True})
    pair = first(agency)
    old = pair["refresh_token"]
    new = tokens(agency, grant_type="refresh_token", refresh_token=old)
    assert new["refresh_token"] != old
    agency.control("clock", {"advance": 30})
    assert tokens(agency, grant_type="refresh_token", refresh_token=old) == new
    agency.control("clock", {"advance": 1})
    assert tokens(agency, grant_type="refresh_token", refresh_token=old) == (400, "This refresh token is invalid")
    agency.control("clock", {"advance": 86_400})
    assert agency.refused("GET", f"/locations/{HOME}", new["access_token"]) == (401, "Invalid JWT")
    assert "access_token" in tokens(agency, grant_type="refresh_token", refresh_token=new["refresh_token"])


def test_a_code_is_used_once_and_where_it_was_sent(agency: Agency) -> None:
    """Anything else is an invalid grant."""
    code = consent(agency)["code"][0]
    wrong = (400, "Invalid grant: authorization code is invalid")
    form = {"grant_type": "authorization_code", "code": code}
    assert tokens(agency, **form, redirect_uri=f"{BACK}/other") == wrong
    assert "access_token" in tokens(agency, **form, redirect_uri=BACK)
    assert tokens(agency, **form, redirect_uri=BACK) == wrong
    assert tokens(agency, **form, redirect_uri=BACK, client_secret="guessed") == (
        401,
        "Invalid client: client is invalid",
    )


def test_a_location_may_not_have_the_app(agency: Agency) -> None:
    """One where it was removed, one that is newer than the consent; the list has them all."""
    token = first(agency)["access_token"]
    new = agency.control("highlevel/locations", {"name": "New"})["location"]["id"]
    second = agency.control("highlevel/locations")["locations"][1]["id"]
    minted = of_location(agency, token, second)["access_token"]
    agency.switch(uninstalled=[second])
    for location in (new, second):
        form = {"companyId": COMPANY, "locationId": location}
        refused = agency.refused("POST", "/oauth/locationToken", token, data=form)
        assert refused == (400, f"The app is not installed in the location {location}")
    assert agency.refused("GET", f"/locations/{second}", minted)[0] == 401

    query = {"companyId": COMPANY, "appId": APP_ID, "isInstalled": "true", "limit": "500"}
    found = agency.ask("GET", "/oauth/installedLocations", token, params=query)
    assert (found["count"], sum(one["isInstalled"] for one in found["locations"])) == (13, 11)
    agency.switch(future_locations=True)
    assert of_location(agency, token, new)["locationId"] == new


def test_a_consent_can_be_withdrawn(agency: Agency) -> None:
    """Then a person has to authorize again."""
    pair = first(agency)
    agency.switch(revoke_consents=True)
    assert agency.refused("GET", f"/locations/{HOME}", pair["access_token"])[0] == 401
    assert tokens(agency, grant_type="refresh_token", refresh_token=pair["refresh_token"])[0] == 400
