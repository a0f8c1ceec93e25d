"""A HighLevel user with the e-mail address of a Clockify user owns that user's new records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline_tests.harness import Json, morning
from sync_pipeline_tests.highlevel import HighLevelTeam, highlevel_team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged

USERS = "GET /highlevel/users/search"
CREATE = "POST */custom_objects.clockify_time_entries/records"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[HighLevelTeam]:
    """Six Clockify users, four of whom are HighLevel users as well."""
    with highlevel_team(tmp_path, entries=0, users=6, projects=0, clients=0, highlevel_locations=2) as us:
        us.changes["HIGHLEVEL_OWNERS"] = "true"
        yield us


def people(us: HighLevelTeam) -> dict[str, str]:
    """HighLevel's users by e-mail address."""
    rows = us.sandbox.world.db.execute("SELECT id, body ->> 'email' FROM highlevel_users")
    return {email: key for key, email in rows}


def owners(us: HighLevelTeam, entity: str) -> dict[str, list[str]]:
    """The owners of each record, by the user that it is of."""
    return {row["properties"]["user_id"]: row["owner"] for row in us.stored(entity)}


def expected(us: HighLevelTeam) -> dict[str, list[str]]:
    """Who should own the records of each user."""
    known = people(us)
    return {user["id"]: [known[user["email"]]] if user["email"] in known else [] for user in us.users()}


def entry_of_each(us: HighLevelTeam) -> list[Json]:
    """A time entry of each user."""
    return [us.add_entry(user["id"], morning(2), description="Owned") for user in us.users()]


def test_records_of_users_and_of_their_entries_are_owned_by_them(us: HighLevelTeam) -> None:
    """Also while the search does not show the users of this run; HighLevel's users are read once, whatever is created."""
    us.switch(index_lag=20)
    entry_of_each(us)
    us.sync()
    wanted = expected(us)
    assert sum(map(len, wanted.values())) == 4
    assert owners(us, "users") == owners(us, "time_entries") == wanted
    assert us.requests()[USERS] == 1
    us.settle()
    converged(us)
    changes_nothing(us)


def test_of_users_that_are_there_the_addresses_are_read(us: HighLevelTeam) -> None:
    """In another case, too; of an address that two people have, neither owns anything. A person's choice stays."""
    us.sync("users")
    first, second, *_ = [user for user in us.users() if user["email"] in people(us)]
    change = "UPDATE highlevel_users SET body = json_set(body, '$.email', ?) WHERE id = ?"
    us.sandbox.world.db.execute(change, (f" {first['email'].upper()} ", people(us)[first["email"]]))
    twin = next(key for email, key in people(us).items() if email.endswith("@agency.example"))
    us.sandbox.world.db.execute(change, (second["email"], twin))
    before = expected(us) | {first["id"]: owners(us, "users")[first["id"]], second["id"]: []}
    entries = entry_of_each(us)
    us.sync("time_entries")
    assert owners(us, "time_entries") == before
    (record,) = [row for row in us.stored("time_entries") if row["properties"]["user_id"] == first["id"]]
    us.edit("time_entries", id=record["id"], owner={"add": ["someone else"], "remove": record["owner"]})
    us.change_entry(entries[[user["id"] for user in us.users()].index(first["id"])], description="Changed")
    us.sync("time_entries")
    assert owners(us, "time_entries")[first["id"]] == ["someone else"]


def test_without_the_scope_or_where_an_owner_is_refused_there_is_none(us: HighLevelTeam) -> None:
    """Records are created anyway, and none twice."""
    us.switch(missing_scopes={"pit-sandbox-home": ["users.readonly"]})
    us.sync("users")
    assert not any(owners(us, "users").values())
    us.switch(missing_scopes={})
    entry_of_each(us)
    body = '{"statusCode": 422, "message": ["owners must be users of the location"], "error": "Unprocessable Entity"}'
    us.fault("status", CREATE, status=422, body=body, count=1)
    counts = us.sync("time_entries")["time_entries"]
    assert (counts.created, counts.rejected) == (6, 0)
    us.sandbox.world.clock.advance(timedelta(minutes=1))
    us.sync("locations")
    converged(us)


@pytest.mark.parametrize("route", [USERS, "POST */custom_objects.clockify_users/records/search"])
def test_a_list_that_is_refused_rejects_no_record(us: HighLevelTeam, route: str) -> None:
    """The lists of users are needed for owners only, of which there are none then."""
    us.sync("users")
    entry_of_each(us)
    body = '{"statusCode": 422, "message": "no such object", "error": "Unprocessable Entity"}'
    us.fault("status", route, status=422, body=body)
    counts = us.sync("time_entries")["time_entries"]
    assert (counts.created, counts.rejected) == (6, 0)
    assert not any(owners(us, "time_entries").values())
