"""Locations narrowed to those of one SaaS customer: what leaves the narrowing is left alone, and is never a delete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.errors import ConfigError, FatalApiError, NotAuthorized
from sync_pipeline.sandbox.highlevel.ids import COMPANY
from sync_pipeline.sandbox.highlevel.locations import CUSTOMER, SUBSCRIPTION
from sync_pipeline.stages.batch import Counts, Options
from sync_pipeline.stages.check import checked
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline_tests.harness import Json
from sync_pipeline_tests.highlevel import HOME, HighLevelTeam, highlevel_team
from sync_pipeline_tests.highlevel_app import consent

NARROWED: Json = {"HIGHLEVEL_SAAS_CUSTOMER": CUSTOMER, "HIGHLEVEL_SAAS_SUBSCRIPTION": SUBSCRIPTION}
ROUTE = "GET /highlevel/saas/locations"
DELETING = Options(allow_deletes=True)


@pytest.fixture
def us(tmp_path: Path) -> Iterator[HighLevelTeam]:
    """Four locations, every other one of them the customer's, that are all clients."""
    with highlevel_team(tmp_path, entries=0, users=1, projects=0, clients=0, highlevel_locations=4) as us:
        yield us


def locations(us: HighLevelTeam) -> list[str]:
    """Their ids, the customer's at even places."""
    return list(us.at_snapshots("locations"))


def narrowed(us: HighLevelTeam, **changes: str) -> Counts:
    """A sync that may delete, of the customer's locations."""
    return us.sync("locations", options=DELETING, **(NARROWED | changes))["locations"]


def rules(us: HighLevelTeam) -> dict[str, str | None]:
    """By which rule each known location is out of scope."""
    with us.session() as session:
        return {key: one.excluded_rule for key, one in session.ledger("locations").lookup(locations(us)).items()}


def shown(clients: list[Json]) -> dict[str, bool]:
    """The clients by name, and whether they are archived."""
    return {one["name"]: one["archived"] for one in clients}


def test_only_the_customers_locations_become_clients(us: HighLevelTeam) -> None:
    """One more request finds which; two of one name clash only within the customer's."""
    first, second, *_ = locations(us)
    us.put_location(second, location_name=us.at_snapshots("locations")[first]["location_name"])
    counts = narrowed(us)
    assert (counts.created, counts.excluded, counts.rejected) == (2, 2, 0)
    assert us.requests()[ROUTE] == 1
    assert set(rules(us)) == set(locations(us)[::2])


def test_what_leaves_the_narrowing_keeps_its_client(us: HighLevelTeam) -> None:
    """Nothing is archived or renamed for it, whether all are read, one is, or it left by a change of the customer."""
    us.sync("locations")
    before, ids = shown(us.clients()), locations(us)
    counts = narrowed(us)
    assert (counts.excluded, counts.deleted, counts.held_deletes, counts.unconfirmed) == (2, 0, 0, 0)
    assert rules(us) == {ids[0]: None, ids[1]: "other_customer", ids[2]: None, ids[3]: "other_customer"}
    us.put_location(ids[1], location_name="Renamed and not theirs")
    us.put_location(ids[2], location_name="Renamed and theirs")
    us.switch(other_customers=[ids[0]])
    narrowed(us)
    with us.session(**NARROWED) as session:
        sync_ids(session, session.specs["locations"], ids, run_id="targeted")
    assert rules(us)[ids[0]] == "other_customer"
    found = us.verify("locations", **NARROWED)["locations"]
    assert (found.in_sync, found.excluded) == (True, 3)
    now = shown(us.clients())
    assert not any(now.values())
    assert now.keys() - before.keys() == {"Renamed and theirs"}
    us.sync("locations")
    assert "Renamed and not theirs" in shown(us.clients())
    assert set(rules(us).values()) == {None}


def test_an_app_narrows_with_the_companys_token(us: HighLevelTeam) -> None:
    """The same scope, granted by a person."""
    consent(us)
    counts = narrowed(us)
    assert (counts.created, counts.excluded) == (2, 2)


def test_one_that_is_deleted_is_archived_all_the_same(us: HighLevelTeam) -> None:
    """Out of scope or not: HighLevel answers that there is none under its id."""
    us.sync("locations")
    narrowed(us)
    deleted = locations(us)[1]
    name = us.at_snapshots("locations")[deleted]["location_name"]
    us.snapshots("DELETE", f"/locations/{deleted}")
    narrowed(us, SYNC_MAX_DELETE_SHARE="1")
    assert shown(us.clients())[name]


def test_what_cannot_be_narrowed_changes_nothing(us: HighLevelTeam) -> None:
    """Without the scope, the agency's token, the second id, or a location at all, the run ends and states why."""
    us.sync("locations")
    before = us.clients()
    with pytest.raises(ConfigError, match="Set HIGHLEVEL_SAAS_SUBSCRIPTION as well"):
        narrowed(us, HIGHLEVEL_SAAS_SUBSCRIPTION="")
    with pytest.raises(ConfigError, match="Set HIGHLEVEL_AGENCY_KEY, or unset HIGHLEVEL_SAAS_CUSTOMER"):
        narrowed(us, HIGHLEVEL_AGENCY_KEY="")
    with pytest.raises(FatalApiError, match="the customer cus_other has no sub-account"):
        narrowed(us, HIGHLEVEL_SAAS_CUSTOMER="cus_other")
    us.fault("status", ROUTE, status=200, body='["one", {"id": "two"}]')
    with pytest.raises(FatalApiError, match="the answer is not a list of ids"):
        narrowed(us)
    us.no_faults()
    us.switch(missing_scopes={"pit-sandbox-agency": ["saas/location.read"]})
    with pytest.raises(NotAuthorized, match=r"the scope saas/location.read is missing. Tick saas/location.read"):
        narrowed(us)
    assert us.clients() == before
    assert HOME in rules(us)


def test_the_rule_is_no_new_field_of_the_source(us: HighLevelTeam) -> None:
    """The check of the source's fields warns of nothing."""
    with us.session(**NARROWED) as session, checked(session, session.specs["locations"], None, DELETING) as checking:
        (drift,) = [result for result in checking.results if result.name == "schema_drift"]
        assert (drift.passed, drift.rows) == (True, [])


def test_an_id_that_is_no_text_is_no_customers(us: HighLevelTeam) -> None:
    """Whatever an answer holds there, the run continues."""
    rows = [{"id": ["x"], "name": "Strange", "companyId": COMPANY}]
    us.fault("status", "GET /highlevel/locations/search", status=200, body=json.dumps({"locations": rows}))
    with us.session(**NARROWED) as session:
        (found,) = session.sample(session.specs["locations"], 1, within=60)
    assert found["@excluded"] == "other_customer"
