"""Opportunities: the won ones of a location, in pages."""

from __future__ import annotations

from typing import Any

from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN
from sync_pipeline_tests.sandbox.highlevel.agency import Agency


def search(agency: Agency, **params: Any) -> Any:
    """One page of the home location's opportunities."""
    return agency.ask("GET", "/opportunities/search", params={"location_id": HOME} | params)


def test_the_won_opportunities_of_a_location_are_read_in_pages(agency: Agency) -> None:
    """By number, and by the last row of the page before; each once, the newest first."""
    every = search(agency, limit=100)
    won = search(agency, status="won")["opportunities"]
    assert won == [one for one in every["opportunities"] if one["status"] == "won"]
    assert all(one["monetaryValue"] > 0 and one["locationId"] == HOME for one in won)
    assert every["meta"]["total"] == len(every["opportunities"])

    numbered = [search(agency, limit=2, page=page)["opportunities"] for page in range(1, 7)]
    assert [one for page in numbered for one in page] == every["opportunities"]
    seen, after = list[Any](), dict[str, Any]()
    while True:
        page = search(agency, limit=2, **after)
        seen += page["opportunities"]
        if "startAfterId" not in page["meta"]:
            break
        after = {name: page["meta"][name] for name in ("startAfter", "startAfterId")}
    assert seen == every["opportunities"]


def test_opportunities_are_filtered_by_day(agency: Agency) -> None:
    """Both days included; days are written the American way."""
    agency.control("clock", {"now": "2026-11-26T20:00:00Z", "frozen": True})
    new = agency.control("highlevel/opportunities", {"status": "won", "monetaryValue": 500})["opportunity"]
    assert search(agency, date="11-26-2026", endDate="11-26-2026")["opportunities"] == [new]
    assert new not in search(agency, endDate="11-25-2026")["opportunities"]
    for wrong in ({"date": "2026-11-26"}, {"status": "won,lost"}, {"limit": 101}):
        assert agency.refused("GET", "/opportunities/search", params={"location_id": HOME, **wrong})[0] == 422


def test_opportunities_take_a_token_of_their_location_and_a_scope(agency: Agency) -> None:
    """The agency's token is not for them."""
    refused = [
        agency.refused("GET", "/opportunities/search", AGENCY_TOKEN, params={"location_id": HOME})[0],
        agency.refused("GET", "/opportunities/search", params={"location_id": "another"})[0],
        agency.refused("GET", "/opportunities/search")[0],
    ]
    assert refused == [401, 401, 422]
